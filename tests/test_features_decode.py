"""Decoding: which frames are taken, their sizes and crops, padding, and files that fail."""

import json
import math
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from howto100m.features.decode import probe, rows, still
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D, Pixels, Sampling, scaled_size
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
    for row in rows(path, samplings):
        found[row.sampling].append(row.pixels)
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


def test_a_picture_of_ten_thousand_million_pixels_is_refused(tmp_path: Path) -> None:
    """A header is enough to say so; nothing of that size may be asked for."""
    path = tmp_path / "v.png"
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "gray"
        picture = np.zeros((16, 16), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert content[12:16] == b"IHDR"
    head = b"IHDR" + np.array([100_000, 100_000], ">u4").tobytes() + content[24:29]
    checksum = zlib.crc32(head).to_bytes(4, "big")
    path.write_bytes(content[:12] + head + checksum + content[33:])
    started = time.monotonic()
    assert kind_of(lambda: taken(path, FRAMES_2D)) in (Kind.CORRUPT, Kind.TOO_LARGE)
    assert time.monotonic() - started < 20


def official(path: Path, sampling: Sampling, *options: str) -> Pixels:
    """The frames of the official extractor's command, with options for its decoder."""
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
    command = ["ffmpeg", "-v", "error", *options, "-i", path, "-filter_complex", chain]
    command += ["-map", output]
    raw = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"], check=True, capture_output=True
    )
    return np.frombuffer(raw.stdout, np.uint8).reshape(-1, height, width, 3)


def assert_official(path: Path, *options: str) -> tuple[int, int]:
    """Both networks' frames are those of the official command; how many there are of each."""
    frames, clips = taken(path, FRAMES_2D, CLIPS_3D)
    wanted_2d, wanted_3d = (official(path, s, *options) for s in (FRAMES_2D, CLIPS_3D))
    if len(wanted_2d):
        assert len(frames) == len(wanted_2d)
        assert np.array_equal(np.stack(frames), wanted_2d)
    filled = np.concatenate(clips)
    assert -len(wanted_3d) % 16 == len(filled) - len(wanted_3d)
    assert np.array_equal(filled[: len(wanted_3d)], wanted_3d)
    assert not filled[len(wanted_3d) :].any()
    return len(wanted_2d), len(wanted_3d)


needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="no ffmpeg program on the PATH",
)


def noise(count: int, width: int = 160, height: int = 120, seed: int = 0) -> Iterable[Pixels]:
    """Random squares of two pixels: every kernel and every rounding shows."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        small = rng.integers(0, 256, (-(-height // 2), -(-width // 2), 3), dtype=np.uint8)
        yield np.ascontiguousarray(small.repeat(2, 0).repeat(2, 1)[:height, :width])


@needs_ffmpeg
@pytest.mark.parametrize(
    ("fps", "size"),
    [
        (24, (320, 240)),
        (25, (426, 240)),
        (Fraction(30000, 1001), (320, 240)),
        (30, (182, 322)),
        (60, (160, 120)),
        (Fraction(24000, 1001), (160, 120)),
        (Fraction(25, 3), (160, 120)),
        (1, (160, 120)),
    ],
)
def test_frames_are_those_of_the_ffmpeg_command(
    tmp_path: Path, fps: int | Fraction, size: tuple[int, int]
) -> None:
    assert_official(encode(tmp_path / "v.mp4", noise(max(3, int(2.6 * fps)), *size), fps))


@needs_ffmpeg
@pytest.mark.parametrize("frames", [2, 10, 23, 355])
@pytest.mark.parametrize("fps", [Fraction(981, 50), Fraction(30000, 1001)])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_last_frame_is_on_show_as_long_as_in_ffmpeg(
    tmp_path: Path, fps: int | Fraction, frames: int, ending: str
) -> None:
    """355 frames at 19.62 a second are 434.25 at 24: how the end is rounded decides."""
    assert_official(encode(tmp_path / f"v.{ending}", noise(frames, 32, 32), fps))


@needs_ffmpeg
@pytest.mark.parametrize(
    ("frames", "counts"), [(1, (0, 1)), (10, (0, 10)), (13, (1, 12)), (30, (1, 29))]
)
def test_short_videos(tmp_path: Path, frames: int, counts: tuple[int, int]) -> None:
    assert assert_official(encode(tmp_path / "v.mp4", noise(frames))) == counts


@pytest.mark.parametrize("frames", [1, 10])
def test_a_video_too_short_for_ffmpeg_has_a_row_all_the_same(tmp_path: Path, frames: int) -> None:
    """The official extractor has nothing for it, and says nothing."""
    found, clips = taken(encode(tmp_path / "v.mp4", numbered(frames)), FRAMES_2D, CLIPS_3D)
    assert (len(found), len(clips)) == (1, 1)
    assert number_of(found[0]) == frames - 1


@needs_ffmpeg
@pytest.mark.parametrize("size", [(97, 65), (65, 97), (161, 91), (33, 500), (398, 224)])
def test_odd_sizes_and_portraits(tmp_path: Path, size: tuple[int, int]) -> None:
    """Half a pixel of colour is missing on a side of VP8's odd frames."""
    width, height = size
    path = encode(tmp_path / "v.mkv", noise(30, width + 1 & ~1, height + 1 & ~1))
    assert_official(remade(path, "-vf", f"crop={width}:{height}:0:0:exact=1", "-c:v", "libvpx"))


