"""The dataset's and the runs' figures, read from the tables with DuckDB."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from howto100m import tables
from howto100m.kinds import Kind


@dataclass(frozen=True)
class Category:
    """A row of the paper's table of categories (appendix A), with means: ours, and the paper's."""

    name: str
    tasks: int
    videos: int
    clips: int
    clips_a_video: float
    clip_seconds: float
    clip_words: float
    paper_tasks: str
    paper_videos: str
    paper_clips: str


@dataclass(frozen=True)
class Lines:
    """What became of the lines of all captions; `excluded` counts videos."""

    lines: int
    clips: int
    empty: int
    outside: int
    cut: int
    backward: int
    excluded: int


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
    clip: int
    path: str
    start: float
    end: float
    raw_text: str
    text: str


PAPER = {
    "Food and Entertaining": ("11,504", "497k", "54.4M"),
    "Home and Garden": ("5,068", "270k", "29.5M"),
    "Hobbies and Crafts": ("4,273", "251k", "29.8M"),
    "Cars & Other Vehicles": ("810", "68k", "7.8M"),
    "Pets and Animals": ("552", "31k", "3.5M"),
    "Holidays and Traditions": ("411", "27k", "3.0M"),
    "Personal Care and Style": ("181", "16k", "1.6M"),
    "Sports and Fitness": ("205", "16k", "2.0M"),
    "Health": ("172", "15k", "1.7M"),
    "Education and Communications": ("239", "15k", "1.6M"),
    "Arts and Entertainment": ("138", "10k", "1.2M"),
    "Computers and Electronics": ("58", "5k", "0.6M"),
}
"""Tasks, videos and clips a category in the paper (appendix A)."""

_TABLES = {
    "tasks": tables.TASKS,
    "videos": tables.VIDEOS,
    "clips": tables.CLIPS,
    "media": tables.MEDIA,
    "pairs": tables.PAIRS,
}


@contextmanager
def _tables(results: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with a view a stage; a stage that the line did without is empty.

    Where there are no tasks, those of the videos stand for them.
    """
    with duckdb.connect() as database:
        for stage, schema in _TABLES.items():
            if any(results.glob(f"{stage}/?????.parquet")):
                database.execute(f"CREATE VIEW {stage} AS FROM '{results}/{stage}/?????.parquet'")
            else:
                database.register(stage, schema.empty_table())
        database.execute(
            """
            CREATE VIEW visual AS SELECT task_id, category_1 FROM tasks WHERE visual UNION ALL
            SELECT DISTINCT task_id, category_1 FROM videos
            WHERE NOT EXISTS (FROM tasks)
            """
        )
        yield database


def categories(results: Path) -> list[Category]:
    """Tasks, videos and clips of each kept category, the largest first, and its clips' means."""
    with _tables(results) as database:
        rows = database.execute(
            """
            WITH t AS (SELECT category_1, count(DISTINCT task_id) AS tasks FROM visual GROUP BY 1),
                 c AS (SELECT category_1, count(DISTINCT video_id) AS videos, count(*) AS clips,
                              avg("end" - start) AS seconds,
                              avg(len(string_split(text, ' '))) AS words
                       FROM clips JOIN videos USING (video_id) GROUP BY 1)
            SELECT category_1, tasks, coalesce(videos, 0), coalesce(clips, 0),
                   coalesce(clips / videos, 0), coalesce(seconds, 0), coalesce(words, 0)
            FROM t LEFT JOIN c USING (category_1) ORDER BY 3 DESC, 1
            """
        ).fetchall()
    return [Category(*(row + PAPER.get(row[0], ("", "", "")))) for row in rows]


