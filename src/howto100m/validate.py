"""Check what every table promises: its schema, its items, their order, and that nothing is lost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from howto100m import tables
from howto100m.kinds import Kind, Status, UserError
from howto100m.report.counts import count_stages
from howto100m.shards import shard_of, shard_paths, status_path

SLACK = 2.0
"""Rows by which a video's vectors may differ from its duration times their rate."""


@dataclass(frozen=True)
class Stage:
    """What the tables of a stage's folder promise.

    `item` is the SQL expression of a row's item, as the status table names it; `key` columns name a
    row and no other; `shard_by` is the column that decides on the shard ("" where none does);
    `broken` is an SQL condition that no row may meet.
    """

    folder: str
    schema: pa.Schema
    item: str
    key: tuple[str, ...]
    shard_by: str = ""
    broken: str = "false"
    status: str = ""


_STAGES = (
    Stage("tasks", tables.TASKS, "task_id", ("task_id",), "task_id"),
    Stage(
        "search",
        tables.SEARCH,
        "task_id",
        ("task_id", "video_id"),
        "task_id",
        "rank < 1 OR views < 0 OR duration < 0",
    ),
    Stage("videos", tables.VIDEOS, "video_id", ("video_id",), "video_id", "rank < 1"),
    Stage("subtitles", tables.SUBTITLES, "video_id", ("video_id",), "video_id", "words < 0"),
    Stage(
        "clips",
        tables.CLIPS,
        "video_id",
        ("video_id", "clip"),
        "video_id",
        "start < 0 OR NOT start < \"end\" OR text = ''",
    ),
    Stage(
        "media",
        tables.MEDIA,
        "video_id",
        ("video_id",),
        "video_id",
        "bytes < 1 OR width < 1 OR height < 1 OR NOT duration > 0 OR length(sha256) <> 64",
    ),
    Stage(
        "features/2d",
        tables.FEATURES,
        "video_id",
        ("video_id", "index"),
        "video_id",
        status="features",
    ),
    Stage(
        "features/3d",
        tables.FEATURES,
        "video_id",
        ("video_id", "index"),
        "video_id",
        status="features",
    ),
    Stage("vocabulary", tables.VOCABULARY, "word", ("word",), broken="count < 1"),
    Stage(
        "pairs",
        tables.PAIRS,
        "video_id || ':' || clip",
        ("video_id", "clip"),
        "video_id",
        'start < 0 OR NOT start < "end" OR len(tokens) = 0',
    ),
)


def validate(results: Path) -> Iterator[str]:
    """A line for each broken promise under `results`, with the path at fault; none when all hold.

    Stages that are not built yet are left out. Raises UserError where no stage is built at all.
    """
    built = [stage for stage in _STAGES if any((results / stage.folder).glob("*.parquet"))]
    if not built:
        raise UserError(f"{results} holds no stage's tables: run snakemake, or name the folder")
    damaged = False
    for stage in built:
        paths = shard_paths(results / stage.folder)
        faults = [fault for path in paths for fault in _read(path, stage, results)]
        yield from faults
        damaged = damaged or bool(faults)
        if not faults:
            yield from _check_stage(stage, paths, results)
    if not damaged:
        yield from (
            f"{results}/{count.stage}: {count.items} items in, {count.expected} sent on by the"
            " stage before"
            for count in count_stages(results)
            if not count.adds_up
        )


def _status(table: Path, stage: Stage, results: Path) -> Path:
    beside = results / stage.status / table.name if stage.status else table
    return status_path(beside)


def _read(path: Path, stage: Stage, results: Path) -> Iterator[str]:
    """Whether a table and its status table are whole, and have their schemas."""
    status = _status(path, stage, results)
    for file, schema in ((path, stage.schema), (status, tables.STATUS)):
        try:
            found = pq.read_schema(file)
            pq.ParquetFile(file).metadata.num_rows  # noqa: B018 - reads the footer whole
        except FileNotFoundError:
            yield f"{file}: missing beside {path.name}; delete both and run again"
        except (pa.ArrowInvalid, OSError) as error:
            yield f"{file}: no whole Parquet file ({error}); delete it and run again"
        else:
            if not found.equals(schema):
                yield f"{file}: columns are {_columns(found)}, not {_columns(schema)}"


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{f.name} {f.type}{'?' if f.nullable else ''}" for f in schema)


