"""What others reported on the benchmarks, and our figures beside it."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("published.tsv")
SHARES = ("R@1", "R@5", "R@10", "recall")
"""Columns of the table in percent."""
RANKS = ("median_rank",)


@dataclass(frozen=True)
class Published:
    """A row of a published table: shares of 0 to 1 and ranks, by metric.

    `part` is the task ("id title"), "" for a whole benchmark; `training` what the method learned
    from; `source` where the figures stand.
    """

    method: str
    training: str
    features: str
    part: str
    source: str
    values: Mapping[str, float]


def published(benchmark: str, study: str = "") -> list[Published]:
    """The rows on a benchmark, in order; the rows of a study stand for themselves."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        Published(
            row["method"],
            row["training"],
            row["features"],
            row["part"],
            row["source"],
            {name: float(row[name]) / 100 for name in SHARES if row[name]}
            | {name: float(row[name]) for name in RANKS if row[name]},
        )
        for row in rows
        if (row["benchmark"], row["study"]) == (benchmark, study)
    ]


def task_id(part: str) -> str:
    """The task of a part: its name begins with it."""
    return part.partition(" ")[0]


def task_sources(rows: Iterable[Published]) -> str:
    """Where the figures by task stand, and how many of them, the most first."""
    counts = Counter(row.source for row in rows if row.part)
    return "; ".join(f"{source}: {number} figures" for source, number in counts.most_common())


def in_order(parts: Iterable[str], benchmark: str) -> list[str]:
    """Parts in the paper's order of tasks; unknown ones at the end, as they come."""
    known = list(dict.fromkeys(task_id(row.part) for row in published(benchmark)))
    places = {task: place for place, task in enumerate(known)}
    return sorted(parts, key=lambda part: places.get(task_id(part), len(known)))


def beside_published(benchmark: str, metrics: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines to read: our figures on a benchmark, chance, the baselines, and the published rows."""
    whole = [row for row in metrics if not row["part"]]
    first = whole[0]
    yield (
        f"{benchmark}: {first['protocol']}; {first['items']} items,"
        f" {first['missing']} more are missing (no features)"
    )
    names = [row["metric"] for row in whole if row["run"] == first["run"]]
    yield _line("", names)
    for run in dict.fromkeys(row["run"] for row in whole):
        values = {row["metric"]: row["value"] for row in whole if row["run"] == run}
        yield _line(run, [_figure(name, values) for name in names])
    lot = {row["metric"]: row["chance"] for row in whole}
    yield _line("chance", [_figure(name, lot) for name in names])
    rows = published(benchmark)
    for row in (row for row in rows if not row.part):
        told = f"{row.method} ({row.training})" + (f", {row.features}" if row.features else "")
        yield _line(told, [_figure(name, row.values) for name in names]) + f"  {row.source}"
    parts = [row for row in metrics if row["part"] and row["run"] == first["run"]]
    if parts:
        yield from _by_task(benchmark, parts, rows)


def _by_task(
    benchmark: str, metrics: Sequence[Mapping[str, Any]], rows: Sequence[Published]
) -> Iterator[str]:
    papers = {task_id(row.part): row.values for row in rows if row.method == "the paper"}
    yield _line("by task", ["recall", "recall_pooled", "the paper's"])
    for part in in_order(dict.fromkeys(row["part"] for row in metrics), benchmark):
        ours = {row["metric"]: row["value"] for row in metrics if row["part"] == part}
        figures = [_figure(name, ours) for name in ("recall", "recall_pooled")]
        yield _line(part, [*figures, _figure("recall", papers.get(task_id(part), {}))])
    yield f"the paper's: {task_sources(row for row in rows if row.method == 'the paper')}"


def _figure(metric: str, values: Mapping[str, float]) -> str:
    if metric not in values:
        return "-"
    return f"{values[metric]:g}" if metric in RANKS else f"{values[metric]:.4f}"


def _line(name: str, figures: Iterable[str]) -> str:
    return f"{name:<64}" + "".join(f"{figure:>14}" for figure in figures)
