"""A network made ready to run: device, number format, folded batch norms, checked against fp32."""

import logging
import time
from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from howto100m.features.fused import fuse
from howto100m.features.networks import Extractor
from howto100m.features.planes import to_rgb
from howto100m.features.sampling import Planes, Sampling
from howto100m.features.tuning import Change, Run, changes, faster
from howto100m.kinds import UserError

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LEAST_COSINE = {torch.float32: 0.9999, torch.bfloat16: 0.999, torch.float16: 0.999}
"""Between a vector and the same network's in plain fp32 on the CPU; below, a kernel is at fault."""
ROOMS = 3
"""Batches' memories that a network keeps to use again."""
Vectors = npt.NDArray[np.float32]


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the device computes in it, else float32. Raises UserError."""
    if name != "auto":
        if name not in DTYPES:
            raise UserError(f"unknown dtype {name}: give auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    fast = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else cpu_has_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 (AVX-512 BF16, AMX), as Linux tells."""
    if not cpuinfo.exists():
        return False
    flags = next((x for x in cpuinfo.read_text().splitlines() if x.startswith("flags")), "")
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def cpu_has_onednn() -> bool:
    """Whether this PyTorch brings the library of fused convolutions."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class Work:
    """A batch that is on its way through a network; on a GPU the caller need not wait for it."""

    def __init__(
        self,
        runner: "Runner",
        vectors: Tensor,
        seconds: float = 0.0,
        marks: Sequence[torch.cuda.Event] = (),
        rows: Tensor | None = None,
    ):
        self.runner, self.vectors, self.marks, self.seconds = runner, vectors, marks, seconds
        self.rows = rows
        """What lies on the GPU; another stream may not get its memory before the work is done."""

    def result(self) -> Vectors:
        """Wait for the vectors, float32 [n, 2048]; then the `seconds` that they took are known."""
        if self.marks:
            begun, copied, started, done = self.marks
            done.synchronize()
            self.rows = None
            self.runner.copying += begun.elapsed_time(copied) / 1000
            self.seconds = started.elapsed_time(done) / 1000
        self.runner.seconds += self.seconds
        # Of a GPU they lie in pinned memory, too dear to hold until the video is written.
        vectors: Vectors = self.vectors.numpy()
        return vectors.copy() if self.marks else vectors


class Runner:
    """A network on its device; counts the rows it has seen, and the seconds that they took.

    `copying` is the time it took to bring rows to a GPU, `seconds` that of the network alone,
    `changes` what was measured to make it faster there.
    """

    def __init__(
        self,
        network: Extractor,
        title: str,
        sampling: Sampling,
        device: torch.device,
        dtype: torch.dtype,
        batch_size: int = 32,
        tune: str = "none",
    ):
        """Make the network ready, compare a batch with plain fp32 on the CPU, and tune it.

        On a GPU the batch is a full one, of the very kernels that will run. Raises UserError where
        a vector's cosine to the plain one is below LEAST_COSINE, or the plain one is not finite.
        """
        self.title, self.sampling, self.device, self.dtype = title, sampling, device, dtype
        self.batch_size = batch_size
        self.rows, self.seconds, self.copying = 0, 0.0, 0.0
        self.rooms: deque[Tensor] = deque(maxlen=ROOMS)
        self.gpu = device.type == "cuda"
        self.copies = torch.cuda.Stream(device) if self.gpu else None  # type: ignore[no-untyped-call]
        if self.gpu and dtype is torch.float32:
            torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        prepared = ready(network, device, dtype)
        self._tune(network.eval(), prepared, changes(tune, device, dtype))

    def room(self, shape: Sequence[int]) -> Tensor:
        """Where a batch of rows can be put together, uint8 [batch_size, *shape]."""
        whole = (self.batch_size, *shape)
        for position, room in enumerate(self.rooms):
            if room.shape == whole:
                del self.rooms[position]
                return room
        return torch.empty(whole, dtype=torch.uint8, pin_memory=self.gpu)

    def give_back(self, room: Tensor) -> None:
        """Keep a batch's memory for the next of its shape: fresh pages cost more than the copy."""
        self.rooms.append(room)

    def begin(self, room: Tensor, number: int, planes: Planes | None = None) -> Work:
        """Send so many rows through the network; the room may not be changed before the result.

        A GPU gets the whole room, whatever is in the rest of it: kernels are chosen, checked and
        recorded for batches that are full.
        """
        self.rows += number
        if not self.copies:
            started = time.monotonic()
            vectors = self._run(room[:number], planes)
            return Work(self, vectors, time.monotonic() - started)
        # The last mark is waited for: blocking leaves the core to a decoder meanwhile.
        marks = [torch.cuda.Event(enable_timing=True, blocking=True) for _ in range(4)]  # type: ignore[no-untyped-call]
        stream = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.copies):
            marks[0].record()
            there = room.to(self.device, non_blocking=True)
            marks[1].record()
        stream.wait_stream(self.copies)
        marks[2].record(stream)
        vectors = self._run(there, planes)[:number].to("cpu", non_blocking=True)
        marks[3].record(stream)
        return Work(self, vectors, marks=marks, rows=there)

    def __str__(self) -> str:
        """What it did, for the log."""
        rate = self.rows / max(self.seconds, 1e-9)
        return f"{self.title} {self.seconds:.1f} s ({self.rows} rows, {rate:.1f}/s)"

    @torch.inference_mode()
    def _run(self, rows: Tensor, planes: Planes | None) -> Tensor:
        pixels = rows if planes is None else to_rgb(rows, planes, self.sampling)
        return self.network(pixels.float() if self.gpu else pixels)

    @torch.no_grad()
    def _tune(self, network: Extractor, prepared: Extractor, tries: list[Change]) -> None:
        trial = _trial_rows(self.sampling)
        plain = network(trial).double()
        if not torch.isfinite(plain).all():
            raise UserError(
                f"{self.title} gives NaN or infinity on a trial picture: its weights are damaged"
            )
        if self.gpu:
            trial = trial.repeat(-(-self.batch_size // 2), *[1] * (trial.ndim - 1))
            trial = trial[: self.batch_size]
        with torch.inference_mode():  # as all rows are
            trial = trial.to(self.device).float() if self.gpu else trial
            expected = plain.repeat(-(-len(trial) // len(plain)), 1)[: len(trial)].flip(0)

        @torch.inference_mode()
        def fault(run: Run) -> str:
            fast = run(trial.flip(0)).cpu().double()
            near = float(nn.functional.cosine_similarity(expected, fast, dim=-1).min())
            where = self.title, self.dtype, self.device
            log.info("%s in %s on %s: cosine %.6f to plain fp32", *where, near)
            least = LEAST_COSINE[self.dtype]
            return "" if near >= least else f"cosine {near:.4f} to plain fp32, not {least}"

        if off := fault(prepared):
            raise UserError(
                f"{self.title} in {self.dtype} on {self.device} is off: {off}; set features.dtype"
                " (--dtype) to float32, or features.device to cpu"
            )
        self.network, self.changes = faster(prepared, tries, trial, fault, torch.cuda.synchronize)
        if self.changes:
            log.info("%s goes with %s", self.title, ", ".join(self.changes))


def ready(network: Extractor, device: torch.device, dtype: torch.dtype) -> Extractor:
    """A copy in eval mode with folded batch norms, convolutions in `dtype`, channels last.

    Preprocessing and pooling stay in float32. On a CPU, blocks are fused.
    """
    copy = deepcopy(network).eval()
    _fold(copy.net)
    for layer in copy.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(dtype).to(memory_format=torch.channels_last)
        elif isinstance(layer, nn.Conv3d):
            layer.to(dtype).to(memory_format=torch.channels_last_3d)
    if device.type == "cpu" and dtype is not torch.float16 and cpu_has_onednn():
        fuse(copy)
    return copy.to(device)


def _fold(module: nn.Module) -> None:
    """Put every batch norm into the convolution that stands before it."""
    children = list(module.named_children())
    for (before, conv), (name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d | nn.Conv3d) and isinstance(
            norm, nn.BatchNorm2d | nn.BatchNorm3d
        ):
            setattr(module, before, fuse_conv_bn_eval(conv, norm))
            setattr(module, name, nn.Identity())
    for _, child in children:
        _fold(child)


def _trial_rows(sampling: Sampling, patch: int = 16) -> Tensor:
    """Two rows of coloured squares, uint8 [2, (group,) h, w, 3]; frames are 4:3."""
    size, group = sampling.size, sampling.group
    width = size if sampling.crop else 4 * size // 3
    shape = (2, *([group] if group > 1 else []), -(-size // patch), -(-width // patch), 3)
    squares = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    full = squares.repeat(patch, axis=-3).repeat(patch, axis=-2)
    return torch.from_numpy(np.ascontiguousarray(full[..., :size, :width, :]))
