"""The only door to WikiHow: its MediaWiki api.php."""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from tenacity import (
    before_sleep_log,
    retry,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from howto100m.kinds import UserError

log = logging.getLogger(__name__)

API = "https://www.wikihow.com/api.php"
OTHER_DOORS = "or bring titles of your own: howto100m tasks --titles FILE.tsv"


class Busy(Exception):  # noqa: N818 - the site's state, not a mistake
    """The site asks for patience (429, maxlag, ratelimited, 5xx), or the connection broke."""


@dataclass(frozen=True)
class Page:
    """An article: page id, title without "How to", names of the categories it is filed under."""

    page_id: int
    title: str
    categories: tuple[str, ...]


@dataclass
class WikiHow:
    """Ask api.php, one request every `delay` seconds at most.

    `proxy` and `ca` (a PEM file) lead to a stand-in of the site.
    """

    user_agent: str
    delay: float
    proxy: str | None = None
    ca: Path | None = None
    patience: float = 60.0
    session: requests.Session = field(default_factory=requests.Session)
    asked: float = 0.0

    def __post_init__(self) -> None:
        """Set up the session: the variables of the environment may not override the stand-in's."""
        self.session.headers["User-Agent"] = self.user_agent
        if self.proxy:
            self.session.trust_env = False
            self.session.proxies = {"http": self.proxy, "https": self.proxy}
            self.session.verify = str(self.ca)

    def pages(self) -> Iterator[Page]:
        """Every article with its categories, in the order of page ids.

        Redirects are left out. A batch whose categories are split over several answers is merged.
        """
        found: dict[int, tuple[str, list[str]]] = {}
        query = {
            "generator": "allpages",
            "gapnamespace": "0",
            "gapfilterredir": "nonredirects",
            "gaplimit": "max",
            "prop": "categories",
            "clshow": "!hidden",
            "cllimit": "max",
        }
        for answer in self._query(query):
            for page in answer.get("pages", []):
                _, categories = found.setdefault(page["pageid"], (page["title"], []))
                categories += [_bare(c["title"]) for c in page.get("categories", [])]
            log.info("%d articles listed", len(found))
        for page_id, (title, categories) in sorted(found.items()):
            yield Page(page_id, title, tuple(categories))

    def parents(self) -> dict[str, str]:
        """The category tree, child to parent; top-level categories map to ""."""
        query = {"titles": "wikiHow:Categories", "prop": "revisions", "rvprop": "content"}
        for answer in self._query(query):
            for page in answer.get("pages", []):
                for revision in page.get("revisions", []):
                    return read_tree(revision["content"])
        raise UserError(f"{API} has no page wikiHow:Categories, so no category tree; {OTHER_DOORS}")

    def _query(self, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The answers to a query, following its `continue` objects whole."""
        more: dict[str, str] = {}
        fixed = {"action": "query", "format": "json", "formatversion": "2", "maxlag": "5"}
        while True:
            answer = self._ask({**fixed, **query, **more})
            yield answer.get("query", {})
            if "continue" not in answer:
                return
            more = answer["continue"]

    def _ask(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        patient = retry(
            retry=retry_if_exception_type(Busy),
            wait=wait_exponential(multiplier=self.patience, max=3600),
            stop=stop_after_attempt(8),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        try:
            answer: dict[str, Any] = patient(self._ask_once)(parameters)
        except Busy as busy:
            raise UserError(
                f"{API} stays unwilling ({busy}): try again later, {OTHER_DOORS}"
            ) from busy
        return answer

    def _ask_once(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        time.sleep(max(0.0, self.asked + self.delay - time.monotonic()))
        try:
            answer = self.session.get(API, params=parameters, timeout=60)
        except requests.RequestException as error:
            raise Busy(str(error)) from error
        finally:
            self.asked = time.monotonic()
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Busy(f"HTTP {answer.status_code}")
        kind = answer.headers.get("Content-Type", "")
        if answer.status_code != 200 or "json" not in kind:
            start = " ".join(answer.text[:120].split())
            raise UserError(
                f"{API} refuses: HTTP {answer.status_code}, {kind or 'no type'}, {start!r};"
                f" check tasks.user_agent, {OTHER_DOORS}"
            )
        body: dict[str, Any] = answer.json()
        if "error" in body:
            code = body["error"].get("code")
            if code in ("ratelimited", "maxlag", "readonly"):
                raise Busy(f"{code}: {body['error'].get('info', '')}")
            raise UserError(f"{API} answers {body['error']}")
        return body


def read_tree(wikitext: str) -> dict[str, str]:
    """Read nested list lines ("*Top", "**Second", …) into child-to-parent."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for stars, name in re.findall(r"^(\*+)\s*(.+?)\s*$", wikitext, flags=re.MULTILINE):
        path = [*path[: len(stars) - 1], name]
        parents.setdefault(name, path[-2] if len(path) > 1 else "")
    return parents


def _bare(title: str) -> str:
    return title.removeprefix("Category:")