@needs_ffmpeg
@pytest.mark.parametrize("start", [40, 1])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_a_first_time_stamp_that_is_not_0(tmp_path: Path, start: int, ending: str) -> None:
    assert_official(encode(tmp_path / f"v.{ending}", noise(60, 64, 48), start=start))


@needs_ffmpeg
@pytest.mark.parametrize("start", [13, 1])
def test_a_picture_that_starts_after_the_sound(tmp_path: Path, start: int) -> None:
    """ffmpeg shows the first frame from the start of the file on."""
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 800), np.int16), format="s16", layout="mono"
            )
            frame.rate, frame.pts = 8000, 800 * number
            container.mux(sound.encode(frame))
        for number, pixels in enumerate(noise(45, 64, 48)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = start + number, Fraction(1, FPS)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
    assert assert_official(path)[1] > 40


@needs_ffmpeg
@pytest.mark.parametrize("seed", range(4))
def test_variable_frame_rate(tmp_path: Path, seed: int) -> None:
    """Gaps of 1 ms to 2 s between frames."""
    rng = np.random.default_rng(seed)
    gaps = rng.choice([1, 7, 33, 40, 90, 400, 2000], 80, p=[0.2, 0.1, 0.3, 0.2, 0.1, 0.08, 0.02])
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time, pixels in zip(np.cumsum(gaps), noise(80, 64, 48), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = int(time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert_official(path)


def remade(path: Path, *options: str, before: Iterable[str] = ()) -> Path:
    """The file copied by the ffmpeg program with other words about it, or other pixels."""
    output = path.with_name(f"remade{path.suffix}")
    command = ["ffmpeg", "-v", "error", *before, "-i", path, *options, "-y", output]
    subprocess.run(command, check=True)
    return output


def turned(path: Path, degrees: int) -> Path:
    """An .mp4 made to say that players turn it clockwise.

    The matrix stands in the track's header; ffmpeg programs differ in the option that writes it.
    """
    data = bytearray(path.read_bytes())
    a, b = (round(65536 * of(math.radians(degrees))) for of in (math.cos, math.sin))
    struct.pack_into(">5i", data, data.index(b"tkhd") + 44, a, b, 0, -b, a)
    path.write_bytes(data)
    return path


@needs_ffmpeg
@pytest.mark.parametrize("degrees", [90, 180, 270, -90, 45])
def test_rotated(tmp_path: Path, degrees: int) -> None:
    """ffmpeg turns the picture and then forces it into the size of the stored one."""
    path = encode(tmp_path / "v.mp4", noise(30, 96, 64))
    upright = official(path, FRAMES_2D)
    assert_official(turned(path, degrees))
    assert not np.array_equal(official(path, FRAMES_2D), upright)


@needs_ffmpeg
@pytest.mark.parametrize("aspect", ["4:3", "2:1", "1:3"])
def test_pixels_that_are_not_square(tmp_path: Path, aspect: str) -> None:
    assert_official(remade(encode(tmp_path / "v.mp4", noise(30, 96, 64)), "-aspect", aspect))


@needs_ffmpeg
@pytest.mark.parametrize(
    "look",
    [
        ["-colorspace", "bt709"],
        ["-colorspace", "bt2020nc"],
        ["-color_range", "pc"],
        ["-pix_fmt", "yuvj420p"],
        ["-pix_fmt", "yuv422p"],
        ["-pix_fmt", "yuv420p10le"],
        ["-pix_fmt", "gray"],
        ["-c:v", "ffv1", "-pix_fmt", "bgra"],
        ["-c:v", "mpeg4", "-bf", "2"],
    ],
)
def test_colours(tmp_path: Path, look: list[str]) -> None:
    assert_official(remade(encode(tmp_path / "v.mkv", noise(30, 96, 64)), *look))


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["avi", "webm", "flv", "ts", "mov"])
def test_containers(tmp_path: Path, ending: str) -> None:
    coding = {"webm": ["-c:v", "libvpx"], "avi": ["-c:v", "mpeg4"]}.get(
        ending, ["-c:v", "libx264", "-bf", "2"]
    )
    path = encode(tmp_path / "v.mkv", noise(50, 96, 64))
    output = tmp_path / f"w.{ending}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", path, *coding, output], check=True)
    assert_official(output)


