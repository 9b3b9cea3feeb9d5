"""Progress through videos: a bar where a person watches, lines in the log where none does."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from howto100m.kinds import Status
from howto100m.shards import Outcome

log = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two lines in the log."""
Count = Callable[[Outcome, float], None]
"""Takes an outcome, and the seconds of video that it stands for."""


@dataclass
class Tally:
    """What is done, of how many."""

    total: int
    done: int = 0
    failed: int = 0
    length: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome, length: float) -> None:
        """Count a video of so many seconds."""
        self.done += 1
        self.failed += outcome.status is Status.FAILED
        self.length += length

    def __str__(self) -> str:
        speed = self.length / max(time.monotonic() - self.started, 1e-9)
        return f"{speed:.1f} s of video a second, {self.failed} failed"


@contextmanager
def watch(total: int) -> Iterator[Count]:
    """Show how far a run over so many videos is, on the standard error, while the block runs."""
    tally = Tally(total)
    if sys.stderr.isatty():
        with _bar(tally) as count:
            yield count
    else:
        yield _lines(tally)


@contextmanager
def _bar(tally: Tally) -> Iterator[Count]:
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("videos, {task.description}")
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(str(tally), total=tally.total)

        def count(outcome: Outcome, length: float) -> None:
            tally.add(outcome, length)
            bar.update(task, completed=tally.done, description=str(tally))

        yield count


def _lines(tally: Tally) -> Count:
    said = time.monotonic()

    def count(outcome: Outcome, length: float) -> None:
        nonlocal said
        tally.add(outcome, length)
        if tally.done == tally.total or time.monotonic() - said >= EVERY:
            said = time.monotonic()
            log.info("%d/%d videos, %s", tally.done, tally.total, tally)

    return count
