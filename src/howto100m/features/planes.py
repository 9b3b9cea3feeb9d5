"""Planes as decoded become RGB of a network's size on the device that computes."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from howto100m.features import swscale
from howto100m.features.sampling import Planes, Sampling, window


def to_rgb(rows: Tensor, planes: Planes, sampling: Sampling) -> Tensor:
    """uint8 [B, (group,) bytes] to float32 RGB [B, (group,) h, w, 3], 0 to 255, on one device.

    The numbers are libswscale's for a frame of these planes, bit for bit.
    """
    *lead, size = rows.shape
    flat = rows.reshape(-1, size).float()
    _, _, width, height = planes.window
    luma, chroma = width * height, width * height // 4
    parts = (
        part.reshape(len(part), height // step, width // step)
        for part, step in zip(torch.split(flat, [luma, chroma, chroma], 1), (1, 2, 2), strict=True)
    )
    y, u, v = parts
    colours = swscale.rgb(y, u, v, _recipe(planes, sampling, rows.device))
    rgb = torch.stack([colour.float() for colour in colours], -1)
    return rgb.reshape(*lead, *rgb.shape[1:])


def exact_on(device: torch.device, sampling: Sampling) -> bool:
    """Whether a device computes as a CPU does, by noise of 640 x 360."""
    planes = Planes((640, 360), window(640, 360, sampling), "bt601", False)
    shape = (1, *([1] if sampling.group > 1 else []), planes.bytes)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    here, there = (
        to_rgb(torch.from_numpy(noise).to(place), planes, sampling).cpu()
        for place in (torch.device("cpu"), device)
    )
    return torch.equal(here, there)


@lru_cache(maxsize=64)
def _recipe(planes: Planes, sampling: Sampling, device: torch.device) -> swscale.Recipe:
    """With its weights on the device."""
    recipe = swscale.recipe(planes, sampling)
    return recipe.converted(lambda weights: torch.from_numpy(weights.copy()).to(device))
