"""How far the line is: shards, items, reasons, rates, from the tables and journals alone.

Reads while jobs write: a table that exists is whole, and of a journal the last line may be missing.
Of a training run the file that it would go on from tells how far it was some minutes ago.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from howto100m.kinds import Status, UserError
from howto100m.shards import Outcome, journal_outcomes

WINDOW = 3600.0
"""Seconds before a stage's last sign of life in which its rate is measured."""

# A stage, and the one whose shards it takes ("" where it has shards of its own).
_STAGES = (
    ("tasks", ""),
    ("search", "tasks"),
    ("videos", ""),
    ("captions", "videos"),
    ("subtitles", "videos"),
    ("clips", "videos"),
    ("media", "videos"),
    ("features", "videos"),
    ("vocabulary", ""),
    ("pairs", "videos"),
    ("embedding", ""),
    ("evaluation", ""),
    ("studies", ""),
)
_PATTERNS = {
    "evaluation": "*/*-[0-9]*.status.parquet",
    "studies": "*/*-[0-9]*.status.parquet",
}
"""Status tables that do not stand in the stage's folder itself: a folder a benchmark or study."""
_TRAINING = {"embedding": "*.resume.pt", "studies": "*/*.resume.pt"}
"""What training runs that go on have written."""
_REPLACED = {
    "tasks": "videos",
    "search": "videos",
    "subtitles": "captions",
    "media": "features",
}
"""Stages that the line may do without, and what is there in their place."""


@dataclass(frozen=True)
class Shard:
    """A finished shard, or the journal of one that is not: when it last changed, and its items.

    `seconds` is what its items took one after the other.
    """

    changed: float
    outcomes: Counter[tuple[str, str]]
    seconds: float

    @property
    def items(self) -> int:
        """How many items there are, whatever became of them."""
        return self.outcomes.total()


@dataclass(frozen=True)
class Run:
    """A training run that goes on, or was stopped: when it last wrote, and how far it was then.

    `rate` is its steps a second over the last hour of training, `total` the steps that there will
    be; None where that is not known.
    """

    name: str
    changed: float
    step: int
    total: int | None
    rate: float | None

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at that rate."""
        if self.total is None or not self.rate:
            return None
        return (self.total - self.step) / self.rate


@dataclass(frozen=True)
class Standing:
    """How far a stage is. `shards` is None where no table says how many there will be."""

    stage: str
    shards: int | None
    one_job: bool = False
    """Whether one job writes all shards, so that their times say nothing."""
    done: Sequence[Shard] = ()
    begun: Sequence[Shard] = ()
    damaged: Sequence[Path] = ()
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    runs: Sequence[Run] = ()

    @property
    def items(self) -> int:
        """Items seen so far, those in journals too."""
        return self.outcomes.total()

    def of(self, status: Status) -> Counter[str]:
        """How many items had that status, by kind ("" for ok)."""
        counts: Counter[str] = Counter()
        for (found, kind), items in self.outcomes.items():
            if found == status:
                counts[kind] += items
        return counts

    @property
    def changed(self) -> float | None:
        """When something of the stage was last written (s since 1970)."""
        times = [shard.changed for shard in (*self.done, *self.begun)]
        return max([*times, *(run.changed for run in self.runs)], default=None)

    @property
    def rate(self) -> float | None:
        """Items a second, over the last hour in which the stage was at work.

        Counted from the end of a shard, since nothing tells when one began; with less than two
        ends, from the seconds that the items took. Of training its steps a second.
        """
        if self.runs:
            return sum(run.rate or 0.0 for run in self.runs) or None
        if self.changed is None or not self.items or self.one_job:
            return None
        since = max(self.changed - WINDOW, min((s.changed for s in self.done), default=0.0))
        ends = sorted(s.changed for s in self.done if s.changed >= since)
        if ends and self.changed > ends[0]:
            fresh = [s for s in self.done if s.changed > ends[0]]
            return sum(s.items for s in (*fresh, *self.begun)) / (self.changed - ends[0])
        seconds = sum(shard.seconds for shard in (*self.done, *self.begun))
        return self.items / seconds if seconds else None

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at that rate, if its shards are as full as those done.

        Of training, the rest of the runs that have begun.
        """
        if self.runs:
            known = [run.left for run in self.runs if run.left is not None]
            return max(known) if len(known) == len(self.runs) else None
        if self.shards is None:
            return None
        undone = self.shards - len(self.done)
        if undone <= 0:
            return 0.0
        if not self.rate or not self.done:
            return None
        each = sum(shard.items for shard in self.done) / len(self.done)
        rest = undone * each - sum(shard.items for shard in self.begun)
        return max(rest, 0.0) / self.rate


