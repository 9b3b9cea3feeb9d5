"""Mode fast: planes as decoded become nearly the pictures of mode exact."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from howto100m.features.decode import rows
from howto100m.features.planes import bicubic, to_rgb
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D, Sampling, window
from test_features_decode import encode, needs_ffmpeg, noise, numbered, remade

BOTH = (FRAMES_2D, CLIPS_3D)


def differences(path: Path, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Levels between the modes for every pixel, and the pixels of mode exact."""
    exact = [row.pixels for row in rows(path, [sampling])]
    fast = list(rows(path, [sampling], fast=True))
    assert len(exact) == len(fast)
    ours = [
        to_rgb(torch.from_numpy(row.pixels)[None], row.planes, sampling)[0].numpy()
        for row in fast
        if row.planes
    ]
    assert ours[0].shape == exact[0].shape
    return np.abs(np.stack(ours) - np.stack(exact)), np.stack(exact)


@pytest.mark.parametrize("sampling", BOTH)
@pytest.mark.parametrize("size", [(320, 240), (640, 360), (182, 322), (96, 64)])
def test_frames_are_those_of_mode_exact_but_for_rounding(
    tmp_path: Path, sampling: Sampling, size: tuple[int, int]
) -> None:
    path = encode(tmp_path / "v.mp4", noise(18, *size))
    off, _ = differences(path, sampling)
    assert off.mean() < 1.6
    assert np.quantile(off, 0.999) < 6


@needs_ffmpeg
@pytest.mark.parametrize(
    "look",
    [
        ["-colorspace", "bt709"],
        ["-colorspace", "bt2020nc"],
        ["-color_range", "pc"],
        ["-pix_fmt", "yuvj420p"],
        ["-pix_fmt", "yuv420p10le"],
    ],
)
def test_colours(tmp_path: Path, look: list[str]) -> None:
    path = remade(encode(tmp_path / "v.mkv", noise(18, 96, 64)), *look)
    assert differences(path, FRAMES_2D)[0].mean() < 2.5


@needs_ffmpeg
def test_odd_sizes_turned_pictures_and_large_ones(tmp_path: Path) -> None:
    """They go through FFmpeg's scaler first, which blurs noise: shapes and light must agree."""
    smooth = [np.broadcast_to(np.arange(96, dtype=np.uint8)[:, None] * 2, (64, 96, 3))] * 18
    smooth = [np.ascontiguousarray(np.broadcast_to(p[:64, :, :1], (64, 96, 3))) for p in smooth]
    path = encode(tmp_path / "v.mp4", smooth)
    turned = remade(path, "-c", "copy", "-metadata:s:v", "rotate=90")
    assert differences(turned, CLIPS_3D)[0].mean() < 3
    odd = remade(
        encode(tmp_path / "o.mkv", smooth), "-vf", "crop=95:63:0:0:exact=1", "-c:v", "libvpx"
    )
    assert differences(odd, CLIPS_3D)[0].mean() < 3
    large = remade(encode(tmp_path / "l.mkv", smooth), "-vf", "scale=1280:720")
    assert max(row.pixels.nbytes for row in rows(large, [FRAMES_2D], fast=True)) == 640 * 360 * 1.5
    assert differences(large, CLIPS_3D)[0].mean() < 3


def test_padding_is_black(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", numbered(12, 96, 64))
    (row,) = rows(path, [CLIPS_3D], fast=True)
    assert row.planes
    rgb = to_rgb(torch.from_numpy(row.pixels)[None], row.planes, CLIPS_3D)[0].numpy()
    assert rgb.shape == (16, 112, 112, 3)
    assert rgb[:11].max() > 250
    assert rgb[12:].max() == 0


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (1280, 720), (113, 112)])
def test_the_window_holds_all_that_the_crop_is_made_from(size: tuple[int, int]) -> None:
    left, top, width, height = window(*size, CLIPS_3D)
    assert all(value % 2 == 0 for value in (left, top, width, height))
    assert left + width <= size[0]
    assert top + height <= size[1]
    short = min(size)
    scaled = [int(Fraction(side * 112, short)) for side in size]
    for start, span, source, target in zip((left, top), (width, height), size, scaled, strict=True):
        first = int((target - 112) / 2.0)
        used = np.flatnonzero(bicubic(source, target)[first : first + 112].any(0))
        assert start <= used[0]
        assert used[-1] < start + span + 1


def test_bicubic_weights_sum_to_one_and_keep_what_is_flat() -> None:
    for source, target in ((640, 398), (320, 160), (96, 112), (7, 7)):
        weights = bicubic(source, target)
        assert weights.shape == (target, source)
        assert weights.sum(1) == pytest.approx(np.ones(target), abs=1e-5)
    assert np.allclose(bicubic(7, 7), np.eye(7), atol=1e-6)
