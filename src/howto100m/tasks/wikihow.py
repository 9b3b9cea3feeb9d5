"""The only door to WikiHow: its MediaWiki api.php."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

import requests

from howto100m.kinds import UserError
from howto100m.shards import Journal, Outcome, Row
from howto100m.tasks.polite import Busy, Visitor, retry_after

log = logging.getLogger(__name__)

SITE, PATH = "https://www.wikihow.com", "/api.php"
API = SITE + PATH
OTHER_DOORS = (
    "titles come through other doors too: `tasks.from: table` (a list of your own) or"
    " `tasks.from: howto100m` (the official lists), see config.yaml"
)
ALL_ARTICLES = {
    "generator": "allpages",
    "gapnamespace": "0",
    "gapfilterredir": "nonredirects",
    "gaplimit": "max",
    "prop": "categories",
    "clshow": "!hidden",
    "cllimit": "max",
}
CATEGORY_TREE = {"titles": "wikiHow:Categories", "prop": "revisions", "rvprop": "content"}
_BUSY = re.compile(r"ratelimited|maxlag|readonly|internal_api_error_\w+")
"""Codes of errors that pass; they come with HTTP 200."""

Found = list[Any]


@dataclass(frozen=True)
class Page:
    """An article: page id, title without "How to", names of the categories it is filed under."""

    page_id: int
    title: str
    categories: tuple[str, ...]


class WikiHow:
    """Asks api.php, politely (see `Visitor`)."""

    def __init__(
        self,
        user_agent: str,
        delay: float,
        proxy: str | None = None,
        ca: Path | None = None,
        patience: float = 60.0,
    ):
        self.visitor = Visitor(SITE, user_agent, delay, proxy, ca, patience, OTHER_DOORS)

    def journal(self, path: Path) -> Journal:
        """A journal of the answers; what a stand-in answered is not taken for the site's."""
        return Journal(path, {"api": API, "stand_in": self.visitor.proxy is not None})

    def pages(self, journal: Journal) -> Iterator[Page]:
        """Every article with its categories, in the order of page ids.

        Redirects are left out. A batch whose categories are split over several answers is merged.
        """
        found: dict[int, tuple[str, list[str]]] = {}
        for pages in self._query(ALL_ARTICLES, _articles, journal):
            for page_id, title, categories in pages:
                _, known = found.setdefault(page_id, (title, []))
                known += map(intern, categories)
            log.info("%d articles listed", len(found))
        if not found:
            raise UserError(f"{API} lists no article; {OTHER_DOORS}")
        for page_id, (title, categories) in sorted(found.items()):
            yield Page(page_id, title, tuple(categories))

    def parents(self, journal: Journal) -> dict[str, str]:
        """The category tree, child to parent; top-level categories map to ""."""
        for texts in self._query(CATEGORY_TREE, _texts, journal):
            for text in texts:
                return read_tree(text)
        raise UserError(
            f"{API} has no page {CATEGORY_TREE['titles']}, so no category tree; {OTHER_DOORS}"
        )

    def _query(
        self, query: Mapping[str, str], read: Callable[[Any], Found], journal: Journal
    ) -> Iterator[Found]:
        """What `read` finds in the answers to a query, following its `continue` objects whole.

        An answer that the journal holds is not asked for again.
        """
        asked: dict[str, str] = {**query}
        seen: set[str] = set()
        while True:
            key = json.dumps(asked, sort_keys=True)
            if key in seen:
                raise UserError(f"{API} goes round in circles at {asked}; {OTHER_DOORS}")
            seen.add(key)
            if key not in journal.done:
                journal.add(Outcome(key), [_row(self._ask(asked), read)])
            row = journal.done[key][1][0]
            yield row["found"]
            if not row["more"]:
                return
            asked = {**query, **row["more"]}

    def _ask(self, query: Mapping[str, str]) -> dict[str, Any]:
        fixed = {"action": "query", "format": "json", "formatversion": "2", "maxlag": "5"}
        return self.visitor.ask(PATH, {**fixed, **query}, self._read)

    def _read(self, answer: requests.Response) -> dict[str, Any]:
        if answer.status_code != 200 or "json" not in answer.headers.get("Content-Type", ""):
            raise self.visitor.refused(answer)
        try:
            body: dict[str, Any] = answer.json()
        except ValueError as broken:
            raise Busy(f"broken JSON: {broken}") from broken
        error = body.get("error", {}) if isinstance(body, dict) else None
        if not isinstance(error, dict):
            raise self.visitor.refused(answer)
        if error:
            code, info = str(error.get("code")), error.get("info", "")
            if _BUSY.fullmatch(code):
                raise Busy(f"{code}: {info}", retry_after(answer))
            raise UserError(f"{API} refuses: {code}: {info}; {OTHER_DOORS}")
        if "warnings" in body:
            log.warning("%s warns: %s", API, body["warnings"])
        return body


def read_tree(wikitext: str) -> dict[str, str]:
    """Read nested list lines ("*Top", "**Second", …) into child-to-parent."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for stars, name in re.findall(r"^(\*+)\s*(.+?)\s*$", wikitext, flags=re.MULTILINE):
        path = [*path[: len(stars) - 1], name]
        parents.setdefault(name, path[-2] if len(path) > 1 else "")
    return parents


def _row(answer: Any, read: Callable[[Any], Found]) -> Row:
    """What the journal keeps of an answer: what was found in it, and where it goes on."""
    try:
        more = dict(answer.get("continue", {}))
        return {"found": read(answer.get("query", {}).get("pages", [])), "more": more}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{API} answers in a form that is not MediaWiki's ({type(error).__name__}: {error});"
            f" {OTHER_DOORS}"
        ) from error


def _articles(pages: Any) -> Found:
    """Id, title and category names of every page."""
    return [
        [
            int(page["pageid"]),
            _text(page["title"]),
            [_text(c["title"]).removeprefix("Category:") for c in page.get("categories", [])],
        ]
        for page in pages
    ]


def _texts(pages: Any) -> Found:
    """The texts of pages; one that does not exist has none."""
    return [str(text["content"]) for page in pages for text in page.get("revisions", [])]


def _text(title: str) -> str:
    """A title that every table can hold: halves of surrogate pairs become "?"."""
    return title.encode("utf-8", "replace").decode()
