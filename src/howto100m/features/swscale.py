"""FFmpeg's scaler, bit for bit: bicubic scaling of 8-bit 4:2:0 planes to rgb24.

The arithmetic of libswscale on x86 as its default flags have it, in numbers that a GPU computes
exactly: so pictures of mode `exact`, too, can be made where the networks run. It is held against
libswscale itself before it is used for them (`filters.py`), since other builds may differ.

Arrays may be numpy's or PyTorch's: only operators that both have are used. What is multiplied as a
matrix is whole numbers in float32, of sums below 2**24, which every order of summing gives exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from howto100m.features.sampling import Planes, Sampling, crop_offset, scaled_size

Weights = npt.NDArray[np.float32]

CUT_OFF = 0.002
"""Weights at a filter's ends are dropped as long as they sum to less."""
ALIGNED = 4
"""A line's filter has a multiple of so many taps."""
CHROMA = {
    "bt601": (104597, 132201, -25675, -53279),
    "bt709": (117489, 138438, -13975, -34925),
    "bt2020": (110013, 140363, -12277, -42626),
}
"""Red of V, blue of U, green of U and of V, in 65536ths, for each matrix."""
ONE = 1 << 16
HIGH = 128
"""Numbers of 15 bits are split here, so that sums of their products stay below 2**24."""


@dataclass(frozen=True)
class Recipe:
    """How a sampling's pictures are made of planes: weights [outputs, inputs] of what is taken.

    `wide`: colour has as many columns as light, which is so where the whole picture has an odd
    number of them; else every colour serves two columns, and goes through a table.
    """

    lines: Any
    columns: Any
    colour_lines: Any
    colour_columns: Any
    wide: bool
    matrix: str
    full: bool

    def converted(self, convert: Callable[[Weights], Any]) -> "Recipe":
        """With other arrays."""
        return replace(
            self,
            lines=convert(self.lines),
            columns=convert(self.columns),
            colour_lines=convert(self.colour_lines),
            colour_columns=convert(self.colour_columns),
        )


def rgb(y: Any, u: Any, v: Any, recipe: Recipe) -> tuple[Any, ...]:
    """Windows of planes [..., h, w] in float32 to R, G and B [..., h', w'] in int32, 0 to 255."""
    y = _scaled(y, recipe.lines, recipe.columns)
    u, v = (_scaled(part, recipe.colour_lines, recipe.colour_columns) for part in (u, v))
    return (_full_chroma if recipe.wide else _half_chroma)(y, u, v, recipe)


