"""How far a job is: a bar when a person watches, plain log lines when none does."""

import logging
import sys
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

log = logging.getLogger(__name__)

Item = TypeVar("Item")

PATIENCE = 2.0
"""Seconds before a bar shows up."""
FRAME = 0.1
"""Seconds between two pictures of a bar."""


class Fared(Protocol):
    """What has a status: ok, skipped, failed."""

    @property
    def status(self) -> str:
        """Which."""
        ...


@dataclass
class Progress:
    """How many items are done, of how many, and how they fared.

    On a terminal a bar, from the third second on; elsewhere a log line every `every` seconds and
    one at the end.
    """

    what: str
    total: int
    every: float = 10.0
    before: int = 0
    """Items that an earlier run did; they count as done, not for the rate."""
    counts: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    said: float = 0.0
    _bar: tuple[Bar, TaskID] | None = None

    def count(self, outcome: Fared, note: str = "") -> None:
        """Count an item; show it when it is time, and at the end."""
        self.add(1, outcome.status, note)

    def add(self, items: int, status: str = "", note: str = "") -> None:
        """Count items that fared alike; show it when it is time, and at the end.

        `note` says in words how it goes, beside the counts.
        """
        self.counts[status] += items
        done, now = self.before + self.counts.total(), time.monotonic()
        said = ", ".join(filter(None, [*self._fared(), note]))
        if sys.stderr.isatty():
            self._draw(done, now, said)
        elif done >= self.total or now - self.said >= self.every:
            self.said = now
            rate = self.counts.total() / max(now - self.started, 1e-9)
            left = (
                f", {(self.total - done) / rate:.0f} s to go" if rate and done < self.total else ""
            )
            log.info(
                "%d/%d %s%s (%.1f/s%s)",
                *(done, self.total, self.what, said and f": {said}", rate, left),
            )

    def _fared(self) -> list[str]:
        return [f"{n} {status}" for status, n in sorted(self.counts.items()) if status]

    def _draw(self, done: int, now: float, said: str) -> None:
        if now - self.started < PATIENCE or (now - self.said < FRAME and done < self.total):
            return
        self.said = now
        if self._bar is None:
            self._bar = self._start(done)
        bar, task = self._bar
        bar.update(task, completed=done, said=said)
        bar.refresh()
        if done >= self.total:
            bar.stop()

    def _start(self, done: int) -> tuple[Bar, TaskID]:
        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        task = bar.add_task(self.what, total=self.total, completed=done, said="")
        bar.start()
        weakref.finalize(
            self, bar.stop
        )  # where the work breaks off the terminal gets back its cursor
        return bar, task


def counted(what: str, items: Sequence[Item]) -> Iterator[Item]:
    """The items, each of them counted when the next is asked for."""
    progress = Progress(what, len(items))
    for item in items:
        yield item
        progress.add(1)


class StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what stderr is now: while a bar is drawn, lines go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stderr
        super().emit(record)
