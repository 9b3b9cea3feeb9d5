"""Our figures on the paper's benchmarks beside the published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from howto100m.evaluation.localization import BASELINES
from howto100m.evaluation.published import (
    Published,
    in_order,
    published,
    task_id,
    task_sources,
)
from howto100m.evaluation.questions import OFFICIAL
from howto100m.shards import Row

RETRIEVAL, LOCALIZATION = ("R@1", "R@5", "R@10", "median_rank"), ("recall",)


@dataclass(frozen=True)
class Line:
    """A row of a table of results; a value that was not reported is None."""

    method: str
    training: str
    features: str
    source: str
    values: tuple[float | None, ...]
    ours: bool


@dataclass(frozen=True)
class Comparison:
    """A benchmark's table: what is measured, how, on how many items, ours first.

    `tasks` has rows by task where there are tasks: its name, and a value a method of `methods`.
    """

    benchmark: str
    protocol: str
    items: int
    missing: int
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    methods: tuple[str, ...]
    tasks: tuple[tuple[str, tuple[float | None, ...]], ...]
    task_sources: str


def compare(metrics: Sequence[Row], benchmarks: Mapping[str, Any]) -> list[Comparison]:
    """A table for each of the paper's benchmarks, with our mean over runs where it was evaluated.

    `benchmarks` are the settings that say which of ours is an official one.
    """
    ours: dict[str, list[Row]] = {name: [] for name in OFFICIAL}
    for row in metrics:
        official = benchmarks.get(row["benchmark"], {}).get("official")
        if official:
            ours[official].append(row)
    return [_compare(name, rows) for name, rows in ours.items()]


def _compare(benchmark: str, rows: Sequence[Row]) -> Comparison:
    names = LOCALIZATION if benchmark == "crosstask" else RETRIEVAL
    papers = published(benchmark)
    runs = [row for row in rows if row["run"] not in BASELINES]
    whole = [row for row in runs if not row["part"]]
    lines = []
    for name in dict.fromkeys(row["benchmark"] for row in whole):
        mine = [row for row in whole if row["benchmark"] == name]
        number = len({row["run"] for row in mine})
        told = f"{name}, mean of {number} runs" if number > 1 else f"{name}, this run"
        lines.append(Line(told, "this corpus", "", "", tuple(_mean(mine, m) for m in names), True))
    lines += [
        Line(p.method, p.training, p.features, p.source, tuple(map(p.values.get, names)), False)
        for p in papers
        if not p.part
    ]
    first = (whole or [{"protocol": "", "items": 0, "missing": 0}])[0]
    return Comparison(
        benchmark,
        first["protocol"],
        first["items"],
        first["missing"],
        names,
        tuple(lines),
        *_by_task(benchmark, papers, [row for row in runs if row["part"]]),
        task_sources(papers),
    )


def _by_task(
    benchmark: str, papers: Sequence[Published], ours: Sequence[Row]
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[float | None, ...]], ...]]:
    """Methods with figures by task (ours first), and a row a task, in the paper's order."""
    known = {(p.method, task_id(p.part)): p.values["recall"] for p in papers if p.part}
    methods = tuple(dict.fromkeys(method for method, _ in known))
    names = {task_id(p.part): p.part for p in papers if p.part}
    names |= {task_id(row["part"]): row["part"] for row in ours}
    lines = []
    for name in in_order(names.values(), benchmark):
        task = task_id(name)
        mine = [row for row in ours if task_id(row["part"]) == task]
        others = (known.get((method, task)) for method in methods)
        lines.append((name.partition(" ")[2], (_mean(mine, "recall"), *others)))
    return ("ours", *methods), tuple(lines)


def _mean(rows: Sequence[Row], metric: str) -> float | None:
    values = [row["value"] for row in rows if row["metric"] == metric]
    return fmean(values) if values else None
