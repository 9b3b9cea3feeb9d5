"""Search YouTube for "how to" and each task's title; the first 200 results stay (section 3.1)."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from howto100m import tables
from howto100m.crawl import crawl_shard, open_journal
from howto100m.kinds import ItemError, Kind
from howto100m.shards import Journal, Row, read_table
from howto100m.videos.youtube import VIDEO_ID, Hit, YouTube

log = logging.getLogger(__name__)


def query_of(title: str) -> str:
    """The words to search for: "how to" and the task's title, as one line."""
    words = " ".join(title.split())
    return words if words.lower().startswith("how to ") else f"how to {words}"


def rank_hits(hits: Iterable[Hit], results: int) -> Iterator[tuple[int, Hit]]:
    """Number hits from 1; an id that comes again keeps its first rank, the others close up."""
    seen: set[str] = set()
    for hit in hits:
        if hit.video_id in seen or not VIDEO_ID.fullmatch(hit.video_id):
            continue
        seen.add(hit.video_id)
        yield len(seen), hit
        if len(seen) == results:
            return


def read_hits(
    youtube: YouTube, item: str, query: str, results: int, journal: Journal
) -> Iterator[Hit]:
    """The hits of a query; each page is in the journal once the next one was answered, or not.

    Pages that the journal has are not asked for again: the search goes on behind them. A token that
    the site does not take any more (or that leads to nothing) starts it anew.
    """
    kept, token = journal.parts.get(item, ([], ""))
    resumed = bool(token)
    try:
        for page in youtube.search(query, results - len(kept), token) if token or not kept else ():
            kept = [*kept, *map(asdict, page.hits)]
            journal.add_part(item, kept, page.following)
            resumed = False
    except ItemError as error:
        if not (resumed and "HTTP Error 400" in error.message):
            raise
    if resumed:
        log.warning("%s: the search cannot go on behind %d results: anew", item, len(kept))
        journal.add_part(item, [], "")
        yield from read_hits(youtube, item, query, results, journal)
        return
    yield from (Hit(**hit) for hit in kept)


def search_tasks(
    tasks: Path, output: Path, youtube: YouTube, *, results: int, max_failed: float
) -> None:
    """Search for every visual task of a tasks shard; write its shard of the search table."""
    wanted = {t["task_id"]: t for t in read_table(tasks).to_pylist() if t["visual"]}
    journal = open_journal(output, {"results": results})

    def search(task: Row) -> list[Row]:
        item, query = task["task_id"], query_of(task["title"])
        ranked = list(rank_hits(read_hits(youtube, item, query, results, journal), results))
        if not ranked:
            raise ItemError(Kind.NO_RESULTS, query)
        return [{"task_id": item, "rank": rank, **asdict(hit)} for rank, hit in ranked]

    crawl_shard(
        "tasks searched",
        wanted,
        search,
        output,
        tables.SEARCH,
        journal=journal,
        patience=youtube.pace.patience,
        max_failed=max_failed,
        asked=lambda task: query_of(task["title"]),
    )