@needs_ffmpeg
def test_a_size_that_changes_midway(tmp_path: Path) -> None:
    parts = [
        encode(tmp_path / f"{width}.ts", noise(25, width, 64), start=25 * i)
        for i, width in enumerate((96, 64))
    ]
    path = tmp_path / "v.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, clips = taken(path, FRAMES_2D, CLIPS_3D)
    assert (len(frames), len(clips)) == (2, 3)
    assert {row.shape for row in frames} == {(224, 336, 3)}


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


@needs_ffmpeg
@pytest.mark.parametrize(("ending", "share"), [("mp4", 0.97), ("mkv", 0.97), ("mkv", 0.5)])
def test_a_file_that_breaks_off_gives_what_it_has(
    tmp_path: Path, ending: str, share: float
) -> None:
    options = {"movflags": "faststart"} if ending == "mp4" else {}
    path = cut(encode(tmp_path / f"v.{ending}", noise(250, 64, 48), options=options), share)
    assert probe(path).duration == pytest.approx(10.0)
    frames, _ = assert_official(path)
    assert 0.9 * share < frames / 10 < share + 0.05
    said: list[str] = []
    list(rows(path, [FRAMES_2D], remark=said.append))
    assert bool(said) is (ending == "mp4" or share < 0.95)
    assert all("of 10.0 s decoded" in line for line in said)


def test_a_file_that_lost_much_is_corrupt(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", numbered(250), options={"movflags": "faststart"})
    cut(path, 0.75)
    assert probe(path).duration == pytest.approx(10.0)
    with pytest.raises(ItemError, match=r"6\.\d s of 10\.0 s decoded; 1 damaged") as error:
        taken(path, FRAMES_2D)
    assert error.value.kind is Kind.CORRUPT


@needs_ffmpeg
@pytest.mark.parametrize("seed", range(3))
def test_damaged_packets_cost_what_they_cost_ffmpeg(tmp_path: Path, seed: int) -> None:
    """On one thread: what ffmpeg makes up for lost blocks depends on its threads."""
    path = encode(tmp_path / "v.mkv", noise(250, 64, 48))
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for position in rng.integers(len(content) // 4, len(content), 6):
        content[position : position + 8] = rng.bytes(8)
    path.write_bytes(content)
    assert_official(path, "-threads", "1")


@needs_ffmpeg
@pytest.mark.parametrize("said", [0.5, 200.0])
def test_a_file_that_lies_about_its_length(tmp_path: Path, said: float) -> None:
    """The header of an .mkv says a length that nothing else depends on."""
    path = encode(tmp_path / "v.mkv", noise(50, 64, 48))
    content = path.read_bytes()
    true = b"\x44\x89\x88" + np.array(2000.0, ">f8").tobytes()
    assert content.count(true) == 1
    path.write_bytes(content.replace(true, true[:3] + np.array(said * 1000, ">f8").tobytes()))
    assert probe(path).duration == pytest.approx(said)
    assert assert_official(path) == (2, 48)


def test_longer_than_the_limit(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mkv", numbered(100))
    assert list(rows(path, [FRAMES_2D], max_duration=4.0))
    assert kind_of(lambda: list(rows(path, [FRAMES_2D], max_duration=3.9))) is Kind.OVERLONG
    path.write_bytes(path.read_bytes().replace(b"\x44\x89\x88", b"\xec\x89\x88"))
    assert probe(path).duration == 0.0, "now it says nothing"
    assert kind_of(lambda: list(rows(path, [FRAMES_2D], max_duration=2.0))) is Kind.OVERLONG
