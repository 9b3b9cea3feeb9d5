"""Planes become the pictures that FFmpeg's scaler makes of them, to the last bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from howto100m.features import filters
from howto100m.features.decode import Row, rows
from howto100m.features.filters import LookChangedError
from howto100m.features.planes import exact_on, to_rgb
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D, Form, Planes, Sampling, window
from howto100m.features.swscale import ALIGNED, recipe, weights
from test_features_decode import encode, needs_ffmpeg, noise, numbered, remade, turned

BOTH = (FRAMES_2D, CLIPS_3D)
BT601, BT709, BT2020, FCC, SMPTE240M, UNKNOWN = 5, 1, 9, 4, 7, 2
LIMITED, FULL = 1, 2


def made(row: Row, sampling: Sampling) -> np.ndarray[Any, Any]:
    """A row's pixels; of planes, what becomes of them."""
    if row.planes is None:
        return row.pixels
    found = to_rgb(torch.from_numpy(row.pixels)[None], row.planes, sampling)[0].numpy()
    assert found.dtype == np.float32
    return found


def differences(path: Path, sampling: Sampling, form: Form) -> np.ndarray[Any, Any]:
    """Levels for every pixel between RGB and another form."""
    rgb, other = list(rows(path, [sampling])), list(rows(path, [sampling], form=form))
    assert len(rgb) == len(other)
    pairs = [(made(a, sampling), made(b, sampling)) for a, b in zip(rgb, other, strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return np.stack([np.abs(a - b.astype(float)) for a, b in pairs])


def forms(path: Path, sampling: Sampling) -> set[str]:
    """What a video's rows are made of in form EXACT."""
    return {"planes" if r.planes else "rgb" for r in rows(path, [sampling], form=Form.EXACT)}


@pytest.mark.parametrize("sampling", BOTH)
@pytest.mark.parametrize(
    "size", [(320, 240), (640, 360), (426, 240), (182, 322), (96, 64), (64, 64), (16, 16)]
)
def test_planes_become_the_very_pixels(
    tmp_path: Path, sampling: Sampling, size: tuple[int, int]
) -> None:
    path = encode(tmp_path / "v.mp4", noise(18, *size))
    for form in (Form.EXACT, Form.FAST):
        assert differences(path, sampling, form).max() == 0
    assert forms(path, sampling) == {"planes"}


@pytest.mark.parametrize("sampling", BOTH)
@pytest.mark.parametrize("size", [(640, 360), (480, 360), (854, 480), (360, 640), (426, 240)])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("space", [BT601, BT709, BT2020, UNKNOWN])
def test_noise_of_every_colour_comes_out_the_same(
    sampling: Sampling, size: tuple[int, int], colour_range: int, space: int
) -> None:
    """All 256 levels in every plane, so colours that RGB does not have, too."""
    assert filters._noise_comes_out_the_same(sampling, "yuv420p", size, space, colour_range)


def test_colours_that_are_not_known_are_left_to_ffmpeg() -> None:
    for space in (FCC, SMPTE240M):
        assert not filters._noise_comes_out_the_same(
            CLIPS_3D, "yuv420p", (640, 360), space, LIMITED
        )


def test_a_scaler_that_differs_is_left_to_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another build of FFmpeg might: one weight is off by one."""

    def off(planes: Planes, sampling: Sampling) -> Any:
        def change(array: Any) -> Any:
            changed = array.copy()
            changed[3, changed[3].argmax()] += 8
            return changed

        return recipe(planes, sampling).converted(change)

    path = encode(tmp_path / "v.mp4", noise(18, 98, 66))
    monkeypatch.setattr(filters, "recipe", off)
    assert forms(path, FRAMES_2D) == {"rgb"}
    assert differences(path, FRAMES_2D, Form.EXACT).max() == 0


@needs_ffmpeg
@pytest.mark.parametrize(
    ("look", "given"),
    [
        (["-colorspace", "bt709"], "planes"),
        (["-colorspace", "bt2020nc"], "planes"),
        (["-c", "copy", "-bsf:v", "h264_metadata=video_full_range_flag=1"], "planes"),
        (["-pix_fmt", "yuvj420p"], "planes"),
        (["-pix_fmt", "yuv420p10le"], "rgb"),
        (["-pix_fmt", "yuv444p"], "rgb"),
        (["-vf", "scale=1280:720"], "rgb"),
        (["-vf", "crop=95:63:0:0:exact=1", "-c:v", "libvpx"], "rgb"),
    ],
)
def test_looks(tmp_path: Path, look: list[str], given: str) -> None:
    """Mode fast has planes of them all; those that it must make first differ a little."""
    smooth = [np.arange(96, dtype=np.uint8)[None, :, None] * 2] * 18
    pictures = [np.broadcast_to(p, (64, 96, 3)).copy() for p in smooth]
    path = remade(encode(tmp_path / "v.mkv", pictures), *look)
    for sampling in BOTH:
        assert forms(path, sampling) == {given}
        assert differences(path, sampling, Form.EXACT).max() == 0
    off = differences(path, CLIPS_3D, Form.FAST)
    assert off.max() == 0 if given == "planes" else off.mean() < 3


@needs_ffmpeg
def test_turned_pictures_and_large_ones(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", noise(18, 96, 64))
    large = remade(path, "-vf", "scale=1280:720")
    assert forms(turned(path, 90), CLIPS_3D) == {"rgb"}
    assert differences(path, CLIPS_3D, Form.EXACT).max() == 0
    given = rows(large, [FRAMES_2D], form=Form.FAST)
    assert max(row.pixels.nbytes for row in given) == 640 * 360 * 1.5


def test_planes_that_change_midway_are_refused_and_pixels_are_not(tmp_path: Path) -> None:
    path = changing(tmp_path)
    with pytest.raises(LookChangedError):
        list(rows(path, [CLIPS_3D], form=Form.EXACT))
    assert len(list(rows(path, [CLIPS_3D]))) == 3


def changing(folder: Path) -> Path:
    """A second of one size, and another of another."""
    first = encode(folder / "a.ts", noise(25, 96, 64))
    second = encode(folder / "b.ts", noise(25, 64, 96), start=25)
    path = folder / "changing.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def test_a_device_is_held_against_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert all(exact_on(cpu, sampling) for sampling in BOTH)
    real, calls = torch.Tensor.float, []

    def rounds(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(tensor)
        return real(tensor) + (len(calls) > 4)

    monkeypatch.setattr(torch.Tensor, "float", rounds)
    assert not exact_on(cpu, FRAMES_2D)


def test_padding_is_black(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", numbered(12, 96, 64))
    (row,) = rows(path, [CLIPS_3D], form=Form.FAST)
    assert row.planes
    rgb = to_rgb(torch.from_numpy(row.pixels)[None], row.planes, CLIPS_3D)[0].numpy()
    assert rgb.shape == (16, 112, 112, 3)
    assert rgb[:11].max() > 250
    assert rgb[12:].max() == 0


@pytest.mark.parametrize(
    "size", [(640, 360), (360, 640), (1280, 720), (426, 240), (854, 480), (114, 112)]
)
def test_the_window_holds_all_that_the_crop_is_made_from(size: tuple[int, int]) -> None:
    left, top, width, height = window(*size, CLIPS_3D)
    assert all(value % 2 == 0 for value in (left, top, width, height))
    assert left + width <= size[0]
    assert top + height <= size[1]
    taken = recipe(Planes(size, (left, top, width, height), "bt601", False), CLIPS_3D)
    sums = {"lines": 4096, "colour_lines": 4096, "columns": 16384, "colour_columns": 16384}
    for name, total in sums.items():
        assert set(getattr(taken, name).sum(1)) == {total}, name


@pytest.mark.parametrize("source", [2, 3, 5, 7, 64, 199, 640])
@pytest.mark.parametrize("target", [1, 7, 112, 398])
def test_weights_are_whole_and_sum_to_one(source: int, target: int) -> None:
    for bits, aligned in ((12, 1), (14, ALIGNED)):
        found = weights(source, target, bits, aligned)
        assert found.shape == (target, source)
        assert (found == found.round()).all()
        assert (found.sum(1) == 1 << bits).all()
    if source == target:
        assert (found == np.eye(source) * 16384).all()
