"""The dataset's and the runs' figures, read from the tables with DuckDB."""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa


@dataclass(frozen=True)
class Category:
    """A row of the paper's table of categories (appendix A): ours, and the paper's videos."""

    name: str
    tasks: int
    videos: int
    clips: int
    paper_videos: str


@dataclass(frozen=True)
class VerbCount:
    """What became of the titles with one verb: how many stay and go, why, and one of them."""

    verb: str
    kept: int
    dropped: int
    reason: str
    title: str


@dataclass(frozen=True)
class Corpus:
    """The corpus in a few figures; times in seconds, hours where it says so."""

    tasks: int
    videos: int
    clips: int
    hours: float
    clip_seconds: float
    caption_words: float
    clips_a_video: float
    pairs: int


@dataclass(frozen=True)
class Example:
    """A clip to look at."""

    video_id: str
    path: str
    start: float
    end: float
    raw_text: str
    text: str


PAPER_VIDEOS = {
    "Food and Entertaining": "497k",
    "Home and Garden": "270k",
    "Hobbies and Crafts": "251k",
    "Cars & Other Vehicles": "68k",
    "Pets and Animals": "31k",
    "Holidays and Traditions": "27k",
    "Personal Care and Style": "16k",
    "Sports and Fitness": "16k",
    "Health": "15k",
    "Education and Communications": "15k",
    "Arts and Entertainment": "10k",
    "Computers and Electronics": "5k",
}
"""Videos a category in the paper (appendix A)."""


def _shards(results: Path, stage: str) -> str:
    return f"'{results}/{stage}/?????.parquet'"


def categories(results: Path) -> list[Category]:
    """Tasks, videos and clips of each kept category, the largest first."""
    with duckdb.connect() as database:
        rows = database.execute(
            f"""
            WITH t AS (SELECT category_1, count(*) AS tasks
                       FROM {_shards(results, "tasks")} WHERE visual GROUP BY 1),
                 c AS (SELECT category_1, count(DISTINCT c.video_id) AS videos, count(*) AS clips
                       FROM {_shards(results, "clips")} c
                       JOIN {_shards(results, "videos")} v USING (video_id) GROUP BY 1)
            SELECT category_1, tasks, coalesce(videos, 0), coalesce(clips, 0)
            FROM t LEFT JOIN c USING (category_1) ORDER BY 3 DESC, 1
            """  # noqa: S608 - the names are ours
        ).fetchall()
    return [
        Category(name, tasks, videos, clips, PAPER_VIDEOS.get(name, ""))
        for name, tasks, videos, clips in rows
    ]


def verbs(results: Path) -> list[VerbCount]:
    """The titles of the kept categories by verb, the most frequent first."""
    with duckdb.connect() as database:
        rows = database.execute(
            f"""
            SELECT verb, count(*) FILTER (visual), count(*) FILTER (NOT visual), mode(reason),
                   min(title)
            FROM {_shards(results, "tasks")} WHERE NOT starts_with(reason, 'category: ')
            GROUP BY 1 ORDER BY count(*) DESC, 1
            """  # noqa: S608 - the names are ours
        ).fetchall()
    return [VerbCount(*row) for row in rows]


def corpus(results: Path) -> Corpus:
    """The figures of the paper's section 3, of this corpus."""
    clips, media = _shards(results, "clips"), _shards(results, "media")
    with duckdb.connect() as database:
        row = database.execute(
            f"""
            SELECT (SELECT count(*) FROM {_shards(results, "tasks")} WHERE visual),
                   (SELECT count(DISTINCT video_id) FROM {clips}),
                   (SELECT count(*) FROM {clips}),
                   (SELECT coalesce(sum(duration), 0) / 3600 FROM {media}),
                   (SELECT coalesce(avg("end" - start), 0) FROM {clips}),
                   (SELECT coalesce(avg(len(string_split(text, ' '))), 0) FROM {clips}),
                   (SELECT count(*) / greatest(count(DISTINCT video_id), 1) FROM {clips}),
                   (SELECT count(*) FROM {_shards(results, "pairs")})
            """  # noqa: S608 - the names are ours
        ).fetchall()[0]
    return Corpus(*row)


def examples(results: Path, number: int) -> list[Example]:
    """Clips spread over the corpus whose video file is still there."""
    with duckdb.connect() as database:
        rows = database.execute(
            f"""
            SELECT video_id, path, start, "end", raw_text, text
            FROM {_shards(results, "clips")} JOIN {_shards(results, "media")} USING (video_id)
            ORDER BY hash(video_id || clip) LIMIT 200
            """  # noqa: S608 - the names are ours
        ).fetchall()
    return [Example(*row) for row in rows if Path(row[1]).exists()][:number]


def metrics(results: Path) -> pa.Table:
    """The table of figures, by benchmark, metric and run."""
    return _read(
        f"SELECT * FROM '{results}/evaluation/metrics.parquet' ORDER BY benchmark, metric, run"  # noqa: S608
    )


def curves(results: Path) -> pa.Table:
    """The loss of every training run, by run and step."""
    return _read(
        f"SELECT * FROM '{results}/embedding/*.curve.parquet' ORDER BY run, step"  # noqa: S608
    )


def _read(query: str) -> pa.Table:
    with duckdb.connect() as database:
        return database.sql(query).to_arrow_table()
