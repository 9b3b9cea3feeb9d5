"""Decoding: which frames are taken, their sizes and crops, padding, and files that fail."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from howto100m.features.decode import (
    CLIPS_3D,
    FRAMES_2D,
    Pixels,
    Sampling,
    probe,
    rows,
    scaled_size,
    still,
)
from howto100m.kinds import ItemError, Kind

FPS = 25


def encode(
    path: Path,
    pictures: Iterable[Pixels],
    fps: int | Fraction = FPS,
    start: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "qp": "4"}
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = start + number, 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered(count: int, width: int = 64, height: int = 48) -> Iterable[Pixels]:
    """Pictures that carry their number in 16 columns of black or white."""
    for number in range(count):
        bits = np.array([(number >> bit) & 1 for bit in range(16)], dtype=np.uint8) * 255
        columns = bits[np.arange(width) * 16 // width]
        yield np.broadcast_to(columns[None, :, None], (height, width, 3)).copy()


def number_of(picture: Pixels) -> int:
    height, width = picture.shape[:2]
    middle = ((np.arange(16) + 0.5) * width / 16).astype(int)
    return sum(int(v > 127) << bit for bit, v in enumerate(picture[height // 2, middle, 0]))


def taken(path: Path, *samplings: Sampling) -> list[list[Pixels]]:
    found: list[list[Pixels]] = [[] for _ in samplings]
    for position, row in rows(path, samplings):
        found[position].append(row)
    return found


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 360), (398, 224)),
        ((360, 640), (224, 398)),
        ((320, 240), (298, 224)),
        ((100, 100), (224, 224)),
        ((426, 240), (397, 224)),
    ],
)
def test_long_side_is_truncated(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled_size(*size, 224) == expected


@pytest.mark.parametrize(
    ("frames", "rows_2d", "frames_3d"), [(250, 10, 240), (30, 1, 29), (13, 1, 12)]
)
def test_counts(tmp_path: Path, frames: int, rows_2d: int, frames_3d: int) -> None:
    found, clips = taken(encode(tmp_path / "v.mp4", numbered(frames)), FRAMES_2D, CLIPS_3D)
    assert len(found) == rows_2d
    assert {row.shape for row in found} == {(224, 298, 3)}
    assert len(clips) == -(-frames_3d // 16)
    assert {clip.shape for clip in clips} == {(16, 112, 112, 3)}
    last = clips[-1][frames_3d - 16 * len(clips) :] if frames_3d % 16 else clips[-1][:0]
    assert not last.any()


def test_padding_is_zero_frames_after_the_last(tmp_path: Path) -> None:
    white = (np.full((48, 64, 3), 255, np.uint8) for _ in range(30))
    _, clips = taken(encode(tmp_path / "v.mp4", white), FRAMES_2D, CLIPS_3D)
    filled = np.concatenate(clips).reshape(32, -1)
    assert filled[:29].min() > 250
    assert filled[29:].max() == 0


def test_a_row_shows_the_middle_of_its_second(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", numbered(250))
    assert [number_of(p) for p in taken(path, FRAMES_2D)[0]] == list(range(12, 250, 25))


def test_frames_follow_time_stamps_that_start_late(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mkv", numbered(100), start=40)
    assert [number_of(p) for p in taken(path, FRAMES_2D)[0]] == [12, 37, 62, 87]


@pytest.mark.parametrize(
    ("size", "shape", "x", "y"),
    [((640, 360), (112, 199, 3), 43, 0), ((240, 426), (198, 112, 3), 0, 43)],
)
def test_crop_is_the_truncated_centre(
    tmp_path: Path, size: tuple[int, int], shape: tuple[int, int, int], x: int, y: int
) -> None:
    path = encode(tmp_path / "v.mp4", numbered(4, *size))
    cropped, full = taken(path, Sampling(25, 112, True, 1), Sampling(25, 112, False, 1))
    assert full[0].shape == shape
    assert cropped[0].shape == (112, 112, 3)
    assert np.array_equal(cropped[0], full[0][y : y + 112, x : x + 112])


def test_probe(tmp_path: Path) -> None:
    info = probe(encode(tmp_path / "v.mp4", numbered(50, 96, 64)))
    assert (info.width, info.height, info.codec) == (96, 64, "h264")
    assert info.duration == pytest.approx(2.0)
    assert info.rate == pytest.approx(25.0)


@pytest.mark.parametrize("second", [0.0, 1.0, 3.96])
def test_still_is_the_picture_on_show(tmp_path: Path, second: float) -> None:
    path = encode(tmp_path / "v.mp4", numbered(100))
    picture = still(path, second)
    assert picture.shape == (48, 64, 3)
    assert number_of(picture) == round(second * FPS)


def test_still_beyond_the_end_is_the_last_picture(tmp_path: Path) -> None:
    assert number_of(still(encode(tmp_path / "v.mp4", numbered(100)), 99.0)) == 99


def kind_of(work: Callable[[], object]) -> Kind:
    with pytest.raises(ItemError) as error:
        work()
    return error.value.kind


def test_files_that_cannot_be_decoded(tmp_path: Path) -> None:
    assert kind_of(lambda: probe(tmp_path / "none.mp4")) is Kind.NO_MEDIA
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(4000))
    assert kind_of(lambda: probe(tmp_path / "noise.mp4")) is Kind.CORRUPT
    (tmp_path / "empty.mp4").touch()
    assert kind_of(lambda: taken(tmp_path / "empty.mp4", FRAMES_2D)) is Kind.CORRUPT


def test_sound_alone_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = np.zeros((1, 800), np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    assert kind_of(lambda: probe(path)) is Kind.CORRUPT


def test_a_file_cut_off_midway_is_corrupt(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", numbered(250), options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 4])
    assert probe(path).duration == pytest.approx(10.0)
    assert kind_of(lambda: taken(path, FRAMES_2D)) is Kind.CORRUPT


@pytest.mark.parametrize("frames", [1, 10])
def test_a_video_without_a_row_is_corrupt(tmp_path: Path, frames: int) -> None:
    path = encode(tmp_path / "v.mp4", numbered(frames))
    assert len(taken(path, CLIPS_3D)[0]) == 1
    assert kind_of(lambda: taken(path, FRAMES_2D, CLIPS_3D)) is Kind.CORRUPT


@pytest.mark.parametrize("size", [(16384, 8192), (2048, 64)])
def test_absurd_sizes_are_too_large(tmp_path: Path, size: tuple[int, int]) -> None:
    """A QuickTime file announces its size in the header, whatever its one picture holds."""
    path = tmp_path / "v.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = *size, "gray"
        picture = np.zeros((size[1], size[0]), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    assert kind_of(lambda: probe(path)) is Kind.TOO_LARGE


def official(path: Path, sampling: Sampling) -> Pixels:
    """The frames of the official extractor's command."""
    answer = subprocess.run(
        ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-select_streams", "v", path],
        check=True,
        capture_output=True,
    )
    stream = json.loads(answer.stdout)["streams"][0]
    width, height = scaled_size(stream["width"], stream["height"], sampling.size)
    chain = f"[0]fps=fps={sampling.rate}[s0];[s0]scale={width}:{height}[s1]"
    if sampling.crop:
        x, y = int((width - sampling.size) / 2.0), int((height - sampling.size) / 2.0)
        width = height = sampling.size
        chain += f";[s1]crop={width}:{height}:{x}:{y}[s2]"
    output = f"[s{2 if sampling.crop else 1}]"
    command = ["ffmpeg", "-v", "error", "-i", path, "-filter_complex", chain, "-map", output]
    raw = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"], check=True, capture_output=True
    )
    return np.frombuffer(raw.stdout, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg program on the PATH")
@pytest.mark.parametrize(
    ("fps", "size"),
    [
        (24, (320, 240)),
        (25, (426, 240)),
        (Fraction(30000, 1001), (320, 240)),
        (30, (182, 322)),
        (60, (160, 120)),
    ],
)
def test_frames_are_those_of_the_ffmpeg_command(
    tmp_path: Path, fps: int | Fraction, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    width, height = size
    pictures = (
        rng.integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1)
        for _ in range(int(2.6 * fps))
    )
    path = encode(tmp_path / "v.mp4", pictures, fps)
    frames, clips = taken(path, FRAMES_2D, CLIPS_3D)
    wanted = official(path, FRAMES_2D), official(path, CLIPS_3D)
    assert np.array_equal(np.stack(frames), wanted[0])
    filled = np.concatenate(clips)
    assert np.array_equal(filled[: len(wanted[1])], wanted[1])
    assert len(filled) - len(wanted[1]) < 16
    assert not filled[len(wanted[1]) :].any()
