"""Check what every table promises: its schema, its items, their order, and that nothing is lost."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from howto100m import tables
from howto100m.cut import NOTE
from howto100m.kinds import Kind, Status, UserError
from howto100m.progress import counted
from howto100m.promises import OTHERS, STAGES, Other, Stage
from howto100m.report.counts import count_stages
from howto100m.shards import shard_of, shard_paths, status_path

SLACK = 2.0
"""Rows by which a video's vectors may differ from its duration times their rate."""
GROUPS = 16
"""Row groups read at once: of features 16 videos, some 40 MB."""


def validate(results: Path) -> Iterator[str]:
    """A line for each broken promise under `results`, with the path at fault; none when all hold.

    Stages that are not built yet are left out. Holds one shard in memory at a time.
    Raises UserError where no stage is built at all.
    """
    built = [stage for stage in STAGES if any((results / stage.folder).glob("*.parquet"))]
    if not built:
        raise UserError(f"{results} holds no stage's tables: run snakemake, or name the folder")
    damaged = False
    with duckdb.connect() as database:
        database.execute("SET threads = 2")
        for stage in built:
            paths = shard_paths(results / stage.folder)
            yield from _check_numbers(paths, stage, _shards(results, stage))
            for path in counted(f"tables of {stage.folder}", paths):
                faults = list(_read(path, stage, results))
                yield from faults
                damaged = damaged or bool(faults)
                if not faults:
                    yield from _check_table(database, stage, path, results)
        for other in OTHERS:
            for path in sorted(results.glob(other.pattern)):
                yield from _check_other(database, other, path)
    yield from _check_index(results / "index")
    if not damaged:
        yield from (
            f"{results}/{count.stage}: {count.items} items in, {count.expected} sent on by the"
            " stage before"
            for count in count_stages(results)
            if not count.adds_up
        )


def _shards(results: Path, stage: Stage) -> int:
    """How many shards a stage has: as noted at the run's start, else as the first of them has."""
    note = results / NOTE
    known = json.loads(note.read_text()) if note.exists() else {}
    if stage.cut in known:
        return int(known[stage.cut])
    first = results / (stage.cut or stage.folder)
    return len(shard_paths(first if any(first.glob("*.parquet")) else results / stage.folder))


def _check_numbers(paths: Sequence[Path], stage: Stage, shards: int) -> Iterator[str]:
    """Whether every shard is there, and none beyond."""
    found = {int(path.stem) for path in paths if path.stem.isdigit()}
    if not stage.cut or not found:
        return
    missing = sorted(set(range(shards)) - found)
    if missing:
        yield (
            f"{paths[0].parent}: {len(missing)} of {shards} shards are missing, the first"
            f" {missing[0]:05d}: run snakemake"
        )
    for number in sorted(found - set(range(shards))):
        yield (
            f"{paths[0].parent / f'{number:05d}.parquet'}: belongs to another cut than that into"
            f" {shards} shards: delete it"
        )


def _status(table: Path, stage: Stage, results: Path) -> Path:
    beside = results / stage.status / table.name if stage.status else table
    return status_path(beside)


def _read(path: Path, stage: Stage, results: Path) -> Iterator[str]:
    """Whether a table and its status table are whole, and have their schemas."""
    yield from _read_through(path, stage.schema)
    status = _status(path, stage, results)
    if status.exists():
        yield from _read_through(status, tables.STATUS)
    else:
        yield f"{status}: missing beside {path.name}; delete both and run again"


