"""Shards: which shard an item belongs to, tables that are whole or absent, journals, outcomes.

A stage that grows with the data works on shards. A shard is one Parquet file and its status
table, which has a row for every item that came in.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from howto100m import tables
from howto100m.kinds import Fate, ItemError, Kind, StageStopped, Status, UserError, disk_full
from howto100m.progress import Progress as Progress

log = logging.getLogger(__name__)

Row = dict[str, Any]
Item = TypeVar("Item")


def shard_of(key: str, shards: int) -> int:
    """The shard of a video id (or task id): blake2b(key) mod shards, the same on every machine."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % shards


def shard_name(shard: int) -> str:
    """The file name of a shard, without its ending."""
    return f"{shard:05d}"


def shard_path(folder: Path, shard: int) -> Path:
    """The table of a shard in a stage's folder."""
    return folder / f"{shard_name(shard)}.parquet"


def status_path(table: Path) -> Path:
    """The status table that stands beside a table."""
    return table.with_suffix(".status.parquet")


def statistics_path(table: Path) -> Path:
    """The table of statistics that stands beside a table."""
    return table.with_suffix(".statistics.parquet")


def shard_paths(folder: Path) -> list[Path]:
    """The tables of a stage's folder, in order, without those that stand beside a table.

    Raises UserError when there is none.
    """
    paths = sorted(p for p in folder.glob("*.parquet") if "." not in p.stem)
    if not paths:
        raise UserError(f"{folder} holds no Parquet table: build that stage first")
    return paths


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends well, the file takes its final name.

    A file that exists is therefore whole: it is fsynced before it is renamed, and its folder after.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def table_writer(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """Write a table piece by piece; it appears under its name when the block ends well.

    Its pages have checksums, so that `howto100m validate` finds a bit that turned on the disk.
    """
    options = {"compression": "zstd", "write_page_checksum": True} | options
    with whole_file(path) as part, pq.ParquetWriter(part, schema, **options) as writer:
        yield writer


def write_table(path: Path, rows: pa.Table | Iterable[Row], schema: pa.Schema) -> None:
    """Write one whole table. Raises ValueError where a column that may hold no null has one."""
    table = rows.select(schema.names) if isinstance(rows, pa.Table) else None
    if table is None:
        table = pa.Table.from_pylist(list(rows), schema=schema)
    table = table.cast(schema)
    for name in (f.name for f in schema if not f.nullable):
        if table[name].null_count:
            raise ValueError(f"{path}: column {name} has {table[name].null_count} nulls")
    with table_writer(path, schema) as writer:
        writer.write_table(table)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table. Raises UserError when it is missing or damaged."""
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: build that stage first") from None
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{path} is not a whole Parquet file ({error}): delete it and run again"
        ) from None


def merge_tables(paths: Sequence[Path], output: Path, schema: pa.Schema) -> None:
    """Write one table of several; of none, an empty one."""
    with table_writer(output, schema) as writer:
        for path in paths:
            writer.write_table(read_table(path).cast(schema))


@dataclass(frozen=True)
class Outcome:
    """What became of one item: a row of the status table."""

    id: str
    status: Status = Status.OK
    kind: Kind | None = None
    message: str = ""
    attempts: int = 1
    seconds: float = 0.0
    bytes: int = 0

    @property
    def retryable(self) -> bool:
        """Whether the item failed, and may not the next time."""
        return self.kind is not None and self.kind.fate is Fate.RETRY

    @classmethod
    def noted(cls, row: Row) -> "Outcome":
        """The outcome that a journal's line has."""
        kind = row["kind"] and Kind(row["kind"])
        return cls(**row | {"status": Status(row["status"]), "kind": kind})

    @classmethod
    def of(cls, item: str, error: ItemError, attempts: int = 1, seconds: float = 0.0) -> "Outcome":
        """The outcome of an item that did not make it."""
        return cls(item, error.kind.status, error.kind, error.message[:2000], attempts, seconds)


def write_status(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write a stage's status table: a row for every item that came in."""
    write_table(path, map(vars, outcomes), tables.STATUS)


def write_shard(
    path: Path, rows: pa.Table | Iterable[Row], schema: pa.Schema, outcomes: Iterable[Outcome]
) -> None:
    """Write a shard: its table, and its status table beside it."""
    write_table(path, rows, schema)
    write_status(status_path(path), outcomes)


@dataclass
class Journal:
    """What is done so far, one JSON line an item, on disk before the next item starts.

    It is no declared output, so Snakemake leaves it alone. A journal written under other settings
    is put aside. A last line that a kill cut short is dropped. An item in the making may leave its
    first `parts` there: rows, and where to go on.
    """

    path: Path
    settings: Row
    done: dict[str, tuple[Outcome, list[Row]]] = field(default_factory=dict)
    parts: dict[str, tuple[list[Row], str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Replay what an earlier run wrote, and cut off what it did not finish."""
        kept = b""
        if self.path.exists():
            lines = self.path.read_bytes().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith(b"\n")]
            if whole and json.loads(whole[0]) == json.loads(json.dumps(self.settings)):
                for line in whole[1:]:
                    self._replay(json.loads(line))
                kept = b"".join(whole)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as part:
            part.write_bytes(kept or _line(self.settings))
        if self.done:
            log.info("%s: %d items were done before", self.path, len(self.done))

    def _replay(self, entry: Row) -> None:
        if "part" in entry:
            self.parts[entry["part"]] = (entry["rows"], entry["next"])
            return
        outcome = Outcome.noted(entry["outcome"])
        self.done[outcome.id] = (outcome, entry["rows"])

    def add(self, outcome: Outcome, rows: list[Row]) -> None:
        """Record an item; on return it is on disk."""
        self.done[outcome.id] = (outcome, rows)
        self._append({"outcome": asdict(outcome), "rows": rows})

    def add_part(self, item: str, rows: list[Row], following: str) -> None:
        """Record what an item has so far, and where to go on; on return it is on disk."""
        self.parts[item] = (rows, following)
        self._append({"part": item, "rows": rows, "next": following})

    def _append(self, entry: Row) -> None:
        with self.path.open("ab") as file:
            file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())

    def forget(self, items: Iterable[str]) -> None:
        """Take items out, so that the next run asks for them again."""
        gone = [self.done.pop(item)[0].id for item in items if item in self.done]
        if gone:
            entries = [{"outcome": asdict(o), "rows": rows} for o, rows in self.done.values()]
            entries += [
                {"part": item, "rows": rows, "next": following}
                for item, (rows, following) in self.parts.items()
                if item not in self.done
            ]
            with whole_file(self.path) as part:
                part.write_bytes(b"".join(map(_line, [self.settings, *entries])))

    def remove(self) -> None:
        """Forget everything: the table is written."""
        self.path.unlink(missing_ok=True)


def journal_outcomes(path: Path) -> Iterator[Outcome]:
    """The outcomes in a journal that another process may be writing; the rows are passed over."""
    decoder, head = json.JSONDecoder(), '{"outcome": '
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n") and line.startswith(head):
                yield Outcome.noted(decoder.raw_decode(line, len(head))[0])


def _line(entry: Row) -> bytes:
    return json.dumps(entry).encode() + b"\n"


@dataclass(frozen=True)
class Patience:
    """How often an item is tried, and the pauses (s) before the second try; they double from there.

    The long one holds where the site asks for fewer requests. When so many items in a `row` failed
    that are worth another try, it is no longer the items' fault.
    """

    tries: int = 1
    pause: float = 0.0
    long_pause: float = 0.0
    row: int = 10


ONE_TRY = Patience()


def attempt(
    item: str, work: Callable[[], list[Row]], patience: Patience = ONE_TRY
) -> tuple[Outcome, list[Row]]:
    """Do the work of one item, again where that may help, and say how it went.

    An exception that is no ItemError is a fault of ours: it is logged with its traceback and
    becomes a failed item. Raises StageStopped when the kind of failure says that the next items
    would fare alike.
    """
    started = time.monotonic()
    for tried in range(1, patience.tries + 1):
        try:
            rows = work()
        except ItemError as error:
            if error.kind.fate is Fate.STOP:
                raise StageStopped(f"{item}: {error}") from error
            if error.kind.fate is Fate.RETRY and tried < patience.tries:
                log.warning("%s: %s (try %d of %d)", item, error, tried, patience.tries)
                throttled = error.kind is Kind.THROTTLED
                pause = patience.long_pause if throttled else patience.pause
                time.sleep(pause * 2 ** (tried - 1))
                continue
            return Outcome.of(item, error, tried, time.monotonic() - started), []
        except Exception as error:
            if disk_full(error):
                raise
            log.exception("%s: unexpected", item)
            fault = ItemError(Kind.BUG, f"{type(error).__name__}: {error}")
            return Outcome.of(item, fault, tried, time.monotonic() - started), []
        return Outcome(item, attempts=tried, seconds=time.monotonic() - started), rows
    raise AssertionError("unreachable: the last try returns")


def check_failures(stage: str, outcomes: Sequence[Outcome], max_failed: float) -> None:
    """Raise StageStopped when more than the share `max_failed` of the items failed."""
    failed = [o for o in outcomes if o.status is Status.FAILED]
    if len(failed) > max_failed * len(outcomes):
        kinds = ", ".join(
            f"{n} {kind}" for kind, n in Counter(o.kind for o in failed).most_common()
        )
        raise StageStopped(
            f"{stage}: {len(failed)} of {len(outcomes)} items failed ({kinds}), more than the share"
            f" {max_failed} that is allowed; the first: {failed[0].id}: {failed[0].message}"
        )


def run_items(
    stage: str,
    items: Mapping[str, Item],
    work: Callable[[Item], list[Row]],
    *,
    journal: Journal | None = None,
    patience: Patience = ONE_TRY,
    max_failed: float = 1.0,
) -> tuple[list[Row], list[Outcome]]:
    """Do the work of every item, in order; return the rows of those that are ok, and all outcomes.

    `items` maps an id to what the work needs. What the journal holds is not done again; what made
    the stage stop is taken out of it, so that the next run tries it again.
    Raises StageStopped (see `attempt`, `check_failures`), and where `patience.row` items failed
    that are worth another try and none came through in between, unless all items may fail.
    """
    rows: list[Row] = []
    outcomes: list[Outcome] = []
    progress = Progress(stage, len(items))
    in_a_row: list[str] = []
    for item, needed in items.items():
        if journal and item in journal.done:
            outcome, found = journal.done[item]
        else:
            outcome, found = attempt(item, partial(work, needed), patience)
            if journal:
                journal.add(outcome, found)
            in_a_row = [] if outcome.status is Status.OK else in_a_row
            in_a_row += [item] if outcome.retryable else []
        rows += found
        outcomes.append(outcome)
        progress.count(outcome)
        if journal and len(in_a_row) == patience.row and max_failed < 1:
            journal.forget(in_a_row)
            raise StageStopped(
                f"{stage}: {len(in_a_row)} items in a row failed, the last {item}:"
                f" {outcome.kind}: {outcome.message}; what is done is kept: see what is wrong, then"
                " run again"
            )
    try:
        check_failures(stage, outcomes, max_failed)
    except StageStopped:
        if journal:
            journal.forget(o.id for o in outcomes if o.retryable)
        raise
    return rows, outcomes
