"""What every table promises beyond its columns: keys, order, ranges; for `validate`."""

from dataclasses import dataclass

import pyarrow as pa

from howto100m import tables


@dataclass(frozen=True)
class Stage:
    """What the tables of a stage's folder promise.

    `item` is the SQL expression of a row's item, as the status table names it; `key` columns name a
    row and no other; rows ascend by `order` (SQL); `cut` is the setting that says how many shards
    there are ("" where there is one table), by the first column of the key; `broken` is an SQL
    condition that no row may meet; `counted` is a column that counts an item's rows from 0.
    """

    folder: str
    schema: pa.Schema
    item: str
    key: tuple[str, ...]
    cut: str = "videos"
    broken: str = "false"
    order: str = "video_id"
    counted: str = ""
    status: str = ""


STAGES = (
    Stage("tasks", tables.TASKS, "task_id", ("task_id",), "tasks", order="task_id"),
    Stage(
        "search",
        tables.SEARCH,
        "task_id",
        ("task_id", "video_id"),
        "tasks",
        "rank < 1 OR views < 0 OR duration < 0",
        "(task_id, rank)",
    ),
    Stage("videos", tables.VIDEOS, "video_id", ("video_id",), broken="rank < 1"),
    Stage(
        "captions",
        tables.CAPTIONS,
        "video_id",
        ("video_id",),
        broken='len(start) <> len("end") OR len(start) <> len(text)',
    ),
    Stage("subtitles", tables.SUBTITLES, "video_id", ("video_id",), broken="words < 0"),
    Stage(
        "clips",
        tables.CLIPS,
        "video_id",
        ("video_id", "clip"),
        broken="start < 0 OR NOT start < \"end\" OR text = ''",
        order="(video_id, clip)",
        counted="clip",
    ),
    Stage(
        "media",
        tables.MEDIA,
        "video_id",
        ("video_id",),
        broken="bytes < 1 OR width < 1 OR height < 1 OR NOT duration > 0 OR length(sha256) <> 64",
    ),
    *(
        Stage(
            f"features/{network}",
            schema,
            "video_id",
            ("video_id", "index"),
            order='(video_id, "index")',
            counted="index",
            status="features",
        )
        for network, schema in (("2d", tables.FEATURES), ("3d", tables.FEATURES))
    ),
    Stage(
        "vocabulary",
        tables.VOCABULARY,
        "word",
        ("word",),
        cut="",
        broken="count < 1",
        order="(-count, word)",
    ),
    Stage(
        "pairs",
        tables.PAIRS,
        "video_id || ':' || clip",
        ("video_id", "clip"),
        broken='start < 0 OR NOT start < "end" OR len(tokens) = 0 OR list_min(tokens) < 1',
        order="(video_id, clip)",
    ),
)
"""The stages whose tables are cut by item, in the order of the line."""


@dataclass(frozen=True)
class Other:
    """Tables that are found by a pattern, and the SQL condition that no row of theirs may meet."""

    pattern: str
    schema: pa.Schema
    broken: str = "false"


_STATUS = "(status = 'ok') <> (kind IS NULL)"
_CURVE = "NOT isfinite(loss) OR epoch < 1 OR step < 1 OR NOT seconds >= 0"
_METRICS = "NOT value >= 0 OR isnan(value) OR items < 0 OR missing < 0"

OTHERS = (
    Other(
        "clips/*.statistics.parquet",
        tables.CLIP_STATISTICS,
        "lines <> clips + empty + outside",
    ),
    Other("embedding/*.curve.parquet", tables.CURVE, _CURVE),
    Other("embedding/*.status.parquet", tables.STATUS, _STATUS),
    Other("evaluation/*/*.status.parquet", tables.STATUS, _STATUS),
    Other(
        "evaluation/**/*metrics.parquet",
        tables.METRICS,
        _METRICS,
    ),
    Other("evaluation/*/*.rankings.parquet", tables.RANKINGS, "rank < 1"),
    Other("evaluation/*/media.parquet", tables.MEDIA, "bytes < 1 OR NOT duration > 0"),
    Other("evaluation/*/[23]d.parquet", tables.FEATURES),
    Other(
        "studies/*.parquet",
        tables.STUDY,
        "NOT value >= 0 OR isnan(value) OR NOT chance >= 0 OR items < 0 OR missing < 0"
        " OR videos < 0",
    ),
    Other("studies/*/*.curve.parquet", tables.CURVE, _CURVE),
    Other("studies/**/*.status.parquet", tables.STATUS, _STATUS),
    Other("studies/*/*/*.metrics.parquet", tables.METRICS, _METRICS),
    Other("studies/*/*/*.rankings.parquet", tables.RANKINGS, "rank < 1"),
    Other(
        "studies/targets/*/*/pairs.parquet",
        tables.PAIRS,
        "len(tokens) = 0 OR list_min(tokens) < 1",
    ),
    Other("index/clips.parquet", tables.INDEX, 'start < 0 OR NOT start < "end"'),
)
"""Tables of training, evaluation and studies, and those beside a stage's own."""
