"""Search YouTube for "how to" and each task's title; the first 200 results stay (section 3.1)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from howto100m import tables
from howto100m.kinds import ItemError, Kind
from howto100m.shards import Row, crawl_shard, read_table
from howto100m.videos.youtube import Hit, YouTube

_VIDEO_ID = re.compile(r"[\w-]{11}", re.ASCII)


def query_of(title: str) -> str:
    """The words to search for: "how to" and the task's title, as one line."""
    words = " ".join(title.split())
    return words if words.lower().startswith("how to ") else f"how to {words}"


def rank_hits(hits: Iterable[Hit], results: int) -> Iterator[tuple[int, Hit]]:
    """Number hits from 1; an id that comes again keeps its first rank, the others close up."""
    seen: set[str] = set()
    for hit in hits:
        if hit.video_id in seen or not _VIDEO_ID.fullmatch(hit.video_id):
            continue
        seen.add(hit.video_id)
        yield len(seen), hit
        if len(seen) == results:
            return


def search_tasks(
    tasks: Path, output: Path, youtube: YouTube, *, results: int, max_failed: float
) -> None:
    """Search for every visual task of a tasks shard; write its shard of the search table."""
    wanted = {t["task_id"]: t for t in read_table(tasks).to_pylist() if t["visual"]}

    def search(task: Row) -> list[Row]:
        query = query_of(task["title"])
        ranked = list(rank_hits(youtube.search(query, results), results))
        if not ranked:
            raise ItemError(Kind.NO_RESULTS, query)
        return [{"task_id": task["task_id"], "rank": rank, **asdict(hit)} for rank, hit in ranked]

    crawl_shard(
        "tasks searched",
        wanted,
        search,
        output,
        tables.SEARCH,
        settings={"results": results},
        wait=30.0,
        max_failed=max_failed,
    )