def _read_through(path: Path, schema: pa.Schema) -> Iterator[str]:
    """Whether every page of a table can be read, sums included, and its numbers are numbers."""
    vectors = {f.name: f.metadata[b"dtype"].decode() for f in schema if f.metadata}
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if not file.schema_arrow.equals(schema):
            yield f"{path}: columns are {_columns(file.schema_arrow)}, not {_columns(schema)}"
            return
        row = 0
        for batch in _batches(file):
            for name, dtype in vectors.items():
                whole = np.isfinite(_numbers(batch[name], dtype)).all(1)
                if not whole.all():
                    yield f"{path}: {name} of row {row + int(whole.argmin())} has a NaN or infinity"
                    return
            row += len(batch)
    except (pa.ArrowException, OSError) as error:
        yield f"{path}: no whole Parquet file ({error}); delete it and run again"


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The rows, some row groups at a time: of all at once Arrow would hold the whole file."""
    groups = range(file.num_row_groups)
    for first in groups[::GROUPS]:
        yield from file.iter_batches(4096, row_groups=list(groups[first : first + GROUPS]))


def _numbers(column: pa.Array, dtype: str) -> np.ndarray:
    """The vectors [rows, dim] of a column of bytes, without a copy."""
    width = column.type.byte_width
    values = np.frombuffer(column.buffers()[1], np.uint8)
    rows = values[column.offset * width :][: len(column) * width]
    return rows.view(dtype).reshape(len(column), -1)


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{f.name} {f.type}{'?' if f.nullable else ''}" for f in schema)


def _check_other(database: duckdb.DuckDBPyConnection, other: Other, path: Path) -> Iterator[str]:
    faults = list(_read_through(path, other.schema))
    yield from faults
    if faults:
        return
    broken = database.execute(
        f"SELECT count(*) FROM read_parquet(?) WHERE {other.broken}",  # noqa: S608
        [str(path)],
    ).fetchall()[0][0]
    if broken:
        yield f"{path}: {broken} rows are impossible ({other.broken})"
    if other.schema is tables.FEATURES:
        yield from _check_lengths(database, path, path.with_name("media.parquet"))


def _check_index(folder: Path) -> Iterator[str]:
    """Whether the search index has as many clips and vectors as it says."""
    about, clips, vectors = (
        folder / name for name in ("index.json", "clips.parquet", "vectors.f16")
    )
    if not about.exists():
        return
    said = json.loads(about.read_text())
    try:
        rows = pq.read_metadata(clips).num_rows
    except (pa.ArrowException, OSError):  # named by its own check, or it is not there
        rows = 0
    if rows != said["clips"]:
        yield f"{clips}: {rows} rows, {said['clips']} are noted in {about}; build the index again"
    size = vectors.stat().st_size if vectors.exists() else 0
    if size != 2 * said["clips"] * said["dim"]:
        yield f"{vectors}: {size} bytes do not fit {about}; build the index again"


def _check_table(
    database: duckdb.DuckDBPyConnection, stage: Stage, path: Path, results: Path
) -> Iterator[str]:
    yield from _check_rows(database, stage, path)
    yield from _check_items(database, stage, path, _status(path, stage, results))
    if stage.cut and path.stem.isdigit():
        yield from _check_shard(database, stage, path, _shards(results, stage))
    if stage.schema is tables.FEATURES:
        yield from _check_lengths(database, path, results / "media" / path.name)
    if stage.schema is tables.MEDIA:
        yield from _check_files(database, path, results)


def _check_rows(database: duckdb.DuckDBPyConnection, stage: Stage, path: Path) -> Iterator[str]:
    """Whether rows are possible, named once, in order, and counted from 0."""
    table = "read_parquet(?, file_row_number = true)"
    key = ", ".join(f'"{column}"' for column in stage.key)
    first = stage.key[0]

    def ask(query: str) -> tuple[object, ...] | None:
        rows: list[tuple[object, ...]] = database.execute(query, [str(path)]).fetchall()
        return rows[0] if rows else None

    broken = ask(
        f"SELECT count(*), min({stage.item}) FROM {table} WHERE {stage.broken} HAVING count(*) > 0"  # noqa: S608
    )
    if broken:
        yield f"{path}: {broken[0]} rows are impossible ({stage.broken}), one of item {broken[1]}"
    doubled = ask(
        f"SELECT {key}, count(*) FROM {table} GROUP BY {key}"  # noqa: S608
        " HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    )
    if doubled:
        yield f"{path}: {doubled[-1]} rows have {stage.key} = {doubled[:-1]}"
        return
    unordered = ask(
        f"SELECT n FROM (SELECT file_row_number AS n, {stage.order} AS here,"  # noqa: S608
        f" lag({stage.order}) OVER (ORDER BY file_row_number) AS before FROM {table})"
        " WHERE here <= before ORDER BY n LIMIT 1"
    )
    if unordered:
        yield f"{path}: row {unordered[0]} is out of order ({stage.order})"
    counted = stage.counted and ask(
        f'SELECT {first} FROM {table} GROUP BY {first} HAVING min("{stage.counted}") <> 0'  # noqa: S608
        f' OR max("{stage.counted}") <> count(*) - 1 ORDER BY 1 LIMIT 1'
    )
    if counted:
        yield f"{path}: {counted[0]}: {stage.counted} does not count its rows from 0"


def _check_items(
    database: duckdb.DuckDBPyConnection, stage: Stage, path: Path, status: Path
) -> Iterator[str]:
    """Whether every item has one outcome, and rows if and only if it is ok."""
    rows = database.execute("SELECT id, status, kind FROM read_parquet(?)", [str(status)])
    outcomes: dict[str, str | None] = {}
    doubled, odd = 0, ""
    for item, fate, kind in rows.fetchall():
        doubled += item in outcomes
        odd = odd or (item if (fate == Status.OK) != (kind is None) else "")
        outcomes[item] = kind
    if doubled:
        yield f"{status}: {doubled} items have two rows"
    if odd:
        yield f"{status}: item {odd} is ok and has a kind, or is not and has none"
    unknown = sorted({kind for kind in outcomes.values() if kind} - {kind.value for kind in Kind})
    if unknown:
        yield f"{status}: {', '.join(unknown)} is no known kind"
    ok = {item for item, kind in outcomes.items() if kind is None}
    found = database.execute(
        f"SELECT DISTINCT {stage.item} FROM read_parquet(?)",  # noqa: S608
        [str(path)],
    )
    items = {item for (item,) in found.fetchall()}
    if lost := ok - items:
        yield f"{path}: {len(lost)} items are ok and have no row, the first {min(lost)}"
    # The tasks table shows what was decided against as well.
    if extra := items - ({*outcomes} if stage.folder == "tasks" else ok):
        yield f"{path}: {len(extra)} items have rows and are not ok, the first {min(extra)}"


def _check_shard(
    database: duckdb.DuckDBPyConnection, stage: Stage, path: Path, shards: int
) -> Iterator[str]:
    items = database.execute(
        f"SELECT DISTINCT {stage.key[0]} FROM read_parquet(?) ORDER BY 1",  # noqa: S608
        [str(path)],
    )
    strays = [item for (item,) in items.fetchall() if shard_of(item, shards) != int(path.stem)]
    if strays:
        yield (
            f"{path}: {strays[0]} belongs to another of {shards} shards; shards.* was changed after"
            " a run: delete the stage's folder and run again"
        )


def _check_lengths(database: duckdb.DuckDBPyConnection, path: Path, media: Path) -> Iterator[str]:
    """Whether each video has as many vectors as its duration says, where that is known."""
    rate = (pq.read_schema(path).metadata or {}).get(b"rate")
    if rate is None or not media.exists():
        return
    rows = database.execute(
        """SELECT video_id, count(*), any_value(duration) * $rate FROM read_parquet($path) AS f
        JOIN read_parquet($media) AS m USING (video_id) GROUP BY 1
        HAVING NOT abs(count(*) - any_value(duration) * $rate) <= $slack ORDER BY 1""",
        {"path": str(path), "media": str(media), "rate": float(rate), "slack": SLACK},
    )
    for video_id, number, due in rows.fetchall():
        yield f"{path}: {video_id} has {number} vectors, {due:.1f} are due by its duration"


def _check_files(database: duckdb.DuckDBPyConnection, path: Path, results: Path) -> Iterator[str]:
    """Whether the video files are as long as noted; those whose features are made may be gone."""
    used = (results / "features" / status_path(path).name).exists()
    rows = database.execute("SELECT video_id, path, bytes FROM read_parquet(?)", [str(path)])
    for video_id, name, size in rows.fetchall():
        file = results.parent / name
        if file.exists() and file.stat().st_size != size:
            yield f"{file}: {file.stat().st_size} bytes, {size} are noted of {video_id} in {path}"
        elif not used and not file.exists():
            yield f"{file}: gone before its features were made; delete {path} and run again"
