"""Put the report together: one HTML page that needs nothing else."""

import json
import logging
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa

from howto100m.evaluation.localization import BASELINES
from howto100m.features.decode import still
from howto100m.kinds import ItemError
from howto100m.report import facts, plots
from howto100m.report.comparison import compare
from howto100m.report.counts import count_stages
from howto100m.report.retrieval import answers
from howto100m.report.studies import studies
from howto100m.report.times import times
from howto100m.shards import whole_file

log = logging.getLogger(__name__)

EXAMPLES = 8
VERBS = 300
"""Verbs that the page lists; on all of WikiHow there are thousands."""
PACKAGES = ("howto100m", "snakemake", "torch", "torchvision", "av", "yt-dlp", "pyarrow", "duckdb")
PAPER_MEANS = {"clips a video": 110.0, "seconds a clip": 4.0, "words a clip": 4.0}
LARGER_IS_WORSE = frozenset({"median_rank"})


@dataclass(frozen=True)
class Figure:
    """A metric of a benchmark: the value of each run, and what chance gives."""

    benchmark: str
    metric: str
    protocol: str
    values: tuple[float, ...]
    chance: float
    items: int
    missing: int
    baselines: tuple[tuple[str, float], ...]

    @property
    def mean(self) -> float:
        """The mean over runs."""
        return sum(self.values) / len(self.values)

    @property
    def beats_chance(self) -> bool:
        """Whether every run is on the better side of chance."""
        if self.metric in LARGER_IS_WORSE:
            return max(self.values) < self.chance
        return min(self.values) > self.chance


@dataclass(frozen=True)
class Shown:
    """An example and its picture, a data: URL."""

    example: facts.Example
    picture: str


def write_report(results: Path, output: Path, settings: dict[str, Any]) -> None:
    """Write the page from the tables under `results`; `settings` are printed as they are."""
    counts = count_stages(results)
    for count in counts:
        if not count.adds_up:
            log.error("%s: %d items in, %s expected: they do not add up",
                      count.stage, count.items, count.expected)  # fmt: skip
    metrics = facts.metrics(results)
    figures = merge_runs(metrics)
    curves = facts.curves(results)
    verbs = facts.verbs(results)
    corpus, categories, lines = (
        facts.corpus(results),
        facts.categories(results),
        facts.lines(results),
    )
    page = render(
        "page.html.j2",
        settings=json.dumps(settings, indent=2, ensure_ascii=False),
        source=settings.get("source", ""),
        features=settings.get("features", {}),
        counts=counts,
        corpus=corpus,
        categories=categories,
        verbs=verbs[:VERBS],
        more_verbs=len(verbs[VERBS:]),
        curves=plots.loss_curves(curves) if len(curves) else "",
        figures=figures,
        charts=[_chart(f) for f in figures if f.metric in ("R@10", "median_rank", "recall")],
        comparisons=compare(
            metrics.to_pylist(), settings.get("evaluation", {}).get("benchmarks", {})
        ),
        studies=studies(results),
        lines=lines,
        answers=answers(results, settings.get("report", {}).get("queries", [])),
        times=times(results),
        spread=[
            plots.histogram(name, values, PAPER_MEANS[name])
            for name, values in facts.spread(results).items()
        ],
        examples=with_pictures(facts.examples(results, 200), EXAMPLES),
        versions=[("Python", platform.python_version()), *_versions(PACKAGES)],
    )
    with whole_file(output) as part:
        part.write_text(page, encoding="utf-8")


def write_datasheet(results: Path, output: Path, settings: dict[str, Any]) -> None:
    """Write the dataset's datasheet, its figures from the tables under `results`."""
    text = render(
        "datasheet.md.j2",
        source=settings["source"],
        settings=settings,
        counts=count_stages(results),
        corpus=facts.corpus(results),
        categories=facts.categories(results),
        lines=facts.lines(results),
        version=version("howto100m"),
    )
    with whole_file(output) as part:
        part.write_text(text, encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """A page from a template of this package; a value that is missing is an error."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("howto100m", "report"),
        autoescape=jinja2.select_autoescape(
            ["html.j2"], default=True, disabled_extensions=["md.j2"]
        ),
        undefined=jinja2.StrictUndefined,
    )
    return templates.get_template(template).render(**values)


def _versions(packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is installed here; a job's own environment need not have them all."""
    for name in packages:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def merge_runs(metrics: pa.Table) -> list[Figure]:
    """A figure a benchmark and metric; the rows of baselines go beside it."""
    rows = [row for row in metrics.to_pylist() if not row["part"]]
    figures: list[Figure] = []
    for benchmark, metric in dict.fromkeys((r["benchmark"], r["metric"]) for r in rows):
        mine = [r for r in rows if (r["benchmark"], r["metric"]) == (benchmark, metric)]
        runs = [r for r in mine if r["run"] not in BASELINES]
        baselines = {r["run"]: r["value"] for r in mine if r["run"] in BASELINES}
        first = runs[0]
        figures.append(
            Figure(
                benchmark,
                metric,
                first["protocol"],
                tuple(r["value"] for r in runs),
                first["chance"],
                first["items"],
                first["missing"],
                tuple(baselines.items()),
            )
        )
    return figures


def _chart(figure: Figure) -> str:
    values: dict[str, Sequence[float]] = {"runs": figure.values}
    values |= {name: (value,) for name, value in figure.baselines}
    return plots.against_chance(f"{figure.benchmark}: {figure.metric}", values, figure.chance)


def with_pictures(examples: Iterable[facts.Example], number: int, width: int = 240) -> list[Shown]:
    """The first `number` examples of whose video a picture can be had, at the clip's middle."""
    shown: list[Shown] = []
    for example in examples:
        if len(shown) == number:
            break
        try:
            frame = still(Path(example.path), (example.start + example.end) / 2)
        except ItemError as error:
            log.warning("no picture of %s: %s", example.video_id, error)
            continue
        shown.append(Shown(example, plots.picture(frame, width)))
    return shown
