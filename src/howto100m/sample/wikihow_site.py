"""www.wikihow.com of the sample world: MediaWiki's api.php as far as a list of pages needs it."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from howto100m.sample.proxy import Request, Response, json_response, missing
from howto100m.sample.records import Page
from howto100m.sample.world import World

REAL_ROWS, ROWS = 500, 20
"""Rows of an answer at the most: the real site's, and so few that a small world is continued."""
ARTICLES, PROJECT, CATEGORIES = 0, 4, 14
TREE_TITLE = "wikiHow:Categories"
ROBOTS = """User-agent: *
Disallow: /index.php
Disallow: /Special:
"""

Params = Mapping[str, str]


@dataclass(frozen=True)
class _Batch:
    """The pages that a request is about, and from where the next batch goes on ("" at the end)."""

    pages: Sequence[Page]
    namespace: int
    following: str = ""


class WikihowSite:
    """Answers requests to www.wikihow.com, `rows` rows at a time."""

    def __init__(self, world: World, rows: int = ROWS):
        self._parents = world.parents
        self._rows = rows
        categories = (
            Page(number, f"Category:{name}", (parent,) if parent else ())
            for number, (name, parent) in zip(count(2_000_000), world.parents.items(), strict=False)
        )
        self._spaces = {
            (space, no_redirects): _sorted(p for p in pages if not (no_redirects and p.redirect))
            for space, pages in ((ARTICLES, world.pages), (CATEGORIES, tuple(categories)))
            for no_redirects in (False, True)
        }

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if request.path == "/robots.txt":
            return Response(ROBOTS.encode(), "text/plain; charset=utf-8", what="robots")
        if request.path != "/api.php":
            return missing()
        params = {**request.query}
        if params.get("action") != "query":
            return json_response(_error("badvalue", "Unrecognized value for parameter action."))
        if "revisions" in params.get("prop", "").split("|"):
            return json_response(self._revisions(params), "revisions")
        if params.get("generator") != "allpages":
            return json_response(_error("badvalue", "Unrecognized value for parameter generator."))
        return json_response(self._generated(params), "allpages")

    def _revisions(self, params: Params) -> dict[str, Any]:
        """The text of one page; only the tree of categories has one."""
        title = params.get("titles", "").replace("_", " ")
        page: dict[str, Any] = {"ns": PROJECT, "title": title}
        if title == TREE_TITLE:
            text = "\n".join(_outline(self._parents, "", 1))
            page |= {"pageid": 1, "revisions": [{"contentmodel": "wikitext", "content": text}]}
        else:
            page |= {"missing": True}
        return {"batchcomplete": True, "query": {"pages": [page]}}

    def _generated(self, params: Params) -> dict[str, Any]:
        """A batch of pages with their categories, continued as MediaWiki does it.

        While categories of the batch are left (clcontinue) the same batch comes again, so the
        answer repeats the gapcontinue that it was asked with.
        """
        batch = self._batch(params)
        rows: dict[int, dict[str, Any]] = {
            page.page_id: {"pageid": page.page_id, "ns": batch.namespace, "title": page.title}
            for page in batch.pages
        }
        answer: dict[str, Any] = {"query": {"pages": list(rows.values())}}
        if "categories" in params.get("prop", "").split("|"):
            links, left = _category_links(batch.pages, params, self._limit(params.get("cllimit")))
            for page_id, category in links:
                link = {"ns": CATEGORIES, "title": f"Category:{category.replace('_', ' ')}"}
                rows[page_id].setdefault("categories", []).append(link)
            if left:
                again = {key: params[key] for key in ("gapcontinue",) if key in params}
                answer["continue"] = {**again, "clcontinue": left, "continue": "||"}
                return answer
        if batch.following:
            answer["continue"] = {"gapcontinue": batch.following, "continue": "gapcontinue||"}
        return {"batchcomplete": True, **answer}

    def _batch(self, params: Params) -> _Batch:
        space = int(params.get("gapnamespace", ARTICLES))
        no_redirects = params.get("gapfilterredir") == "nonredirects"
        pages = self._spaces.get((space, no_redirects), [])
        start = bisect_left(pages, params.get("gapcontinue", ""), key=_key_of)
        end = start + self._limit(params.get("gaplimit"))
        return _Batch(pages[start:end], space, _key_of(pages[end]) if end < len(pages) else "")

    def _limit(self, asked: str | None) -> int:
        return self._rows if asked == "max" else max(1, min(int(asked or 10), self._rows))


def _category_links(
    pages: Sequence[Page], params: Params, limit: int
) -> tuple[list[tuple[int, str]], str]:
    """So many (page id, category) as the limit allows, and where to go on ("" at the end)."""
    page_id, _, category = params.get("clcontinue", "0|").partition("|")
    links = sorted((page.page_id, _key(name)) for page in pages for name in page.categories)
    links = [link for link in links if link >= (int(page_id), category)]
    left = "|".join(map(str, links[limit])) if len(links) > limit else ""
    return links[:limit], left


def _outline(parents: Mapping[str, str], parent: str, depth: int) -> Iterator[str]:
    for name, above in parents.items():
        if above == parent:
            yield "*" * depth + name
            yield from _outline(parents, name, depth + 1)


def _sorted(pages: Iterable[Page]) -> list[Page]:
    return sorted(pages, key=_key_of)


def _key_of(page: Page) -> str:
    return _key(page.title.removeprefix("Category:"))


def _key(title: str) -> str:
    return title.replace(" ", "_")


def _error(code: str, info: str) -> dict[str, Any]:
    return {"error": {"code": code, "info": info}}
