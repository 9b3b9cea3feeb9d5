"""Choose the videos: rank, views, duration, live state, and one row a video id (section 3.1)."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from howto100m import tables
from howto100m.kinds import ItemError, Kind, Status
from howto100m.shards import read_table, shard_of, shard_path, status_path, write_table

log = logging.getLogger(__name__)

MEMORY, THREADS = "1GB", 2
"""What the sorting of all hits may hold; beyond that it goes on in files beside the output."""
BATCH = 1 << 16
_SORTED = "SELECT * FROM hits ORDER BY shard, video_id, rank, task_id"


@dataclass(frozen=True)
class Limits:
    """What a video must have: rank at most, views at least, duration (s) below, not live."""

    max_rank: int
    min_views: int
    max_duration: float

    def refuse(
        self, rank: int, views: int | None, duration: float | None, live: str
    ) -> ItemError | None:
        """Why a video is left out, or None.

        Unknown views or duration decide nothing here: the player answer will settle them.
        """
        if rank > self.max_rank:
            return ItemError(Kind.RANK, f"best rank {rank}")
        if live in ("is_live", "is_upcoming"):
            return ItemError(Kind.LIVE, live)
        if duration is not None and duration >= self.max_duration:
            return ItemError(Kind.TOO_LONG, f"{duration:g} s")
        if views is not None and views < self.min_views:
            return ItemError(Kind.TOO_FEW_VIEWS, f"{views} views")
        return None


def select_videos(
    search: Sequence[Path], tasks: Sequence[Path], output: Path, shards: int, limits: Limits
) -> None:
    """Merge the hits of all tasks into the shards of the videos table, one row a video id.

    A video found by several tasks belongs to the one that ranks it best (then to the smaller task
    id); the others stay in its list `tasks`. One pass: the hits are sorted by shard and video, on
    disk where they do not fit in MEMORY, and a shard is written once its last hit was read.
    """
    output.mkdir(parents=True, exist_ok=True)
    columns = ["task_id", "category_1", "category_2"]
    known = pa.concat_tables([read_table(path, columns) for path in tasks])
    schema = tables.SEARCH.append(pa.field("shard", pa.int32()))
    with TemporaryDirectory(prefix=".sort-", dir=output) as spill, duckdb.connect() as database:
        settings = {"memory_limit": MEMORY, "threads": THREADS, "temp_directory": spill}
        for name, value in settings.items():
            database.execute(f"SET {name} = '{value}'")
        hits = pa.RecordBatchReader.from_batches(schema, _hits(search, shards))
        database.register("hits", hits)
        found = pa.RecordBatchReader.from_stream(database.sql(_SORTED))
        parts = (_merge(part, known) for part in _by_shard(found, shards))
        _write_shards(parts, output, limits)


def write_videos(found: pa.Table, output: Path, shards: int, limits: Limits) -> None:
    """Write the shards of the videos table: those of `found`, a row a video, that are not refused.

    `found` has the columns of the videos table, and `live`.
    """
    found = found.append_column("shard", _shards(found["video_id"], shards))
    found = found.sort_by([("shard", "ascending"), ("video_id", "ascending")])
    _write_shards(_by_shard(found.to_reader(BATCH), shards), output, limits)


def _shards(ids: pa.ChunkedArray, shards: int) -> pa.Array:
    return pa.array([shard_of(v, shards) for v in ids.to_pylist()], pa.int32())


def _hits(search: Sequence[Path], shards: int) -> Iterator[pa.RecordBatch]:
    """All rows of the search table, each with the shard of its video, in batches."""
    for path in search:
        hits = read_table(path).cast(tables.SEARCH)
        yield from hits.append_column("shard", _shards(hits["video_id"], shards)).to_batches()


def _by_shard(batches: Iterable[pa.RecordBatch], shards: int) -> Iterator[pa.Table]:
    """The rows of shard 0, 1, … of batches that are sorted by it; a shard may be without rows."""
    waiting: list[pa.RecordBatch] = []
    schema, number = None, 0
    for batch in batches:
        schema = batch.schema
        bounds = np.searchsorted(batch["shard"].to_numpy(), np.arange(number + 1, shards))
        start = 0
        for bound in bounds[bounds < len(batch)]:
            waiting.append(batch.slice(start, bound - start))
            yield pa.Table.from_batches(waiting, schema)
            waiting, start, number = [], bound, number + 1
        waiting.append(batch.slice(start))
    while number < shards:
        yield pa.Table.from_batches(waiting, schema) if schema else pa.table({})
        waiting, number = [], number + 1


def _merge(hits: pa.Table, tasks: pa.Table) -> pa.Table:
    """One row a video, of hits sorted by video, rank and task: the best hit, with all its tasks."""
    if not len(hits):
        return hits
    hits = hits.combine_chunks()
    ids = hits["video_id"]
    first = np.ones(len(hits), bool)
    first[1:] = pc.not_equal(ids.slice(1), ids.slice(0, len(hits) - 1)).to_numpy()
    starts = np.flatnonzero(first)
    pairs = pa.StructArray.from_arrays(
        [hits[name].combine_chunks() for name in ("task_id", "rank")], ["task_id", "rank"]
    )
    lists = pa.ListArray.from_arrays(pa.array([*starts, len(hits)], pa.int32()), pairs)
    best = hits.take(pa.array(starts)).append_column("tasks", lists)
    place = pc.index_in(best["task_id"], value_set=tasks["task_id"])
    for name in ("category_1", "category_2"):
        best = best.append_column(name, pc.fill_null(tasks[name].take(place), ""))
    return best


def _write_shards(parts: Iterable[pa.Table], output: Path, limits: Limits) -> None:
    """Write the tables of shard 0, 1, …, with the fate of every video found."""
    fates: Counter[str] = Counter()
    for number, found in enumerate(parts):
        fates += _write_shard(shard_path(output, number), found, limits)
    told = ", ".join(f"{n} {fate}" for fate, n in fates.most_common())
    log.info("%d videos found: %s", fates.total(), told)


def _write_shard(path: Path, found: pa.Table, limits: Limits) -> Counter[str]:
    if not len(found):
        found = tables.VIDEOS.append(pa.field("live", pa.string())).empty_table()
    judged = (found[c].to_pylist() for c in ("rank", "views", "duration", "live"))
    refusals = [limits.refuse(*facts) for facts in zip(*judged, strict=True)]
    kinds = [refusal and refusal.kind.value for refusal in refusals]
    statuses = [refusal.kind.status if refusal else Status.OK for refusal in refusals]
    messages = [refusal.message if refusal else "" for refusal in refusals]
    write_table(path, found.filter(pa.array([k is None for k in kinds], pa.bool_())), tables.VIDEOS)
    nothing = np.zeros(len(found))
    status: dict[str, object] = {
        "id": found["video_id"],
        "status": pa.array([status.value for status in statuses], pa.string()),
        "kind": pa.array(kinds, pa.string()),
        "message": pa.array(messages, pa.string()),
        "attempts": nothing + 1,
        "seconds": nothing,
        "bytes": nothing,
    }
    write_table(status_path(path), pa.table(status), tables.STATUS)
    return Counter(kind or "kept" for kind in kinds)