def standings(results: Path) -> list[Standing]:
    """How far each stage under `results` is, in the order of the line; those not begun too.

    Raises UserError where nothing was built at all.
    """
    found: dict[str, Standing] = {}
    for stage, whose in _STAGES:
        folder = results / stage
        done: list[Shard] = []
        damaged: list[Path] = []
        for path in sorted(folder.glob(_PATTERNS.get(stage, "*.status.parquet"))):
            try:
                done.append(_read(path))
            except FileNotFoundError:  # its job was begun anew since we listed the folder
                continue
            except (pa.ArrowInvalid, OSError, KeyError):
                damaged.append(path)
        begun = [_replay(path, bool(whose)) for path in sorted(folder.glob("*.journal.jsonl"))]
        runs = list(_training(sorted(folder.glob(_TRAINING.get(stage, "-")))))
        number = found[whose].shards if whose else len(done) + len(damaged) + len(runs) or None
        if stage == "evaluation" and done:  # a job a benchmark and training run
            benchmarks = {p.parent for p in folder.glob(_PATTERNS[stage])}
            number = max(len(benchmarks) * (found["embedding"].shards or 0), len(done))
        outcomes: Counter[tuple[str, str]] = Counter()
        for shard in (*done, *begun):
            outcomes.update(shard.outcomes)
        one_job = not whose and stage != "evaluation"
        found[stage] = Standing(stage, number, one_job, done, begun, damaged, outcomes, runs)
    there = {stage for stage, s in found.items() if s.changed is not None or s.damaged}
    if not there:
        raise UserError(f"{results} holds no stage's tables: run snakemake, or name the folder")
    unused = {stage for stage, other in _REPLACED.items() if other in there}
    unused |= {"captions", "studies"}
    return [found[stage] for stage, _ in _STAGES if stage in there or stage not in unused]


def _read(path: Path) -> Shard:
    table = pq.read_table(path, columns=["status", "kind", "seconds"])
    groups = table.group_by(["status", "kind"]).aggregate([("seconds", "sum"), ([], "count_all")])
    rows = groups.to_pylist()
    outcomes = Counter({(row["status"], row["kind"] or ""): row["count_all"] for row in rows})
    return Shard(path.stat().st_mtime, outcomes, sum(row["seconds_sum"] for row in rows))


def _replay(path: Path, of_items: bool) -> Shard:
    """A journal so far; that of the tasks counts answers, which are no items."""
    outcomes: list[Outcome] = []
    changed = 0.0
    with suppress(FileNotFoundError):  # its shard may have been finished since we listed the folder
        changed = path.stat().st_mtime
        outcomes = list(journal_outcomes(path)) if of_items else []
    counts = Counter((o.status.value, o.kind.value if o.kind else "") for o in outcomes)
    return Shard(changed, counts, sum(o.seconds for o in outcomes))


def _training(paths: Sequence[Path]) -> Iterator[Run]:
    """How far training runs were when they last wrote where they stand."""
    if not paths:
        return
    import torch  # takes a second, and is needed for nothing else

    for path in paths:
        with suppress(FileNotFoundError):  # it may have ended since we listed the folder
            changed = path.stat().st_mtime
            curve = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["curve"]
            seconds, total = curve["seconds"], curve.get("total")
            recent = seconds[seconds >= seconds.max() - WINDOW]
            spent = float(recent[-1] - recent[0])
            yield Run(
                path.name.removesuffix(".resume.pt"),
                changed,
                len(seconds),
                None if total is None else int(total),
                (len(recent) - 1) / spent if spent > 0 else None,
            )


def lines(stages: Sequence[Standing], now: float | None = None) -> Iterator[str]:
    """The table that a person reads; below it what was lost for which reason, and damage."""
    now = time.time() if now is None else now
    head = ("stage", "shards", "begun", "items", "ok", "skipped", "failed", "rate", "left", "last")
    rows = [head, *(_cells(stage, now) for stage in stages)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *aligned]).rstrip()
    for stage in stages:
        for run in stage.runs:
            of = "" if run.total is None else f" of {run.total:,}"
            yield f"{stage.stage} {run.name}: step {run.step:,}{of}"
    for stage in stages:
        for status in (Status.SKIPPED, Status.FAILED):
            kinds = stage.of(status).most_common()
            if kinds:
                yield f"{stage.stage} {status}: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds)
    for stage in stages:
        for path in stage.damaged:
            yield f"{path}: no whole status table; delete it and its table, and run again"


def _cells(stage: Standing, now: float) -> tuple[str, ...]:
    shards = "?" if stage.shards is None else f"{stage.shards:,}"
    counts = (stage.items, *(stage.of(status).total() for status in Status))
    return (
        stage.stage,
        f"{len(stage.done):,}/{shards}",
        f"{len(stage.begun) + len(stage.runs) or ''}",
        *(f"{count:,}" if stage.items else "" for count in counts),
        _rate(stage.rate) if stage.rate else "",
        _left(stage),
        "" if stage.changed is None else f"{duration(max(now - stage.changed, 0.0))} ago",
    )


def _left(stage: Standing) -> str:
    if stage.left is None or not (stage.items or stage.runs):
        return ""
    return duration(stage.left) if len(stage.done) != stage.shards else "done"


def _rate(items: float) -> str:
    if items >= 0.1:
        return f"{items:,.{0 if items >= 10 else 1}f}/s"
    return f"{3600 * items:,.0f}/h"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that count: 45 s, 12 min, 3 h 5 min, 8 d 3 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
