"""What came into each stage, and what became of it: read from the status tables alone."""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from howto100m.kinds import Status

# Stage, the unit of its items, its status tables, and a query for how many items should have come
# in, from the tables of the stage before ("" where the outside world decides).
_STAGES = (
    ("tasks", "titles", "tasks/*", ""),
    (
        "search",
        "visual tasks",
        "search/*",
        "SELECT count(*) FROM '{0}/tasks/?????.parquet' WHERE visual",
    ),
    (
        "videos",
        "video ids",
        "videos/*",
        "SELECT count(DISTINCT video_id) FROM '{0}/search/?????.parquet'",
    ),
    ("subtitles", "videos", "subtitles/*", "SELECT count(*) FROM '{0}/videos/?????.parquet'"),
    ("clips", "videos", "clips/*", "SELECT count(*) FROM '{0}/{1[subtitles]}/?????.parquet'"),
    ("media", "videos", "media/*", "SELECT count(*) FROM '{0}/{1[subtitles]}/?????.parquet'"),
    ("features", "videos", "features/*", "SELECT count(*) FROM '{0}/{1[media]}/?????.parquet'"),
    ("vocabulary", "distinct words", "vocabulary/*", ""),
    ("pairs", "clips", "pairs/*", "SELECT count(*) FROM '{0}/clips/?????.parquet'"),
)
_LEFT_OUT = ("subtitles", "media")
"""Stages that the line may do without; what follows them then starts from the videos."""
_FAN_OUT = (
    (
        "embedding",
        "videos",
        "SELECT count(DISTINCT video_id) FROM '{0}/pairs/?????.parquet'",
    ),
    ("evaluation", "videos or queries", ""),
)


@dataclass(frozen=True)
class Loss:
    """How many items of a stage were not ok for one reason."""

    status: str
    kind: str
    items: int


@dataclass(frozen=True)
class Count:
    """A stage's account: items in, and where they went.

    `expected` is what the stage before sent on, None where nothing before it says.
    """

    stage: str
    unit: str
    items: int
    ok: int
    skipped: int
    failed: int
    losses: tuple[Loss, ...]
    expected: int | None

    @property
    def adds_up(self) -> bool:
        """Whether every item is accounted for, and none came from nowhere."""
        whole = self.items == self.ok + self.skipped + self.failed
        return whole and self.expected in (None, self.items)


def count_stages(results: Path) -> list[Count]:
    """The account of every stage that has been built under `results`, in the order of the line."""
    counts: list[Count] = []
    built = {s: s if any(results.glob(f"{s}/?????.parquet")) else "videos" for s in _LEFT_OUT}
    with duckdb.connect() as database:
        for stage, unit, pattern, query in _STAGES:
            files = sorted(results.glob(f"{pattern}.status.parquet"))
            if stage == "videos" and not any(results.glob("search/?????.parquet")):
                query = ""
            if files:
                counts.append(_count(database, stage, unit, files, query.format(results, built)))
        for folder, unit, query in _FAN_OUT:
            for file in sorted((results / folder).rglob("*.status.parquet")):
                name = file.relative_to(results).as_posix().removesuffix(".status.parquet")
                counts.append(_count(database, name, unit, [file], query.format(results)))
    return counts


def _count(
    database: duckdb.DuckDBPyConnection, stage: str, unit: str, files: list[Path], query: str
) -> Count:
    found = database.execute(
        "SELECT status, coalesce(kind, ''), count(*) FROM read_parquet(?)"
        " GROUP BY ALL ORDER BY 3 DESC, 2",
        [[str(file) for file in files]],
    ).fetchall()
    by_status = {status: sum(n for s, _, n in found if s == status) for status in Status}
    expected = _expected(database, query) if query else None
    return Count(
        stage=stage,
        unit=unit,
        items=sum(pq.ParquetFile(file).metadata.num_rows for file in files),
        ok=by_status[Status.OK],
        skipped=by_status[Status.SKIPPED],
        failed=by_status[Status.FAILED],
        losses=tuple(Loss(s, k, n) for s, k, n in found if s != Status.OK),
        expected=expected,
    )


def _expected(database: duckdb.DuckDBPyConnection, query: str) -> int | None:
    """What the stage before sent on; None where its tables are not here (a user's own start)."""
    try:
        return int(database.execute(query).fetchall()[0][0])
    except duckdb.IOException as error:
        if "No files found" in str(error):
            return None
        raise
