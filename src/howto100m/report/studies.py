"""The paper's studies on this corpus: a table and plots each, and the paper's own figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from howto100m.evaluation.published import published
from howto100m.evaluation.questions import OFFICIAL
from howto100m.evaluation.studies import parts_of
from howto100m.report import plots
from howto100m.shards import Row, read_table

HEADLINES = ("R@10", "recall")
"""The metric of a benchmark that a study shows."""

TOLD: Mapping[str, tuple[str, str]] = {
    "negatives": (
        "Negatives of the same video",
        "The share of negatives that come from the same video (the paper's table 3, below).",
    ),
    "scale": (
        "How many videos",
        (
            "Videos down to a search rank (the paper's figure 3, which gives no numbers: there all"
            " benchmarks get better with every step, and none levels off)."
        ),
    ),
    "finetune": (
        "How much of the target's training data",
        (
            "Fine-tuning on a share of the target's training data, from our own run or from"
            " fresh weights (the paper's figure 4, which gives no numbers: there 20 % of MSR-VTT's"
            " is enough to match the best method before)."
        ),
    ),
    "transfer": (
        "What to train on first",
        (
            "Training on one set, then on the target (the paper's figure 5, which gives no numbers:"
            " there HowTo100M is the best set to begin with for every target)."
        ),
    ),
    "loss": (
        "Losses",
        "The paper's loss and MIL-NCE on the same features (figures of later papers below).",
    ),
}


@dataclass(frozen=True)
class Line:
    """A setting: videos it was trained on, and by benchmark the values of its seeds."""

    setting: str
    videos: int
    cells: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Study:
    """A study's section; `columns` are benchmark and metric, `papers` rows of theirs."""

    title: str
    note: str
    columns: tuple[str, ...]
    chances: tuple[float, ...]
    lines: tuple[Line, ...]
    paper_columns: tuple[str, ...]
    papers: tuple[tuple[str, tuple[float | None, ...], str], ...]
    charts: tuple[str, ...]


def studies(results: Path) -> list[Study]:
    """The studies whose tables are there."""
    paths = {name: results / "studies" / f"{name}.parquet" for name in TOLD}
    return [
        _study(name, read_table(path).to_pylist()) for name, path in paths.items() if path.exists()
    ]


def _study(name: str, table: Sequence[Row]) -> Study:
    rows = [row for row in table if row["metric"] in HEADLINES]
    keys = list(dict.fromkeys((row["benchmark"], row["metric"]) for row in rows))
    settings = dict.fromkeys(row["setting"] for row in rows)
    lines = tuple(
        Line(
            setting,
            max(row["videos"] for row in rows if row["setting"] == setting),
            tuple(tuple(_values(rows, setting, *key)) for key in keys),
        )
        for setting in settings
    )
    chances = tuple(
        fmean(r["chance"] for r in rows if (r["benchmark"], r["metric"]) == key) for key in keys
    )
    columns = tuple(f"{benchmark}: {metric}" for benchmark, metric in keys)
    papers = _papers(name)
    return Study(
        *TOLD[name],
        columns,
        chances,
        lines,
        tuple(dict.fromkeys(column for _, column, _, _ in papers)),
        tuple(_paper_lines(papers)),
        tuple(_charts(name, columns, chances, lines)),
    )


def _values(rows: Sequence[Row], setting: str, benchmark: str, metric: str) -> Iterator[float]:
    for row in rows:
        if (row["setting"], row["benchmark"], row["metric"]) == (setting, benchmark, metric):
            yield row["value"]


def _papers(study: str) -> list[tuple[str, str, float, str]]:
    """Setting, benchmark with metric, value and source of the published rows of a study."""
    return [
        (row.method, f"{benchmark}: {metric}", row.values[metric], row.source)
        for benchmark in OFFICIAL
        for row in published(benchmark, study)
        for metric in HEADLINES
        if metric in row.values
    ]


def _paper_lines(
    papers: Sequence[tuple[str, str, float, str]],
) -> Iterator[tuple[str, tuple[float | None, ...], str]]:
    columns = list(dict.fromkeys(column for _, column, _, _ in papers))
    for setting in dict.fromkeys(setting for setting, *_ in papers):
        found = {column: value for s, column, value, _ in papers if s == setting}
        sources = dict.fromkeys(source for s, _, _, source in papers if s == setting)
        yield setting, tuple(map(found.get, columns)), ", ".join(sources)


def _charts(
    name: str, columns: Sequence[str], chances: Sequence[float], lines: Sequence[Line]
) -> Iterator[str]:
    """Lines over the number of videos or the share; else a dot a seed, by setting."""
    for place, (column, chance) in enumerate(zip(columns, chances, strict=True)):
        mine = [line for line in lines if line.cells[place]]
        if name == "scale":
            found = {"": [(float(line.videos), line.cells[place]) for line in mine]}
            yield plots.growth(column, "videos", found, chance)
        elif name == "finetune":
            shares: dict[str, list[tuple[float, tuple[float, ...]]]] = {}
            for line in mine:
                parts = parts_of(line.setting)
                started = f"from {parts['init']}"
                shares.setdefault(started, []).append((float(parts["share"]), line.cells[place]))
            yield plots.growth(column, "share of the training data", shares, chance)
        else:
            label = {"transfer": "init", "loss": "loss"}.get(name)
            values = {
                parts_of(line.setting)[label] if label else line.setting: line.cells[place]
                for line in mine
            }
            yield plots.against_chance(column, values, chance)
