"""Weights files: brought from a path or URL, or made at random for the sample world."""

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import nn

from howto100m.features import resnet152, resnext101
from howto100m.features.checkpoint import read_state
from howto100m.features.decode import rows
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D, Pixels, Sampling
from howto100m.fetch import fetch_file
from howto100m.kinds import ItemError, UserError
from howto100m.shards import whole_file

log = logging.getLogger(__name__)

VIDEOS, ROWS = 16, 3
"""Calibration looks at so many videos, and so many rows of each."""
BATCH = 16


def fetch_weights(source: str, output: Path) -> None:
    """Copy or download a weights file, and see that it opens as tensors.

    Raises UserError when it cannot be had or is no weights file; then nothing is left of it.
    """
    fetch_file(source, output)
    try:
        read_state(output, source)
    except UserError:
        output.unlink()
        raise


def make_weights(network: str, videos: Sequence[Path], seed: int, output: Path) -> None:
    """Write random weights for `resnet152` or `resnext101`, in the layout of the official file.

    Random layers alone map every picture to nearly the same vector. So the last batch norm of
    every residual block starts at zero, and batch-norm statistics are averaged over rows of some
    of the videos: colours and textures then reach the output. Raises UserError when no video can
    be decoded.
    """
    known = {"resnet152": (resnet152, FRAMES_2D), "resnext101": (resnext101, CLIPS_3D)}
    if network not in known:
        raise UserError(f"unknown network {network}: give one of {', '.join(known)}")
    module, sampling = known[network]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        extractor = module.build()
    chosen = videos[:: max(1, len(videos) // VIDEOS)][:VIDEOS]
    pictures = [row for path in chosen for row in _some_rows(path, sampling)]
    if not pictures:
        raise UserError(f"none of {len(chosen)} videos can be decoded to calibrate {network}")
    norms = [m for m in extractor.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    for norm in norms:
        norm.momentum = None
    for block in extractor.modules():
        if isinstance(last := getattr(block, "bn3", None), nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.zeros_(last.weight)
    extractor.train()
    with torch.no_grad():
        for batch in _batches(pictures, np.random.default_rng(seed)):
            extractor(batch)
    with whole_file(output) as part:
        torch.save(extractor.net.state_dict(), part)
    log.warning(
        "%s: RANDOM weights for %s (seed %d, calibrated on %d rows of %d videos): good for the"
        " sample world alone",
        output,
        module.TITLE,
        seed,
        len(pictures),
        len(chosen),
    )


def _some_rows(path: Path, sampling: Sampling) -> list[Pixels]:
    try:
        found = [row.pixels for row in rows(path, [sampling])]
    except ItemError as error:
        log.warning("%s: not used to calibrate: %s", path, error)
        return []
    return [found[(2 * i + 1) * len(found) // (2 * ROWS)] for i in range(ROWS)]


def _batches(pictures: list[Pixels], order: np.random.Generator) -> Iterator[torch.Tensor]:
    """Batches of one shape each, with the videos mixed."""
    mixed = [pictures[i] for i in order.permutation(len(pictures))]
    for _, same in groupby(sorted(mixed, key=np.shape), key=np.shape):
        alike = list(same)
        for first in range(0, len(alike), BATCH):
            yield torch.from_numpy(np.stack(alike[first : first + BATCH]))
