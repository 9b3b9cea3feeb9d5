"""Changes to a network that leave its vectors as they are, and may make it faster on a device.

What is faster differs from device to device, and between versions of its libraries: so each change
is tried at the start, and kept where it is measured to be faster there.
"""

import logging
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from howto100m.features.edits import channels_first, fold_time, merge_groups, pad_channels
from howto100m.features.fused import fuse_by_cudnn
from howto100m.features.networks import Extractor

log = logging.getLogger(__name__)

Run = Callable[[Tensor], Tensor]
"""Rows [B, ...] to vectors float32 [B, 2048]."""

TUNES = ("none", "quick", "full")
"""How much is tried: `full` is `quick` and PyTorch's compiler, which takes long."""
ROUNDS, BATCHES = 5, 4
"""A rate is the median of so many rounds of so many batches."""
PATIENCE = 2.0
"""Seconds after which no further round is begun."""
GRAPHS = 8
"""Shapes of rows that are recorded; others run as they are."""


class Kind(Enum):
    """What a change is made of, and goes on with."""

    EDIT = auto()
    """Of the network's layers; the next change starts from them."""
    FORM = auto()
    """Of the network, into something that has no layers to edit; one form at most is kept."""
    WRAP = auto()
    """Of whatever is the best so far."""


@dataclass(frozen=True)
class Change:
    """A way to make a network faster: a new one of its own from the one given.

    It is kept where its rate is at least `gain` times the best rate without it. `apply` gives None
    where there is nothing to change.
    """

    name: str
    kind: Kind
    apply: Callable[[Any], Run | None]
    gain: float = 1.02


def changes(tune: str, device: torch.device, dtype: torch.dtype) -> list[Change]:
    """What is worth a try, in order; nothing on a CPU, for which `ready` does what pays."""
    if tune == "none" or device.type != "cuda":
        return []
    found = [
        Change(edit.__name__.replace("_", " "), Kind.EDIT, partial(edited, edit=edit))
        for edit in (channels_first, merge_groups, pad_channels, fold_time)
    ]
    if dtype is not torch.float16:
        found.append(Change("fuse by cudnn", Kind.FORM, partial(edited, edit=fuse_by_cudnn)))
    if tune == "full":
        found.append(Change("compile", Kind.FORM, torch.compile))
    # A recorded batch costs the thread that feeds the GPU next to nothing: worth it at par.
    found.append(Change("record", Kind.WRAP, Recorded, 0.98))
    return found


def faster(
    network: Extractor,
    tries: list[Change],
    trial: Tensor,
    check: Callable[[Run], str],
    wait: Callable[[], None],
) -> tuple[Run, list[str]]:
    """The network with the changes that pay, and their names.

    `trial` are rows of a full batch on the device, `check` says what is wrong with a network's
    vectors, `wait` returns once the device is through. A change that cannot be made on this device
    is told in the log, like one that is slower.
    """
    best: Run = network
    kept: list[Change] = []
    if not tries:
        return best, []
    most = rate(best, trial, wait)
    log.info("%.1f rows/s as it is", most)
    for change in tries:
        try:
            run = change.apply(best if change.kind is Kind.WRAP else network)
            if run is None:
                continue
            reached = rate(run, trial, wait)
            fault = check(run)  # last, since a graph is recorded when a shape comes again
        except RuntimeError as error:
            log.warning("%s cannot be had here: %s", change.name, _first_line(error))
            continue
        if fault:
            log.warning("%s: %s", change.name, fault)
            continue
        better = reached >= change.gain * most
        log.info("%.1f rows/s with %s%s", reached, change.name, ", kept" if better else "")
        if better:
            best, most = run, reached
            if isinstance(run, Extractor) and change.kind is Kind.EDIT:
                network = run
            replaced = Kind.FORM if change.kind is Kind.FORM else None
            kept = [x for x in kept if x.kind is not replaced] + [change]
    return best, [change.name for change in kept]


@torch.inference_mode()
def rate(run: Run, rows: Tensor, wait: Callable[[], None]) -> float:
    """Rows a second through a network that is warm."""
    for _ in range(2):
        run(rows)
    took: list[float] = []
    while len(took) < ROUNDS and sum(took) < PATIENCE:
        wait()
        started = time.perf_counter()
        for _ in range(BATCHES):
            run(rows)
        wait()
        took.append(time.perf_counter() - started)
    return BATCHES * len(rows) / median(took)


def edited(network: Extractor, edit: Callable[[Extractor], bool]) -> Extractor | None:
    """A copy with other layers; None where the edit says that it changed nothing."""
    copy = deepcopy(network)
    return copy if edit(copy) else None


Graph = tuple[Tensor, Callable[[], None], Tensor]
"""Where a batch's rows go, what then runs the network, and where its vectors come."""


class Recorded:
    """A network as CUDA graphs: a batch is one call to the driver in place of hundreds.

    A shape of rows is recorded when it comes again. Graphs share the memory for what lies between
    rows and vectors, for they run one after the other on one stream.
    """

    def __init__(self, run: Run, record: Callable[[Run, Tensor], Graph] | None = None):
        self.run, self.record = run, record or CudaRecorder()
        self.seen: set[torch.Size] = set()
        self.graphs: dict[torch.Size, Graph | None] = {}
        """None for a shape that could not be recorded."""

    def __call__(self, rows: Tensor) -> Tensor:
        """As the network. The first shape that cannot be recorded raises RuntimeError."""
        shape = rows.shape
        if shape in self.seen and shape not in self.graphs and len(self.graphs) < GRAPHS:
            self.graphs[shape] = self._recorded(rows)
        self.seen.add(shape)
        graph = self.graphs.get(shape)
        if graph is None:
            return self.run(rows)
        taken, replay, given = graph
        taken.copy_(rows)
        replay()
        return given.clone()

    def _recorded(self, rows: Tensor) -> Graph | None:
        try:
            return self.record(self.run, rows)
        except RuntimeError as error:
            if not self.graphs:
                raise
            log.warning("%s cannot be recorded: %s", tuple(rows.shape), _first_line(error))
            return None


class CudaRecorder:
    """Records what a network does with rows, on the current GPU."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Run, rows: Tensor) -> Graph:
        """Run it until its libraries have chosen their kernels, then once for the record."""
        taken = rows.clone()
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(3):
                run(taken)
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self.pool):
                given = run(taken)
        finally:
            torch.cuda.set_stream(here)  # an older PyTorch stays on the graph's where that failed
        return taken, graph.replay, given


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
