"""The loss of every step: kept for the table, and shown while training goes on."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from howto100m import tables
from howto100m.kinds import UserError
from howto100m.progress import Progress

_LOOK = 0.5
"""Seconds between two looks at the losses, for a look waits until the device is through."""
_TYPES = {
    "epoch": torch.int32,
    "step": torch.int64,
    "loss": torch.float64,
    "rate": torch.float64,
    "seconds": torch.float64,
}


@dataclass
class Curve:
    """The steps of a run so far, as columns."""

    run: str
    total: int
    """Steps there will be."""
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _TYPES})
    plot: Callable[[str, float, int], None] | None = None
    """Told every value: name, value, step."""
    _waiting: list[Tensor] = field(default_factory=list)
    _first: int = 0
    _before: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _pairs: int = 0
    _looked: float = 0.0
    _progress: Progress | None = None

    def __len__(self) -> int:
        return len(self.columns["step"])

    def add(self, epoch: int, loss: Tensor, rate: float, pairs: int) -> None:
        """Note a step, whose loss may still be on its way. Raises as `look`, a little later."""
        now = time.monotonic()
        values = {"epoch": epoch, "step": len(self) + 1, "rate": rate}
        for name, value in (values | {"seconds": self._before + now - self._began}).items():
            self.columns[name].append(value)
        self._waiting.append(loss.detach())
        self._pairs += pairs
        if now - self._looked >= _LOOK or len(self) == self.total:
            self.look()

    def look(self) -> None:
        """Fetch the losses from the device. Raises UserError when one is not finite."""
        if not self._waiting:
            return
        known = len(self.columns["loss"])
        self.columns["loss"] += torch.stack(self._waiting).tolist()
        self._waiting.clear()
        for epoch, step, loss, rate in zip(
            *(self.columns[name][known:] for name in ("epoch", "step", "loss", "rate")), strict=True
        ):
            if not math.isfinite(loss):
                raise UserError(f"the loss became {loss} at step {step}, in epoch {epoch}")
            if self.plot:
                self.plot("loss", loss, step)
                self.plot("rate", rate, step)
        self._looked = time.monotonic()
        self._say()

    def _say(self) -> None:
        shown = self._progress = self._progress or Progress(
            f"steps of {self.run}", self.total, before=self._first, started=self._began
        )
        seconds = max(self._looked - self._began, 1e-9)
        epoch, loss = self.columns["epoch"][-1], self.columns["loss"][-1]
        note = f"epoch {epoch}, loss {loss:.5f}, {self._pairs / seconds:.0f} pairs/s"
        shown.add(len(self) - self._first - shown.counts.total(), note=note)

    def state(self) -> dict[str, Tensor]:
        """The columns as tensors, and `total`."""
        self.look()
        state = {n: torch.tensor(self.columns[n], dtype=kind) for n, kind in _TYPES.items()}
        return state | {"total": torch.tensor(self.total)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on behind what `state` gave in an earlier run."""
        self.columns = {name: state[name].tolist() for name in _TYPES}
        self._first = len(self)
        self._before = self.columns["seconds"][-1]

    def table(self) -> pa.Table:
        """The table `<run>.curve.parquet`."""
        return pa.table({"run": [self.run] * len(self), **self.columns}, schema=tables.CURVE)


@contextmanager
def plotted(curve: Curve, tensorboard: Path | None) -> Iterator[None]:
    """Plot a curve in TensorBoard, if asked for, while the block runs.

    Raises UserError when TensorBoard is asked for and not installed.
    """
    board = _board(tensorboard / curve.run, len(curve) + 1) if tensorboard else None
    curve.plot = board.add_scalar if board else None
    try:
        yield
    finally:
        if board:
            board.close()


def _board(folder: Path, step: int) -> Any:
    """A TensorBoard writer; what an interrupted run wrote from `step` on is dropped."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("TensorBoard is not installed: pip install tensorboard") from None
    return SummaryWriter(str(folder), purge_step=step)
