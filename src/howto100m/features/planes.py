"""Mode `fast`: planes as decoded become RGB of a network's size on the device that computes.

The arithmetic is swscale's for bicubic scaling to rgb24, in floating point and without its rounding
between the steps; frames differ from those of mode `exact` by about a level.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from howto100m.features.sampling import Planes, Sampling, crop_offset, scaled_size

SHARPNESS = 0.6
"""swscale's bicubic: the family of Mitchell and Netravali with B = 0 and C = this."""

LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
"""Weights of red and blue in luma, for each matrix."""


def to_rgb(rows: Tensor, planes: Planes, sampling: Sampling) -> Tensor:
    """uint8 [B, (group,) bytes] to float32 RGB [B, (group,) h, w, 3], 0 to 255, on one device."""
    *lead, size = rows.shape
    flat = rows.reshape(-1, size).float()
    _, _, width, height = planes.window
    luma, chroma = width * height, width * height // 4
    sizes = [luma, chroma, chroma]
    y, u, v = (
        _scale(part.reshape(len(part), height // step, width // step), planes, sampling, step)
        for part, step in zip(torch.split(flat, sizes, 1), (1, 2, 2), strict=True)
    )
    rgb = _colours(y, u - 128, v - 128, planes)
    return rgb.reshape(*lead, *rgb.shape[1:])


def _colours(y: Tensor, u: Tensor, v: Tensor, planes: Planes) -> Tensor:
    red, blue = LUMA[planes.matrix]
    green = 1 - red - blue
    if not planes.full:
        y = (y - 16) * (255 / 219)
        u, v = u * (255 / 224), v * (255 / 224)
    r = y + 2 * (1 - red) * v
    b = y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / green
    return torch.stack([r, g, b], -1).clamp_(0, 255)


def _scale(part: Tensor, planes: Planes, sampling: Sampling, step: int) -> Tensor:
    """A plane's window [N, h, w], of half the size where `step` is 2, to the crop [N, h', w']."""
    down, across = _filters(planes, sampling, step, part.device)
    return down @ part @ across.T


@lru_cache(maxsize=64)
def _filters(
    planes: Planes, sampling: Sampling, step: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The weights of a plane's lines and columns in the crop's, [h', h] and [w', w].

    As swscale's for rgb24: colour is scaled to every line, but to every second column where
    their number is even.
    """
    width, height = scaled_size(*planes.size, sampling.size)
    left, top, across, down = (value // step for value in planes.window)
    pair = step if width % 2 == 0 else 1
    columns = bicubic(planes.size[0] // step, width // pair).repeat(pair, 0)
    columns = columns[:, left : left + across]
    lines = bicubic(planes.size[1] // step, height)[:, top : top + down]
    if sampling.crop:
        x, y = crop_offset((width, height), sampling.size)
        columns, lines = columns[x : x + sampling.size], lines[y : y + sampling.size]
    lines, columns = lines.copy(), columns.copy()
    return torch.from_numpy(lines).to(device), torch.from_numpy(columns).to(device)


def bicubic(source: int, target: int) -> npt.NDArray[np.float32]:
    """Weights [target, source] that scale a line; beyond its ends the last pixel goes on."""
    step = source / target
    spread = max(step, 1.0)
    reach = int(2 * spread) + 2
    centres = (np.arange(target) + 0.5) * step - 0.5
    taps = np.floor(centres).astype(int)[:, None] + np.arange(-reach, reach + 1)
    x = np.abs(taps - centres[:, None]) / spread
    c = SHARPNESS
    near = (12 - 6 * c) * x**3 + (6 * c - 18) * x**2 + 6
    far = -6 * c * x**3 + 30 * c * x**2 - 48 * c * x + 24 * c
    values = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    weights = np.zeros((target, source))
    np.add.at(weights, (np.arange(target)[:, None], taps.clip(0, source - 1)), values)
    weights /= weights.sum(1, keepdims=True)
    return weights.astype(np.float32)
