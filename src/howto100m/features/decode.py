"""Video files to frames. Only this module and the sample's renderer import av (FFmpeg).

One decode of a video feeds every sampling of it; frames are streamed, never held as a whole video.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import numpy as np

from howto100m.kinds import ItemError, Kind

MAX_PIXELS = 1 << 26
"""A frame larger than this is refused before its first picture is decoded (8K has half as many)."""

MAX_ASPECT = 16
"""Longer frames are refused: the short side sets the scale, so they would grow without end."""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class VideoInfo:
    """What the container says of the first video stream, as stored: not turned, pixels not squared.

    `duration` is in seconds, `rate` in frames a second; both are 0 where the file does not say.
    """

    width: int
    height: int
    duration: float
    rate: float
    codec: str


@dataclass(frozen=True)
class Sampling:
    """How frames are taken: `rate` a second, the short side scaled to `size`, `group` in a row.

    With `crop`, the centre square of the scaled frame.
    """

    rate: int
    size: int
    crop: bool
    group: int

    @property
    def rows_per_second(self) -> float:
        """Rows of features a second of video."""
        return self.rate / self.group


FRAMES_2D = Sampling(rate=1, size=224, crop=False, group=1)
CLIPS_3D = Sampling(rate=24, size=112, crop=True, group=16)


def scaled_size(width: int, height: int, short: int) -> tuple[int, int]:
    """(width, height) with the short side at `short`, the other truncated as the official code."""
    if height >= width:
        return short, int(height * short / width)
    return int(width * short / height), short


def probe(path: Path) -> VideoInfo:
    """Look at a file's header.

    Raises ItemError: NO_MEDIA when it is missing, CORRUPT when it has no readable video stream,
    TOO_LARGE when a frame has more than MAX_PIXELS or a side MAX_ASPECT times the other.
    """
    with _opened(path) as (container, stream):
        return _info(container, stream)


def rows(path: Path, samplings: Sequence[Sampling]) -> Iterator[tuple[int, Pixels]]:
    """Decode a video once and yield (position of the sampling, uint8 RGB rows) as they fill up.

    A row is [h, w, 3] for a group of one frame and else [group, h, w, 3]; the last one is padded
    with zero frames. Frames are those of the official command (`fps`, bicubic `scale`, rgb24, and
    `crop` at int((w - size) / 2), int((h - size) / 2)). Raises ItemError as `probe` does, and
    CORRUPT where decoding fails midway or a sampling has no row (less than half a frame interval).
    """
    with _opened(path) as (container, stream):
        info = _info(container, stream)
        graphs = [_Graph(stream, info, s) for s in samplings]
        offset = round(Fraction(container.start_time or 0, av.time_base) / stream.time_base)
        for frame in container.decode(stream):
            if frame.pts is not None:  # as ffmpeg, which starts every file at 0
                frame.pts -= offset
            for position, graph in enumerate(graphs):
                yield from ((position, row) for row in graph.feed(frame))
        for position, graph in enumerate(graphs):
            yield from ((position, row) for row in graph.feed(None))
        for graph, sampling in zip(graphs, samplings, strict=True):
            if not graph.rows:
                raise ItemError(Kind.CORRUPT, f"too short for a frame at {sampling.rate} fps")


def still(path: Path, second: float) -> Pixels:
    """The picture [h, w, 3] on show at a time, in its own size; beyond the end, the last one.

    Raises ItemError as `rows` does.
    """
    with _opened(path) as (container, stream):
        _info(container, stream)
        time_base, start = stream.time_base, stream.start_time or 0
        container.seek(start + int(second / time_base), stream=stream)
        shown = None
        for frame in container.decode(stream):
            if (
                shown is not None
                and float(((frame.pts or start) - start) * time_base) > second + 1e-6
            ):
                break
            shown = frame
        if shown is None:
            raise ItemError(Kind.CORRUPT, f"no picture at {second:.1f} s")
        picture: Pixels = shown.to_ndarray(format="rgb24")
        return picture


class _Graph:
    """FFmpeg's filters for one sampling, and the row that is filling up behind them."""

    def __init__(self, stream: Any, info: VideoInfo, sampling: Sampling):
        width, height = scaled_size(info.width, info.height, sampling.size)
        filters = [
            ("fps", f"fps={sampling.rate}"),
            ("scale", f"{width}:{height}:flags=bicubic"),
            ("format", "rgb24"),
        ]
        if sampling.crop:
            size = sampling.size
            x, y = int((width - size) / 2.0), int((height - size) / 2.0)
            filters.append(("crop", f"{size}:{size}:{x}:{y}"))
        self.graph = av.filter.Graph()
        self.graph.threads = 1
        nodes = [self.graph.add_buffer(template=stream)]
        nodes += [self.graph.add(name, args) for name, args in filters]
        self.graph.link_nodes(*nodes, self.graph.add("buffersink")).configure()
        self.group = sampling.group
        self.filling: list[Pixels] = []
        self.rows = 0

    def feed(self, frame: Any) -> Iterator[Pixels]:
        """Push a decoded frame, or None at the end, and yield the rows that it completes."""
        self.graph.vpush(frame)
        while True:
            try:
                picture: Any = self.graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            self.filling.append(picture.to_ndarray(format="rgb24"))
            if len(self.filling) == self.group:
                yield self._row()
        if frame is None and self.filling:
            blank = np.zeros_like(self.filling[0])
            self.filling += [blank] * (self.group - len(self.filling))
            yield self._row()

    def _row(self) -> Pixels:
        row = self.filling[0] if self.group == 1 else np.stack(self.filling)
        self.filling.clear()
        self.rows += 1
        return row


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream, decoded on the calling thread alone.

    FFmpeg's errors in the block become ItemError CORRUPT.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ItemError(Kind.CORRUPT, f"{path.name} has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            yield container, stream
    except FileNotFoundError:
        raise ItemError(Kind.NO_MEDIA, f"{path} does not exist") from None
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise ItemError(Kind.CORRUPT, f"{path.name}: {error}") from None


def _info(container: Any, stream: Any) -> VideoInfo:
    context = stream.codec_context
    if not context.width or not context.height:
        raise ItemError(Kind.CORRUPT, "the video stream has no size")
    if context.width * context.height > MAX_PIXELS:
        raise ItemError(Kind.TOO_LARGE, f"{context.width} x {context.height} pixels a frame")
    if max(context.width, context.height) > MAX_ASPECT * min(context.width, context.height):
        raise ItemError(Kind.TOO_LARGE, f"{context.width} x {context.height}: too long a shape")
    if stream.duration is not None:
        duration = float(stream.duration * stream.time_base)
    else:
        duration = (container.duration or 0) / av.time_base
    rate = float(stream.average_rate or 0)
    return VideoInfo(context.width, context.height, duration, rate, context.name)
