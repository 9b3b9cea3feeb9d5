"""Choose the videos: rank, views, duration, live state, and one row a video id (section 3.1)."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from howto100m import tables
from howto100m.kinds import ItemError, Kind
from howto100m.shards import Outcome, shard_of, shard_path, write_shard

log = logging.getLogger(__name__)

_FOUND = """
    SELECT video_id, best.task_id, best.rank, tasks, coalesce(category_1, '') AS category_1,
           coalesce(category_2, '') AS category_2, best.title, best.channel, best.views,
           best.duration, best.live
    FROM (
        SELECT video_id,
               arg_min(search, (rank, task_id)) AS best,
               list({'task_id': task_id, 'rank': rank} ORDER BY rank, task_id) AS tasks
        FROM read_parquet($search) AS search GROUP BY video_id
    ) LEFT JOIN read_parquet($tasks) AS tasks ON tasks.task_id = best.task_id
"""


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
    id); the others stay in its list `tasks`.
    """
    with duckdb.connect() as database:
        found: pa.Table = database.sql(
            _FOUND,
            params={"search": [str(p) for p in search], "tasks": [str(p) for p in tasks]},
        ).to_arrow_table()
    write_videos(found, output, shards, limits)


def write_videos(found: pa.Table, output: Path, shards: int, limits: Limits) -> None:
    """Write the shards of the videos table: those of `found`, a row a video, that are not refused.

    `found` has the columns of the videos table, and `live`.
    """
    shard = pa.array([shard_of(v, shards) for v in found["video_id"].to_pylist()], pa.int32())
    found = found.append_column("shard", shard)
    found = found.sort_by([("shard", "ascending"), ("video_id", "ascending")])
    bounds = np.searchsorted(found["shard"].to_numpy(), np.arange(shards + 1))
    counts: Counter[str] = Counter()
    for number in range(shards):
        part = found.slice(bounds[number], bounds[number + 1] - bounds[number])
        counts += _write_shard(shard_path(output, number), part, limits)
    log.info(
        "%d videos found: %s", len(found), ", ".join(f"{n} {k}" for k, n in counts.most_common())
    )


def _write_shard(path: Path, found: pa.Table, limits: Limits) -> Counter[str]:
    judged = (found[c].to_pylist() for c in ("video_id", "rank", "views", "duration", "live"))
    outcomes = [
        Outcome.of(video_id, refusal) if refusal else Outcome(video_id)
        for video_id, *facts in zip(*judged, strict=True)
        for refusal in [limits.refuse(*facts)]
    ]
    kept = found.filter(pa.array([o.kind is None for o in outcomes], pa.bool_()))
    write_shard(path, kept, tables.VIDEOS, outcomes)
    return Counter(o.kind or "kept" for o in outcomes)
