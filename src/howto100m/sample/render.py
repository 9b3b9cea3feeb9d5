"""Drawing the sample's videos: a thing in a colour, moving over a plain, noisy background."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import blake2b
from math import cos, pi, sin
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from howto100m.sample.catalogue import BACKGROUNDS, COLOURS
from howto100m.sample.records import Scene, Step, Video
from howto100m.shards import Progress, whole_file

Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]

SIZE = 0.72
"""Width of a thing, as a share of the shorter side of the frame."""
NOISE = 14
"""Largest step of the background's noise, of 255."""
LIGHT = 130
"""Grey of the patterns on dark things; on others they are black."""
POSES = 24
"""Poses drawn for a turn of a spinning thing, or the growth of a growing one."""


def render_all(videos: Sequence[Video], folder: Path, workers: int) -> None:
    """Render videos to folder/<id>.mp4 over so many processes."""
    with ProcessPoolExecutor(max(workers, 1)) as pool:
        progress = Progress("sample videos drawn", len(videos))
        for _ in pool.map(partial(_render_to, folder), videos):
            progress.add(1)


def _render_to(folder: Path, video: Video) -> None:
    render(video, folder / f"{video.video_id}.mp4")


def render(video: Video, path: Path) -> None:
    """Draw a video and write it as H.264 in an mp4 file, whole or not at all."""
    with whole_file(path) as part, av.open(os.fspath(part), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=video.fps)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "24"}
        stream.codec_context.thread_count = 1
        for picture in frames(video):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def frames(video: Video) -> Iterator[Pixels]:
    """The pictures of a video, (height, width, 3) RGB, the same on every machine."""
    edges = [round(step.start * video.fps) for step in video.steps]
    edges.append(video.seconds * video.fps)
    for number, step in enumerate(video.steps):
        seed = blake2b(f"{video.video_id}/{number}".encode(), digest_size=8).digest()
        backdrop = _backdrop(step, video, int.from_bytes(seed, "big"))
        draw = _drawer(step.scene, backdrop) if step.scene else None
        for frame in range(edges[number + 1] - edges[number]):
            yield draw(frame / video.fps) if draw else backdrop


def _backdrop(step: Step, video: Video, seed: int) -> Pixels:
    colour = np.array(BACKGROUNDS[step.background], dtype=np.int16)
    shape = (video.height, video.width, 1)
    noise = np.random.default_rng(seed).integers(-NOISE, NOISE, shape, dtype=np.int16)
    picture: Pixels = (colour + noise).astype(np.uint8)
    return picture


def _drawer(scene: Scene, backdrop: Pixels) -> Callable[[float], Pixels]:
    """A function that draws the scene so many seconds after its start."""
    height, width = backdrop.shape[:2]
    side = int(SIZE * min(height, width))
    poses = [_sprite(scene, side, *pose) for pose in _poses(scene.motion)]

    def draw(seconds: float) -> Pixels:
        x, y, pose = _place(scene.motion, seconds)
        picture = backdrop.copy()
        _paste(
            picture,
            *poses[pose % len(poses)],
            round(x * (width - 0.4 * side) - 0.3 * side),
            round(y * (height - side)),
        )
        return picture

    return draw


def _poses(motion: str) -> list[tuple[float, float]]:
    """The angles (radians) and scales in which a motion shows its thing."""
    if motion == "spin":
        return [(2 * pi * n / POSES, 1.0) for n in range(POSES)]
    if motion == "grow":
        return [(0.0, 0.35 + 0.65 * n / (POSES - 1)) for n in range(POSES)]
    return [(0.0, 1.0)]


def _place(motion: str, seconds: float) -> tuple[float, float, int]:
    """Where the thing is (0 to 1 of its way across and down) and in which pose."""
    match motion:
        case "slide":
            return seconds / 2.2 % 1.0, 0.5, 0
        case "bounce":
            return 0.5, 1 - abs(sin(pi * seconds / 0.8)), 0
        case "spin":
            return 0.5, 0.5, int(seconds / 1.6 * POSES)
        case _:
            return 0.5, 0.5, int((seconds / 2.5) % 1.0 * POSES)


def _paste(picture: Pixels, colour: Floats, alpha: Floats, left: int, top: int) -> None:
    """Lay a sprite on a picture, in place; what lies outside is cut off."""
    height, width = picture.shape[:2]
    x0, x1 = max(left, 0), min(left + alpha.shape[1], width)
    y0, y1 = max(top, 0), min(top + alpha.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    cut = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    under = picture[y0:y1, x0:x1]
    picture[y0:y1, x0:x1] = (under * (1 - alpha[cut]) + colour[cut]).astype(np.uint8)


def _sprite(scene: Scene, side: int, angle: float, scale: float) -> tuple[Floats, Floats]:
    """The thing on (side, side) pixels: its colour times its opacity, and its opacity."""
    fine = ((np.arange(2 * side, dtype=np.float32) + 0.5) / side - 1) / scale
    across, down = np.meshgrid(fine, fine)
    x, y = cos(angle) * across + sin(angle) * down, cos(angle) * down - sin(angle) * across
    inside, shade = _thing(scene.thing, x, y)
    alpha = _halve(inside.astype(np.float32))
    light = _halve(np.where(inside, shade, 0).astype(np.float32))
    colour = np.array(COLOURS[scene.colour], dtype=np.float32)
    pattern = LIGHT if colour.max() < LIGHT else 0
    return light * colour + (alpha - light) * pattern, alpha


def _halve(fine: Floats) -> Floats:
    side = fine.shape[0] // 2
    halved: Floats = fine.reshape(side, 2, side, 2).mean(axis=(1, 3))[:, :, None]
    return halved


def _thing(name: str, x: Floats, y: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which points of the square from -1 to 1 belong to a thing, and their share of colour."""
    far, around = np.hypot(x, y), np.arctan2(y, x)
    match name:
        case "ball":
            return far < 0.95, _bands(np.sin(15 * far))
        case "tile":
            return np.maximum(abs(x), abs(y)) < 0.8, _bands(np.sin(9 * x) * np.sin(9 * y))
        case "triangle":
            return np.maximum(1.8 * abs(x) - y, 1.25 * y) < 0.95, _bands(np.sin(16 * y))
        case "star":
            point = (around + pi / 2) % (2 * pi / 5) - pi / 5
            return far * (1 + 1.2 * (1 - abs(point) * 5 / pi)) < 0.98, np.ones_like(x)
        case "ring":
            return (far < 0.95) & (far > 0.5), _bands(np.cos(6 * around))
        case "cross":
            arms = np.minimum(abs(x), abs(y)) < 0.3
            return arms & (np.maximum(abs(x), abs(y)) < 0.92), _bands(np.sin(13 * (x + y)))
        case "board":
            return (abs(x) < 0.97) & (abs(y) < 0.5), _bands(np.sin(20 * x))
        case "moon":
            dots = 0.55 - np.hypot(np.sin(8 * x), np.sin(8 * y))
            return (far < 0.95) & (np.hypot(x - 0.5, y) > 0.7), _bands(-dots)
    raise ValueError(f"no such thing to draw: {name}")


def _bands(wave: Floats) -> Floats:
    """A pattern of full colour where a wave is positive, and of none elsewhere."""
    return np.where(wave > 0, 1.0, 0.0)