@lru_cache(maxsize=64)
def recipe(planes: Planes, sampling: Sampling) -> Recipe:
    """For what is sent of a frame, and the crop that a sampling takes."""
    width, height = scaled_size(*planes.size, sampling.size)
    left, top, across, down = planes.window
    wide = width % 2 == 1
    x, y = crop_offset((width, height), sampling.size) if sampling.crop else (0, 0)
    out = (sampling.size,) * 2 if sampling.crop else (width, height)
    columns = weights(planes.size[0], width, 14, ALIGNED)[x : x + out[0], left : left + across]
    lines = weights(planes.size[1], height, 12)[y : y + out[1], top : top + down]
    halves = [value // 2 for value in (left, top, across, down)]
    colours = weights(planes.size[0] // 2, width if wide else width // 2, 14, ALIGNED)
    taken = np.arange(x, x + out[0]) // (1 if wide else 2)
    return Recipe(
        lines,
        columns,
        weights(planes.size[1] // 2, height, 12)[y : y + out[1], halves[1] : halves[1] + halves[3]],
        colours[taken, halves[0] : halves[0] + halves[2]],
        wide,
        planes.matrix,
        planes.full,
    )


def weights(source: int, target: int, bits: int, aligned: int = 1) -> Weights:
    """Weights [target, source] of a bicubic filter, whole numbers that sum to 2**bits.

    As libswscale's initFilter: positions and coefficients in whole numbers, ends cut off, what
    lies beyond the edges given to the last pixel, and rounding errors handed to the next tap.
    """
    step = ((source << 16) + (target >> 1)) // target
    taps = 5 if step <= ONE else 1 + (4 * source + target - 1) // target
    taps = max(1, min(taps, source - 2))
    unit = 1 << (54 - min(max(source // target, 1).bit_length() - 1, 8))
    centres = (step - ONE) + 2 * step * np.arange(target, dtype=np.int64)
    first = _divide(centres - (taps - 2) * ONE, 2 * ONE)
    distance = np.abs((first[:, None] + np.arange(taps)) * 2 * ONE - centres[:, None]) << 13
    if step > ONE:
        distance = distance * target // source
    filters = _divide(_bicubic(distance), (1 << 54) // unit)
    length = -(-_cut(filters, first, CUT_OFF * unit) // aligned) * aligned
    whole = np.zeros((target, source), np.float32)
    for row, start, found in zip(whole, first.tolist(), filters.tolist(), strict=True):
        kept = (found + [0] * length)[:length]
        at_edges = [0] * source
        for tap, value in enumerate(kept):
            at_edges[min(max(start + tap, 0), source - 1)] += value
        begin = min(max(start, 0), max(source - length, 0))
        row[begin : begin + length] = _normalised(at_edges[begin : begin + length], 1 << bits)
    return whole


def _bicubic(distance: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The family of Mitchell and Netravali with B = 0, C = 0.6; a distance of 1 is 2**30."""
    one, c = 1 << 24, int(0.6 * (1 << 24))
    d = np.minimum(distance, 1 << 31)
    squared = (d * d) >> 30
    cubed = (squared * d) >> 30
    near = (12 * one - 6 * c) * cubed + (-18 * one + 6 * c) * squared + 6 * one * (1 << 30)
    far = -6 * c * cubed + 30 * c * squared - 48 * c * d + 24 * c * (1 << 30)
    return np.where(d >= 1 << 31, 0, np.where(d < 1 << 30, near, far))


def _cut(filters: npt.NDArray[np.int64], first: npt.NDArray[np.int64], least: float) -> int:
    """Shift filters over small weights at their beginning; how long they must be then."""
    longest = 0
    for i in range(len(filters) - 1, -1, -1):
        total = 0
        for _ in range(len(filters[i])):
            total += abs(int(filters[i, 0]))
            if total > least or (i < len(filters) - 1 and first[i] >= first[i + 1]):
                break
            filters[i] = np.append(filters[i, 1:], 0)
            first[i] += 1
        ends = np.abs(filters[i, :0:-1]).cumsum()
        longest = max(longest, len(filters[i]) - int((ends <= least).sum()))
    return longest


def _normalised(values: list[int], one: int) -> list[int]:
    total = max((sum(values) + one // 2) // one, 1)
    found, error = [], 0
    for value in values:
        value += error
        found.append(int(_divide(value + (total >> 1) * (1 if value >= 0 else -1), total)))
        error = value - found[-1] * total
    return found


def _divide(a: Any, b: int) -> Any:
    """Towards zero, as C."""
    return np.sign(a) * (np.abs(a) // b)


def _scaled(part: Any, lines: Any, columns: Any) -> Any:
    """To 15 bits across, then down; a sum of 27 bits or so, in int32."""
    across = ((part @ columns.T) // 128).clip(-(1 << 15), (1 << 15) - 1)
    high = across // HIGH
    return _whole(lines @ high) * HIGH + _whole(lines @ (across - high * HIGH))


def _full_chroma(y: Any, u: Any, v: Any, recipe: Recipe) -> tuple[Any, ...]:
    """As yuv2rgb24_full_X, whose 32 bits may overflow."""
    scale, black, colours = _constants(recipe)
    light, red, blue, green_u, green_v = (_rounded(c << 13) for c in (scale, *colours))
    y, u, v = ((part + (1 << 9)) >> 10 for part in (y, u, v))
    y = (y - _rounded(black << 9)) * light + (1 << 21)
    u, v = u - (128 << 9), v - (128 << 9)
    parts = y + v * red, y + v * green_v + u * green_u, y + u * blue
    return tuple(part.clip(0, (1 << 30) - 1) >> 22 for part in parts)


def _half_chroma(y: Any, u: Any, v: Any, recipe: Recipe) -> tuple[Any, ...]:
    """As yuv2rgb24_X, whose tables are worked out here for each pixel."""
    scale, black, colours = _constants(recipe)
    red, blue, green_u, green_v = (int(_divide((c << 16) + (1 << 15), scale)) for c in colours)
    y, u, v = ((part + (1 << 18)) >> 19 for part in (y, u, v))
    u, v = u.clip(0, 255), v.clip(0, 255)
    y = y + (384 if recipe.full else 326)
    places = (
        y + (v * red >> 16) - (red >> 9),
        y + (u * green_u >> 16) - (green_u >> 9) + (v * green_v >> 16) - (green_v >> 9),
        y + (u * blue >> 16) - (blue >> 9),
    )
    first = (1 << 15) - (384 << 16) - black
    return tuple(((place * scale + first) >> 16).clip(0, 255) for place in places)


def _constants(recipe: Recipe) -> tuple[int, int, tuple[int, ...]]:
    """Light's factor and black in 65536ths, and the colours' factors."""
    colours = CHROMA[recipe.matrix]
    if not recipe.full:
        return ONE * 255 // 219, 16 << 16, colours
    return ONE, 0, tuple(int(_divide(c * 224, 255)) for c in colours)


def _rounded(value: int) -> int:
    """Of 16 more bits, as a number of 16."""
    return max(-0x7FFF, min(0x7FFF, (value + (1 << 15)) >> 16))


def _whole(x: Any) -> Any:
    """In int32."""
    return x.int() if hasattr(x, "int") else x.astype(np.int32)
