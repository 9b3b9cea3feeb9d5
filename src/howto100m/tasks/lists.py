"""Lists of tasks that the user brings: of one's own, and those of the official release."""

import csv
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Outcome, read_table

log = logging.getLogger(__name__)

COLUMNS = frozenset({"task_id", "title", "category_1", "category_2"})
MESSAGES = 20
"""Malformed rows that the log names; the status table names them all."""

_HOW_TO = re.compile(r"\s*how\s+to\s+(?=\S)", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """A task of a list: its title, its categories ("" where unknown).

    `videos` counts its videos, where the list is the official one.
    """

    task_id: str
    title: str
    categories: tuple[str, str] = ("", "")
    videos: int = 0


@dataclass
class TaskList:
    """What files hold: tasks by their ids, and an outcome for every row that is none."""

    entries: dict[str, Entry] = field(default_factory=dict)
    failures: list[Outcome] = field(default_factory=list)

    def take(self, path: Path, number: int, read: Callable[[], Entry | None]) -> None:
        """Take what `read` makes of a row; a ValueError of it says why the row is malformed."""
        try:
            entry = read()
            if entry and entry.task_id in self.entries:
                raise ValueError(f"task_id {entry.task_id} is given twice")
        except (ValueError, csv.Error) as error:
            message = f"{path}:{number}: {error}"
            self.failures.append(
                Outcome.of(f"{path.name}:{number}", ItemError(Kind.MALFORMED, message))
            )
            if len(self.failures) <= MESSAGES:
                log.warning("malformed: %s", message)
        else:
            if entry:
                self.entries[entry.task_id] = entry

    def of(self, path: Path) -> "TaskList":
        """This list; raises UserError where the file `path` gave it nothing at all."""
        if not self.entries and not self.failures:
            raise UserError(f"{path} holds no task")
        return self


def read_own(path: Path, *, as_written: bool = False) -> TaskList:
    """Read a list of one's own; "How to" is cut from its titles, unless they stay `as_written`.

    Columns: `title`, and optionally `task_id` (else the number of the row, in a text that of the
    line), `category_1` (or `category`), `category_2`. A name that ends in .parquet is Parquet, any
    other a text in UTF-8: the first line names the columns, separated by tabs, without quoting.
    Raises UserError where the file cannot be read or has no such columns.
    """
    found = TaskList()
    if path.suffix == ".parquet":
        table = read_table(path)
        names = _columns(f"{path}:", table.schema.names)
        rows = (row for batch in table.to_batches() for row in batch.to_pylist())
        for number, row in enumerate(rows, 1):
            values = dict(zip(names, row.values(), strict=True))
            found.take(path, number, partial(_own, values, number, as_written))
        return found.of(path)
    lines = _lines(path)
    names = _columns(f"{path}:1:", _header(path, lines, "\t"))
    for number, line in lines:
        found.take(path, number, partial(_own_line, names, line, number, as_written))
    return found.of(path)


def read_official(videos: Path, task_ids: Path) -> TaskList:
    """Read the release's tasks: those of task_ids.csv, with the categories of HowTo100M_v1.csv.

    task_ids.csv is tab-separated (id, title), with or without a header; HowTo100M_v1.csv is comma-
    separated, with one. A task that has videos and no title is a failure as well. Raises UserError
    where a file cannot be read or is none of those.
    """
    found = TaskList()
    counts, categories = _read_videos(videos, found)

    def read(number: int, raw: bytes) -> Entry | None:
        task_id, *titles = raw.decode().split("\t")
        if number == 1 and titles and task_id.strip().isidentifier():
            log.info("%s: the first line is a header: %s, %s", task_ids, task_id, *titles)
            return None
        if not task_id.isdecimal() or len(titles) != 1 or not titles[0].strip():
            raise ValueError(f"expected an id, a tab, a title; found {raw.decode()!r:.200}")
        known = categories.get(task_id, ("", ""))
        return Entry(task_id, _bare(titles[0]), known, counts[task_id])

    for number, line in _lines(task_ids):
        found.take(task_ids, number, partial(read, number, line))
    found.of(task_ids)
    untitled = ItemError(Kind.NO_TITLE, f"{videos} has videos of it, {task_ids} no title")
    found.failures += [Outcome.of(name, untitled) for name in sorted({*counts} - {*found.entries})]
    return found


def _read_videos(path: Path, found: TaskList) -> tuple[Counter[str], dict[str, tuple[str, str]]]:
    """How many videos each task of HowTo100M_v1.csv has, and the task's categories."""
    counts: Counter[str] = Counter()
    categories: dict[str, tuple[str, str]] = {}
    others: set[str] = set()
    lines = _lines(path)
    header = _header(path, lines, ",")
    wanted = ("task_id", "category_1", "category_2")
    if missing := sorted({*wanted} - {*header}):
        raise UserError(f"{path}:1: the header lacks {', '.join(missing)}; is it HowTo100M_v1.csv?")
    places = [header.index(name) for name in wanted]

    def read(raw: bytes) -> None:
        cells = next(csv.reader([raw.decode()]))
        if len(cells) != len(header) or not cells[places[0]].isdecimal():
            raise ValueError(f"expected {','.join(header)}; found {raw.decode()!r:.200}")
        task_id, first, second = (cells[place] for place in places)
        counts[task_id] += 1
        if categories.setdefault(task_id, (first, second)) != (first, second):
            others.add(task_id)

    for number, line in lines:
        found.take(path, number, partial(read, line))
    if others:
        log.warning("%s: %d tasks with several categories keep the first", path, len(others))
    return counts, categories


def _own(values: Mapping[str, object], number: int, as_written: bool) -> Entry:
    title, task_id = values.get("title"), values.get("task_id", number)
    if not isinstance(title, str) or not title.strip():
        raise ValueError(f"no title; found {values!r:.200}")
    if not isinstance(task_id, int | str) or not str(task_id).strip():
        raise ValueError(f"no task_id; found {values!r:.200}")
    first, second = (values.get(name) or "" for name in ("category_1", "category_2"))
    bare = title if as_written else _bare(title)
    return Entry(str(task_id), bare, (str(first), str(second)))


def _own_line(names: list[str], raw: bytes, number: int, as_written: bool) -> Entry:
    cells = raw.decode().split("\t")
    if len(cells) != len(names):
        raise ValueError(f"{len(cells)} columns, not {len(names)}; found {raw.decode()!r:.200}")
    return _own(dict(zip(names, cells, strict=True)), number, as_written)


def _columns(where: str, names: list[str]) -> list[str]:
    """The names of a list's columns, of which `category` is short for `category_1`."""
    known = ["category_1" if name == "category" else name for name in names]
    doubled = sorted(name for name, times in Counter(known).items() if times > 1)
    if "title" not in known or doubled:
        why = f"{', '.join(doubled)} is named twice" if doubled else f"found {', '.join(names)}"
        raise UserError(
            f"{where} there must be one column `title`, and may be task_id, category_1 and"
            f" category_2 (in a text the first line names them, separated by tabs); {why:.200}"
        )
    if ignored := sorted({*known} - COLUMNS):
        log.info("%s columns not looked at: %s", where, ", ".join(ignored))
    return known


def _header(path: Path, lines: Iterator[tuple[int, bytes]], separator: str) -> list[str]:
    _, line = next(lines, (1, b""))
    try:
        return [name.strip() for name in line.decode().split(separator)]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:1: this is no text in UTF-8 ({error})") from None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a text with their numbers, without line ends, byte order mark, empty lines."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                bare = line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").rstrip(b"\r\n")
                if bare:
                    yield number, bare
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _bare(title: str) -> str:
    return _HOW_TO.sub("", title, count=1) if _HOW_TO.match(title) else title