def lines(results: Path) -> Lines:
    """What became of the lines of all captions."""
    with duckdb.connect() as database:
        row = database.execute(
            f"""
            SELECT coalesce(sum(lines), 0), coalesce(sum(clips), 0), coalesce(sum(empty), 0),
                   coalesce(sum(outside), 0), coalesce(sum(cut), 0), coalesce(sum(backward), 0),
                   (SELECT count(*) FROM '{results}/clips/?????.status.parquet'
                    WHERE kind = '{Kind.EVALUATION_VIDEO}')
            FROM '{results}/clips/?????.statistics.parquet'
            """  # noqa: S608 - the names are ours
        ).fetchall()[0]
    return Lines(*map(int, row))


def spread(results: Path) -> dict[str, list[tuple[float, int]]]:
    """How clips a video, seconds and words a clip are spread: (value, how many) in order.

    Seconds are rounded to halves; what lies above 1,000 clips, 20 s or 30 words counts as that.
    """
    queries = {
        "clips a video": "SELECT count(*) AS n FROM clips GROUP BY video_id",
        "seconds a clip": """SELECT round(("end" - start) * 2) / 2 AS n FROM clips""",
        "words a clip": "SELECT len(string_split(text, ' ')) AS n FROM clips",
    }
    largest = {"clips a video": 1000, "seconds a clip": 20, "words a clip": 30}
    with _tables(results) as database:
        return {
            name: database.execute(
                f"SELECT least(n, {largest[name]})::DOUBLE AS v, count(*) FROM ({query})"  # noqa: S608
                " GROUP BY 1 ORDER BY 1"
            ).fetchall()
            for name, query in queries.items()
        }


def verbs(results: Path) -> list[VerbCount]:
    """The titles of the kept categories by verb, the most frequent first."""
    with _tables(results) as database:
        rows = database.execute(
            """
            SELECT verb, count(*) FILTER (visual), count(*) FILTER (NOT visual), mode(reason),
                   min(title)
            FROM tasks WHERE NOT starts_with(reason, 'category: ')
            GROUP BY 1 ORDER BY count(*) DESC, 1
            """
        ).fetchall()
    return [VerbCount(*row) for row in rows]


def corpus(results: Path) -> Corpus:
    """The figures of the paper's section 3, of this corpus."""
    with _tables(results) as database:
        row = database.execute(
            """
            SELECT (SELECT count(DISTINCT task_id) FROM visual),
                   (SELECT count(DISTINCT video_id) FROM clips),
                   (SELECT count(*) FROM clips),
                   (SELECT coalesce(sum(duration), 0) / 3600 FROM media),
                   (SELECT coalesce(avg("end" - start), 0) FROM clips),
                   (SELECT coalesce(avg(len(string_split(text, ' '))), 0) FROM clips),
                   (SELECT count(*) / greatest(count(DISTINCT video_id), 1) FROM clips),
                   (SELECT count(*) FROM pairs)
            """
        ).fetchall()[0]
    return Corpus(*row)


def examples(results: Path, among: int, seed: int = 0) -> list[Example]:
    """Clips drawn at random over the corpus, of `among` drawn those whose video file is there."""
    with _tables(results) as database:
        rows = database.execute(
            """
            SELECT video_id, clip, path, start, "end", raw_text, text
            FROM clips JOIN media USING (video_id)
            ORDER BY md5(concat_ws(':', $seed, video_id, clip)) LIMIT $among
            """,
            {"seed": seed, "among": among},
        ).fetchall()
    return [Example(*row) for row in rows if Path(row[2]).exists()]


def metrics(results: Path) -> pa.Table:
    """The table of figures, by benchmark, part, metric and run."""
    return _read(
        f"SELECT * FROM '{results}/evaluation/metrics.parquet'"  # noqa: S608
        " ORDER BY benchmark, part, metric, run"
    )


def curves(results: Path) -> pa.Table:
    """The loss of every training run, by run and step."""
    return _read(
        f"SELECT * FROM '{results}/embedding/*.curve.parquet' ORDER BY run, step"  # noqa: S608
    )


def _read(query: str) -> pa.Table:
    with duckdb.connect() as database:
        return database.sql(query).to_arrow_table()
