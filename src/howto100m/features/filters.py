"""Decoded frames to pictures of a network's size, by FFmpeg's filters: part of `decode.py`'s door.

The official extractor's `scale` and `crop`, and the turns that ffmpeg puts before them.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import av.filter
import numpy as np

from howto100m.features.sampling import (
    Form,
    Pixels,
    Planes,
    Sampling,
    crop_offset,
    scaled_size,
    window,
)
from howto100m.features.swscale import recipe, rgb

MAX_LINES = 480
"""The short side of planes at most; mode `fast` divides larger ones."""

FULL_RANGE = 2
"""FFmpeg's number of the colour range whose black is 0 and white 255."""

GREY = 128

PLANAR = {"yuv420p": False, "yuvj420p": True}
"""Formats whose planes are handed over as they are, and whether they use the full range."""

MATRICES = {1: "bt709", 9: "bt2020", 10: "bt2020"}
"""FFmpeg's numbers of colour spaces; swscale takes all others for BT.601."""


class LookChangedError(Exception):
    """A video whose planes were handed over goes on in another size or colour."""


class Scaler:
    """Turns decoded frames to a sampling's pictures, by FFmpeg's filters, or to their planes."""

    def __init__(
        self, sampling: Sampling, stored: tuple[int, int], time_base: Fraction, form: Form
    ):
        """`stored` is the frames' (width, height) as the container has it, before any turn."""
        self.sampling, self.time_base, self.form = sampling, time_base, form
        self.stored = stored
        self.made_for: tuple[Any, ...] = ()
        self.graph: Any = None

    def picture(self, frame: Any) -> tuple[list[Pixels], Planes | None]:
        """RGB [h, w, 3], or the parts of Y, U and V that count, and what they are.

        They are views of a frame that lives as long as they do. Raises LookChangedError.
        """
        matrix = _display_matrix(frame)
        size, colour = (frame.width, frame.height), (frame.colorspace, frame.color_range)
        look = (frame.format.name, size, colour, matrix)
        if look != self.made_for:
            self._make_for(frame, _turns(matrix))
            self.made_for = look
        if self.graph is not None:
            self.graph.vpush(frame)
            frame = self.graph.vpull()
        return ([_view(frame, 0, 3)], None) if self.form is Form.RGB else self._planes(frame)

    def _make_for(self, frame: Any, turns: list[tuple[str, str]]) -> None:
        if self.form is Form.EXACT:
            if self.made_for:
                raise LookChangedError
            if turns or not self._same_from_planes(frame):
                self.form = Form.RGB
        filters = []
        if self.form is Form.RGB:
            filters = turns + self._exact_filters()
        elif self.form is Form.FAST:
            filters = turns + self._fast_filters(frame, turns)
        self.graph = self._graph(frame, filters) if filters else None

    def _same_from_planes(self, frame: Any) -> bool:
        """Whether `swscale.py` makes of planes what FFmpeg's scaler makes of the frame."""
        width, height = size = frame.width, frame.height
        if (
            frame.format.name not in PLANAR
            or size != self.stored
            or width % 2
            or height % 2
            or min(size) > MAX_LINES
        ):
            return False
        look = (frame.format.name, size, int(frame.colorspace), int(frame.color_range))
        return _noise_comes_out_the_same(self.sampling, *look)

    def _graph(self, frame: Any, filters: list[tuple[str, str]]) -> Any:
        graph = av.filter.Graph()
        graph.threads = 1
        source = graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(self.time_base),
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
        nodes = [graph.add(name, arguments) for name, arguments in filters]
        graph.link_nodes(source, *nodes, graph.add("buffersink")).configure()
        return graph

    def _exact_filters(self) -> list[tuple[str, str]]:
        width, height = scaled_size(*self.stored, self.sampling.size)
        filters = [("scale", f"{width}:{height}:flags=bicubic"), ("format", "rgb24")]
        if self.sampling.crop:
            size = self.sampling.size
            x, y = crop_offset((width, height), size)
            filters.append(("crop", f"{size}:{size}:{x}:{y}"))
        return filters

    def _fast_filters(self, frame: Any, turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """None for planes that can go as they are: those of the stored size, 4:2:0, not large."""
        width, height = self.stored
        shrink = -(-min(width, height) // MAX_LINES)
        size = width // shrink, height // shrink
        same = frame.format.name in PLANAR and (frame.width, frame.height) == size
        scale = ("scale", f"{size[0]}:{size[1]}:flags=area")
        return [] if same and not turns else [scale, ("format", "|".join(PLANAR))]

    def _planes(self, frame: Any) -> tuple[list[Pixels], Planes]:
        left, top, width, height = window(frame.width, frame.height, self.sampling)
        planes = Planes(
            (frame.width & ~1, frame.height & ~1),
            (left, top, width, height),
            MATRICES.get(int(frame.colorspace), "bt601"),
            PLANAR[frame.format.name] or int(frame.color_range) == FULL_RANGE,
        )
        luma = _view(frame, 0)[top : top + height, left : left + width]
        chroma = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
        return [luma, _view(frame, 1)[chroma], _view(frame, 2)[chroma]], planes


@lru_cache(maxsize=64)
def _noise_comes_out_the_same(
    sampling: Sampling, pix_fmt: str, size: tuple[int, int], colorspace: int, color_range: int
) -> bool:
    """Whether FFmpeg's scaler and `swscale.py` agree on a frame of noise of this look."""
    frame = av.VideoFrame(*size, pix_fmt)
    frame.colorspace, frame.color_range, frame.pts = colorspace, color_range, 0
    noise = np.random.default_rng(0)
    for plane in frame.planes:
        plane.update(noise.bytes(plane.buffer_size))
    wanted, _ = Scaler(sampling, size, Fraction(1), Form.RGB).picture(frame)
    parts, planes = Scaler(sampling, size, Fraction(1), Form.EXACT)._planes(frame)
    y, u, v = (part.astype(np.float32) for part in parts)
    made = rgb(y, u, v, recipe(planes, sampling))
    return np.array_equal(np.stack(made, -1), wanted[0])


def _view(frame: Any, plane: int, channels: int = 1) -> Pixels:
    """A plane of a frame as it lies in memory, [h, w] or [h, w, channels]."""
    part = frame.planes[plane]
    lines = np.frombuffer(part, np.uint8)[: part.height * part.line_size]
    lines = lines.reshape(part.height, part.line_size)[:, : part.width * channels]
    return lines.reshape(part.height, part.width, channels) if channels > 1 else lines


def join(parts: Sequence[Pixels], room: Pixels) -> None:
    """Copy one picture to its room; planes go one after the other."""
    if len(parts) == 1:
        room[:] = parts[0]
        return
    start = 0
    for part in parts:
        room[start : start + part.size].reshape(part.shape)[:] = part
        start += part.size


def blank(room: Pixels, planes: Planes | None) -> None:
    """Zero frames, which are black; in planes that is no light and grey colour."""
    room[:] = 0
    if planes:
        room[:, planes.window[2] * planes.window[3] :] = GREY


def _display_matrix(frame: Any) -> tuple[int, ...]:
    """The nine numbers by which a player turns the picture; none where it does not."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return () if matrix is None else tuple(np.frombuffer(matrix, np.int32).tolist())


def _turns(matrix: tuple[int, ...]) -> list[tuple[str, str]]:
    """The filters that turn a frame upright, as ffmpeg puts them before all others."""
    if not matrix:
        return []
    a, b, c, d = (matrix[i] / 65536 for i in (0, 1, 3, 4))
    angle = math.atan2(b / (math.hypot(b, d) or 1), a / (math.hypot(a, c) or 1))
    theta = round(math.degrees(angle)) % 360
    if theta == 90:
        return [("transpose", "cclock_flip" if c > 0 else "clock")]
    if theta == 270:
        return [("transpose", "clock_flip" if c < 0 else "cclock")]
    if theta == 180:
        flips = [("hflip", "")] * (a < 0) + [("vflip", "")] * (d < 0)
        return [("transpose", "clock")] * 2 if len(flips) == 2 else flips
    if theta:
        return [("rotate", f"{math.degrees(angle):f}*PI/180")]
    return [("vflip", "")] * (d < 0)
