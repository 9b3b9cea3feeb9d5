"""A network made ready to run: device, number format, folded batch norms, checked against fp32."""

import logging
import time
from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from howto100m.features.decode import Pixels
from howto100m.features.networks import Extractor
from howto100m.kinds import UserError

log = logging.getLogger(__name__)

LEAST_COSINE = 0.999
"""Between a vector and the same network's in plain fp32 on the CPU; below, a kernel is at fault."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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


class InexactError(UserError):
    """A network's vectors in a faster number format are not those of plain fp32."""


class Runner:
    """A network on its device; counts the rows it has seen and the seconds that they took."""

    def __init__(
        self,
        network: Extractor,
        title: str,
        row: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ):
        """Make the network ready, and compare a few rows of shape `row` with plain fp32.

        Raises InexactError where a vector's cosine to the plain one is below LEAST_COSINE.
        """
        self.title, self.device = title, device
        self.rows, self.seconds = 0, 0.0
        self.network = ready(network, device, dtype)
        trial = _trial_rows(row)
        with torch.inference_mode():
            plain, fast = network.eval()(trial), self.network(trial.to(device)).cpu()
        cosine = float(nn.functional.cosine_similarity(plain.double(), fast.double()).min())
        if torch.isfinite(plain).all() and not cosine >= LEAST_COSINE:
            raise InexactError(
                f"{title} in {dtype} on {device} is off: cosine {cosine:.4f} to plain fp32, not"
                f" {LEAST_COSINE}; set dtype to float32 or the device to cpu"
            )
        log.info("%s in %s on %s: cosine %.6f to plain fp32", title, dtype, device, cosine)

    def __call__(self, rows: Sequence[Pixels]) -> npt.NDArray[np.float16]:
        """Vectors [n, 2048] as little-endian float16; what does not fit is infinite."""
        started = time.monotonic()
        batch = torch.from_numpy(np.stack(rows)).to(self.device)
        with torch.inference_mode():
            vectors = self.network(batch).cpu().numpy()
        self.rows += len(rows)
        self.seconds += time.monotonic() - started
        with np.errstate(over="ignore"):
            return vectors.astype("<f2")  # type: ignore[no-any-return]

    def __str__(self) -> str:
        """What it did, for the log."""
        rate = self.rows / max(self.seconds, 1e-9)
        return f"{self.title} {self.seconds:.1f} s ({self.rows} rows, {rate:.1f}/s)"


def ready(network: Extractor, device: torch.device, dtype: torch.dtype) -> Extractor:
    """A copy in eval mode with folded batch norms, convolutions in `dtype`, channels last.

    Preprocessing and pooling stay in float32.
    """
    copy = deepcopy(network).eval()
    _fold(copy.net)
    for layer in copy.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(dtype).to(memory_format=torch.channels_last)
        elif isinstance(layer, nn.Conv3d):
            layer.to(dtype).to(memory_format=torch.channels_last_3d)
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


def _trial_rows(row: Sequence[int], patch: int = 16) -> torch.Tensor:
    """Two rows of coloured squares, uint8 [2, *row]."""
    *time_, height, width, channels = row
    shape = (2, *time_, -(-height // patch), -(-width // patch), channels)
    squares = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    full = squares.repeat(patch, axis=-3).repeat(patch, axis=-2)
    return torch.from_numpy(np.ascontiguousarray(full[..., :height, :width, :]))
