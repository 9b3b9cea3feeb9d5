"""Which frames a network sees and how large: the arithmetic of the official ffmpeg command."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
MICROSECOND = Fraction(1, 1_000_000)
EARLY = -2
"""ffmpeg's constant output rate keeps frames at most so many ticks before 0, and drops others."""
BICUBIC_TAPS = 2
"""Source pixels that a bicubic filter sees to either side, for every source pixel a step."""
MARGIN = 6
"""More of them, since a filter's taps are a multiple of four, also of colour."""


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


def nearest(time: int, source: Fraction, target: Fraction) -> int:
    """A time in ticks of `source` as ticks of `target`, to the nearest, halves away from zero."""
    scaled = time * source / target
    whole = (2 * abs(scaled.numerator) + scaled.denominator) // (2 * scaled.denominator)
    return whole if scaled >= 0 else -whole


@dataclass
class Clock:
    """When a frame is taken, as ffmpeg's filter `fps` and its constant output rate have it.

    A frame is on show from its own time, rounded to a tick of the rate, to the next frame's; what
    is on show at the first tick, also from 0 on. So a row shows the middle of its second.
    """

    rate: int
    time_base: Fraction
    due: int | None = None
    """The next tick that takes a frame; None before the first frame."""
    owed: int = 0
    """Ticks between 0 and the first one."""

    def ticks(self, pts: int) -> int:
        """How many ticks fall before a time stamp: so often the frame before it is taken.

        The first call only starts the clock.
        """
        tick = nearest(pts, self.time_base, Fraction(1, self.rate))
        if self.due is None:
            self.due = max(EARLY, tick)
            self.owed = max(0, tick)
        if tick <= self.due:
            return 0
        count, self.due, self.owed = tick - self.due + self.owed, tick, 0
        return count

    def last_ticks(self, pts: int, duration: int) -> int:
        """How often the last frame of a file is taken; its end goes through microseconds."""
        end = nearest(pts, self.time_base, MICROSECOND)
        end += nearest(duration, self.time_base, MICROSECOND)
        return self.ticks(nearest(end, MICROSECOND, self.time_base))


@dataclass
class TimeStamps:
    """A decoder's best guess at each frame's time, of its `pts` and `dts`, as FFmpeg's own."""

    last: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=lambda: {"pts": 0, "dts": 0})

    def of(self, pts: int | None, dts: int | None) -> int | None:
        """The frame's time: its pts, unless those go backward more often than the dts."""
        for name, value in (("dts", dts), ("pts", pts)):
            if value is not None:
                self.faults[name] += name in self.last and value <= self.last[name]
        self.last |= {
            n: v for n, v in (("dts", _first(dts, pts)), ("pts", _first(pts, dts))) if v is not None
        }
        if pts is not None and (dts is None or self.faults["pts"] <= self.faults["dts"]):
            return pts
        return dts


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


class Form(StrEnum):
    """What a row is made of."""

    RGB = "rgb"
    """Pixels of a network's size, by FFmpeg's scaler."""
    EXACT = "exact"
    """Planes as decoded, where the very same pixels can be made of them later; else RGB."""
    FAST = "fast"
    """Planes, if need be shrunk or turned first."""


@dataclass(frozen=True)
class Planes:
    """What lies in a row that is not RGB: a frame's Y, U and V (4:2:0), one after the other.

    Of a frame of `size` (width, height), the part `window` (left, top, width, height), all even.
    `matrix` says how YUV becomes RGB, `full` whether Y goes from 0 to 255 (else 16 to 235).
    """

    size: tuple[int, int]
    window: tuple[int, int, int, int]
    matrix: str
    full: bool

    @classmethod
    def of(cls, told: dict[str, Any] | None) -> "Planes | None":
        """From JSON, which knows no tuples."""
        if told is None:
            return None
        return cls(tuple(told["size"]), tuple(told["window"]), told["matrix"], told["full"])

    @property
    def bytes(self) -> int:
        """Bytes of one frame."""
        return self.window[2] * self.window[3] * 3 // 2


def window(width: int, height: int, sampling: Sampling) -> tuple[int, int, int, int]:
    """The part (left, top, width, height) of a frame that the scaled crop is made from, even."""
    if not sampling.crop:
        return 0, 0, width & ~1, height & ~1
    scaled = scaled_size(width, height, sampling.size)
    (left, across), (top, down) = (
        _span(source, target, sampling.size)
        for source, target in zip((width, height), scaled, strict=True)
    )
    return left, top, across, down


def _span(source: int, target: int, size: int) -> tuple[int, int]:
    step = source / target
    first = int((target - size) / 2.0)
    margin = BICUBIC_TAPS * max(step, 2.0) + MARGIN
    low = max(0, int(first * step - margin)) & ~1
    high = min(source, int((first + size) * step + margin) + 2) & ~1
    return low, high - low


def crop_offset(scaled: Sequence[int], size: int) -> tuple[int, int]:
    """Where the centre square starts, (x, y), truncated as the official code."""
    return int((scaled[0] - size) / 2.0), int((scaled[1] - size) / 2.0)
