"""Video files to frames. Only this module, its filters and the sample's renderer import av.

One decode of a video feeds every sampling of it; frames are streamed, never held as a whole video.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.error
import numpy as np

from howto100m.features.filters import Scaler, blank, join
from howto100m.features.sampling import (
    Clock,
    Form,
    Pixels,
    Planes,
    Sampling,
    TimeStamps,
    nearest,
)
from howto100m.kinds import ItemError, Kind

log = logging.getLogger(__name__)

ENDINGS = frozenset(".mp4 .m4v .mkv .mov .webm .avi .flv .mpg .mpeg .ts".split())
"""How the names of video files end."""

MAX_PIXELS = 1 << 26
"""A frame larger than this is refused before its first picture is decoded (8K has half as many)."""

MAX_ASPECT = 16
"""Longer frames are refused: the short side sets the scale, so they would grow without end."""

MAX_LOST = 0.05
"""Share of a damaged file's length that may be missing before the video counts as corrupt."""

Allot = Callable[[int, tuple[int, ...]], Pixels]
"""Gives the room for a row of a shape, for the sampling at a position."""


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


class Row(NamedTuple):
    """A network's input: RGB pixels, or planes [group, bytes] and what they are."""

    sampling: int
    """The position of its sampling among those asked for."""
    pixels: Pixels
    planes: Planes | None = None


def probe(path: Path) -> VideoInfo:
    """Look at a file's header.

    Raises ItemError: NO_MEDIA when it is missing, CORRUPT when it has no readable video stream,
    TOO_LARGE when a frame has more than MAX_PIXELS or a side MAX_ASPECT times the other.
    """
    with _opened(path) as (container, stream):
        return _info(container, stream)


def last_second(path: Path) -> float:
    """Seconds from a file's first picture to the end of its last, read without decoding.

    The head of a file that broke off still tells the whole duration. Raises ItemError as `probe`.
    """
    with _opened(path) as (container, stream):
        times = [
            (packet.pts, packet.pts + (packet.duration or 0))
            for packet in container.demux(stream)
            if packet.pts is not None
        ]
        if not times:
            raise ItemError(Kind.CORRUPT, f"{path.name} has no picture")
        first, last = min(start for start, _ in times), max(end for _, end in times)
        return float((last - first) * stream.time_base)


def rows(
    path: Path,
    samplings: Sequence[Sampling],
    *,
    form: Form = Form.RGB,
    max_duration: float | None = None,
    remark: Callable[[str], None] = log.warning,
    allot: Allot = lambda _, shape: np.empty(shape, np.uint8),
) -> Iterator[Row]:
    """Decode a video once and yield the rows of every sampling as they fill up.

    A row's pixels are uint8 RGB, [h, w, 3] for a group of one frame and else [group, h, w, 3]; the
    last one is padded with zero frames. Frames are those of the official command (`fps`, bicubic
    `scale`, rgb24, and `crop` at int((w - size) / 2), int((h - size) / 2)); where that gives none,
    the video's first. In another `form`, rows may be planes. As in ffmpeg a damaged packet costs
    its own frames alone, and a file that breaks off gives what it has: `remark` is told.

    `allot` gives the room for each row. Raises ItemError as `probe` does, OVERLONG beyond
    `max_duration` seconds, and CORRUPT where nothing, or too little (MAX_LOST), can be decoded; and
    LookChangedError in form EXACT where a video's frames change size or colour after planes.
    """
    with _opened(path) as (container, stream):
        info = _info(container, stream)
        if max_duration is not None and info.duration > max_duration:
            raise ItemError(
                Kind.OVERLONG, f"{info.duration:.0f} s by its header, not {max_duration:.0f}"
            )
        takers = [
            _Taker(i, s, info, stream.time_base, form, allot) for i, s in enumerate(samplings)
        ]
        frames = _Frames(container, stream)
        for frame, pts in frames:
            if max_duration is not None and pts * stream.time_base > max_duration:
                raise ItemError(Kind.OVERLONG, f"goes on beyond {max_duration:.0f} s")
            for taker in takers:
                yield from taker.feed(frame, pts)
        if frames.end is None:
            raise ItemError(Kind.CORRUPT, f"no frame can be decoded{frames.said}")
        for taker in takers:
            yield from taker.finish(frames.pts, frames.duration)
        lost = 1 - float(frames.end) / info.duration if info.duration else 0.0
        told = f"{float(frames.end):.1f} s of {info.duration:.1f} s decoded{frames.said}"
        if frames.faults and lost > MAX_LOST:
            raise ItemError(Kind.CORRUPT, told)
        if frames.faults or lost > MAX_LOST:
            remark(told)


