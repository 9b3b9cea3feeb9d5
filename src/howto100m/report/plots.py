"""The report's pictures, each as text or bytes that stand in the page itself."""

import base64
import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

mpl.use("svg")

INK = "#1f4e79"
ACCENT = "#c8553d"


def loss_curves(curves: pa.Table) -> str:
    """The loss by step, a line a run, smoothed over a hundredth of its steps; SVG."""
    figure = Figure(figsize=(5.5, 2.6), layout="constrained")
    axes = figure.subplots()
    for run in sorted(set(curves["run"].to_pylist())):
        rows = curves.filter(pc.equal(curves["run"], run))
        steps, losses = rows["step"].to_numpy(), rows["loss"].to_numpy()
        window = max(1, len(losses) // 100)
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(steps[window - 1 :], smooth, label=run, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return _svg(figure)


def histogram(name: str, values: Sequence[tuple[float, int]], paper: float, bins: int = 40) -> str:
    """How (value, how many) are spread, with the mean and the paper's as lines; SVG."""
    figure = Figure(figsize=(3.2, 2.2), layout="constrained")
    axes = figure.subplots()
    places, counts = np.array(values, float).reshape(-1, 2).T
    if len(places):
        steps = np.diff(places)
        width = max(float(steps.min()) if len(steps) else 1.0, float(np.ptp(places)) / bins)
        edges = np.arange(places.min() - width / 2, places.max() + width, width)
        axes.hist(places, edges.tolist(), weights=counts, color=INK)
        axes.axvline(np.average(places, weights=counts), color=INK, linestyle=":", linewidth=1)
    axes.axvline(paper, color=ACCENT, linestyle="--", linewidth=1)
    axes.annotate("paper's mean", (paper, 0.98), xycoords=("data", "axes fraction"),
                  color=ACCENT, fontsize=8, va="top",
                  ha="right" if paper > np.mean(axes.get_xlim()) else "left")  # fmt: skip
    axes.set_xlabel(name)
    axes.ticklabel_format(style="plain", useOffset=False)
    return _svg(figure)


def against_chance(name: str, values: Mapping[str, Sequence[float]], chance: float) -> str:
    """One metric, a dot a run, with the level of chance as a line; SVG."""
    figure = Figure(figsize=(3.2, 2.4), layout="constrained")
    axes = figure.subplots()
    for place, (label, found) in enumerate(values.items()):
        axes.scatter([place] * len(found), found, color=INK, zorder=3)
        axes.annotate(
            label.replace("_", "_\n") if len(label) > 30 // len(values) else label,
            *((place, 0), (0, -5)),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8,
        )
    axes.axhline(chance, color=ACCENT, linestyle="--", linewidth=1)
    axes.annotate("chance", (0.98, chance), xycoords=("axes fraction", "data"), color=ACCENT,
                  ha="right", va="bottom")  # fmt: skip
    axes.set_title(name, fontsize=10)
    axes.set_xticks([])
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.6, len(values) - 0.4)
    return _svg(figure)


def growth(
    name: str,
    what: str,
    lines: Mapping[str, Sequence[tuple[float, Sequence[float]]]],
    chance: float,
) -> str:
    """A metric over `what`: a line a label through the means, a dot a run; SVG."""
    figure = Figure(figsize=(3.2, 2.4), layout="constrained")
    axes = figure.subplots()
    for (label, points), color in zip(lines.items(), (INK, ACCENT, "#6b7280") * 9, strict=False):
        ordered = sorted(points)
        means = [float(np.mean(values)) for _, values in ordered]
        axes.plot([x for x, _ in ordered], means, color=color, label=label, linewidth=1.2)
        for x, values in ordered:
            axes.scatter([x] * len(values), values, color=color, s=10, zorder=3)
    axes.axhline(chance, color=ACCENT, linestyle="--", linewidth=1)
    axes.annotate("chance", (0.98, chance), xycoords=("axes fraction", "data"), color=ACCENT,
                  ha="right", va="bottom")  # fmt: skip
    axes.set_title(name, fontsize=10)
    axes.set_xlabel(what)
    axes.set_ylim(bottom=0)
    if any(lines):
        axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def picture(frame: np.ndarray, width: int = 240) -> str:
    """A frame as a data: URL (see `jpeg`)."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(frame, width)).decode()


def jpeg(frame: np.ndarray, width: int) -> bytes:
    """A frame [H, W, 3] (uint8, RGB), reduced to about `width` columns, as a JPEG file."""
    step = max(1, frame.shape[1] // width)
    buffer = io.BytesIO()
    mpl.image.imsave(buffer, np.ascontiguousarray(frame[::step, ::step]), format="jpeg")
    return buffer.getvalue()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "howto100m", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