def _check_stage(stage: Stage, paths: Sequence[Path], results: Path) -> Iterator[str]:
    names = [str(path) for path in paths]
    key = ", ".join(f'"{column}"' for column in stage.key)
    with duckdb.connect() as database:
        database.execute("SET threads = 2")
        doubled = database.execute(
            f"SELECT {key}, count(*) FROM read_parquet(?) GROUP BY {key} HAVING count(*) > 1"  # noqa: S608
            " ORDER BY ALL LIMIT 1",
            [names],
        ).fetchone()
        if doubled:
            yield f"{results / stage.folder}: {doubled[-1]} rows have {stage.key} = {doubled[:-1]}"
        for number, path in enumerate(paths):
            yield from _check_table(database, stage, path, number, len(paths), results)
    if stage.schema is tables.FEATURES:
        for path in paths:
            yield from _check_vectors(path, results)


def _check_table(
    database: duckdb.DuckDBPyConnection,
    stage: Stage,
    path: Path,
    number: int,
    shards: int,
    results: Path,
) -> Iterator[str]:
    status = _status(path, stage, results)
    broken = database.execute(
        f"SELECT count(*), min({stage.item}) FROM read_parquet(?) WHERE {stage.broken}",  # noqa: S608
        [str(path)],
    ).fetchall()[0]
    if broken[0]:
        yield f"{path}: {broken[0]} rows are impossible ({stage.broken}), one of item {broken[1]}"
    outcomes = dict(
        database.execute("SELECT id, kind FROM read_parquet(?)", [str(status)]).fetchall()
    )
    rows = pq.ParquetFile(status).metadata.num_rows
    if rows != len(outcomes):
        yield f"{status}: {rows - len(outcomes)} items have two rows"
    odd = database.execute(
        "SELECT id FROM read_parquet(?) WHERE (status = ?) <> (kind IS NULL) ORDER BY 1 LIMIT 1",
        [str(status), Status.OK.value],
    ).fetchone()
    unknown = sorted({kind for kind in outcomes.values() if kind} - {kind.value for kind in Kind})
    if odd:
        yield f"{status}: item {odd[0]} is ok and has a kind, or is not and has none"
    if unknown:
        yield f"{status}: {', '.join(unknown)} is no known kind"
    items = {
        item
        for (item,) in database.execute(
            f"SELECT DISTINCT {stage.item} FROM read_parquet(?)",  # noqa: S608
            [str(path)],
        ).fetchall()
    }
    lost = sorted({item for item, kind in outcomes.items() if kind is None} - items)
    if lost:
        yield f"{path}: {len(lost)} items are ok and have no row, the first {lost[0]}"
    # The tasks table shows what was decided against as well.
    extra = items - ({*outcomes} if stage.folder == "tasks" else _ok(outcomes))
    if extra:
        yield f"{path}: {len(extra)} items have rows and are not ok, the first {min(extra)}"
    if stage.shard_by and path.stem.isdigit():
        yield from _check_shard(path, stage, number, shards)


def _ok(outcomes: dict[str, str | None]) -> set[str]:
    return {item for item, kind in outcomes.items() if kind is None}


def _check_shard(path: Path, stage: Stage, number: int, shards: int) -> Iterator[str]:
    if int(path.stem) != number:
        yield f"{path}: shard {number:05d} is missing before it"
        return
    column = pq.read_table(path, columns=[stage.shard_by])[stage.shard_by]
    for item in column.unique().to_pylist():
        if shard_of(item, shards) != number:
            yield (
                f"{path}: {item} belongs to another of {shards} shards; shards.* was changed after"
                " a run: delete the stage's folder and run again"
            )
            return


def _check_vectors(path: Path, results: Path) -> Iterator[str]:
    """Whether each video's rows count from 0, are numbers, and are as many as its duration says."""
    media = results / "media" / path.name
    file = pq.ParquetFile(path)
    durations: dict[str, float] = {}
    if media.exists():
        known = pq.read_table(media, columns=["video_id", "duration"])
        durations = dict(zip(*(column.to_pylist() for column in known.columns), strict=True))
    rate = float((file.schema_arrow.metadata or {}).get(b"rate", b"nan"))
    rows: dict[str, int] = {}
    for batch in file.iter_batches(batch_size=4096):
        vectors = np.frombuffer(b"".join(batch["feature"].to_pylist()), "<f2")
        finite = np.isfinite(vectors).reshape(len(batch), -1).all(1)
        ids = batch["video_id"].to_pylist()
        for video_id, index, whole in zip(ids, batch["index"].to_pylist(), finite, strict=True):
            if not whole:
                yield f"{path}: {video_id}: vector {index} has a NaN or an infinity"
            if index != rows.get(video_id, 0):
                yield f"{path}: {video_id}: vector {index} where {rows.get(video_id, 0)} is due"
                return
            rows[video_id] = index + 1
    for video_id, number in rows.items():
        due = durations.get(video_id, float("nan")) * rate
        if abs(number - due) > SLACK:
            yield f"{path}: {video_id} has {number} vectors, {due:.1f} are due by its duration"