def still(path: Path, second: float) -> Pixels:
    """The picture [h, w, 3] on show at a time, in its own size; beyond the end, the last one.

    Raises ItemError as `probe` does, and CORRUPT where there is no picture.
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


class _Frames:
    """A stream's frames with their times from the container's start, in ticks of the stream.

    What cannot be decoded is passed over and counted, and a read error ends the file, as in ffmpeg.
    """

    def __init__(self, container: Any, stream: Any):
        self.container, self.stream = container, stream
        self.pts = self.duration = self.faults = 0
        self.end: Fraction | None = None
        self.fault = ""

    @property
    def said(self) -> str:
        """What went wrong, for the end of a message."""
        return f"; {self.faults} damaged packets: {self.fault}" if self.faults else ""

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        stream, guess = self.stream, TimeStamps()
        offset = nearest(
            self.container.start_time or 0, Fraction(1, av.time_base), stream.time_base
        )
        usual = round(1 / (stream.average_rate * stream.time_base)) if stream.average_rate else 0
        for packet in self._packets():
            try:
                decoded = packet.decode()
            except av.error.FFmpegError as error:
                self._count(error)
                continue
            for frame in decoded:
                pts = guess.of(frame.pts, frame.dts)
                self.pts = self.pts + self.duration if pts is None else pts - offset
                self.duration = frame.duration or usual
                self.end = (self.pts + self.duration) * stream.time_base
                yield frame, self.pts

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self._count(error)
                yield av.Packet()  # ask the decoder for what it still holds
                return

    def _count(self, error: av.error.FFmpegError) -> None:
        self.faults += 1
        self.fault = self.fault or str(error)


class _Taker:
    """Takes a sampling's frames out of a video's, and fills rows with them."""

    def __init__(
        self,
        position: int,
        sampling: Sampling,
        info: VideoInfo,
        time_base: Fraction,
        form: Form,
        allot: Allot,
    ):
        self.position, self.sampling, self.info = position, sampling, info
        self.clock = Clock(sampling.rate, time_base)
        self.scaler = Scaler(sampling, (info.width, info.height), time_base, form)
        self.allot = allot
        self.held: Any = None
        self.row: Pixels | None = None
        self.planes: Planes | None = None
        self.filled = self.taken = 0

    def feed(self, frame: Any, pts: int) -> Iterator[Row]:
        """Take the frame before this one as often as it is due; yield the rows that are full."""
        yield from self._take(self.clock.ticks(pts))
        self.held = frame

    def finish(self, pts: int, duration: int) -> Iterator[Row]:
        """Take the last frame, at least if there was no other, and pad the last row."""
        count = self.clock.last_ticks(pts, duration)
        yield from self._take(count if self.taken or count else 1)
        if self.row is not None:
            blank(self.row[self.filled :], self.planes)
            yield self._full(self.row)

    def _take(self, count: int) -> Iterator[Row]:
        if not count:
            return
        parts, self.planes = self.scaler.picture(self.held)
        for _ in range(count):
            if self.row is None:
                shape = (self.planes.bytes,) if self.planes else parts[0].shape
                self.row, self.filled = self.allot(self.position, (self.sampling.group, *shape)), 0
            join(parts, self.row[self.filled])
            self.filled, self.taken = self.filled + 1, self.taken + 1
            if self.filled == self.sampling.group:
                yield self._full(self.row)

    def _full(self, row: Pixels) -> Row:
        self.row = None
        return Row(self.position, row[0] if self.sampling.group == 1 else row, self.planes)


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
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            yield container, stream
    except FileNotFoundError:
        raise ItemError(Kind.NO_MEDIA, f"{path} does not exist") from None
    except (PermissionError, IsADirectoryError) as error:
        raise ItemError(Kind.NO_MEDIA, f"{path}: {error.strerror}") from None
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
