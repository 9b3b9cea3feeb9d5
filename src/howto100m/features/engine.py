"""Videos to vectors: decoders run ahead, networks take batches that mix videos.

The networks take one row of each open video in turn, so that batches are the same in every run, and
with them, on a CPU, the last digits of every vector. On a GPU those are of what was measured to be
faster at the start.
"""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from howto100m.devices import claim_device, give_back_memory
from howto100m.features import resnet152, resnext101
from howto100m.features.decode import Row
from howto100m.features.decoders import Decoder, Decoding, End, decoders
from howto100m.features.inference import Runner, Vectors, Work, choose_dtype
from howto100m.features.planes import exact_on
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D, Form, Planes
from howto100m.features.tuning import TUNES
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Outcome

log = logging.getLogger(__name__)

NETWORKS = {"2d": FRAMES_2D, "3d": CLIPS_3D}
"""What each network sees."""
MODES = ("exact", "fast")
HELD = 32
"""Videos that may wait for rows in batches that are not full; beyond, those batches run as is."""
ROOM = 2 << 30
"""Bytes of batches that are not full; beyond, the one that was begun first runs as is.

Planes of 16 frames take 3.3 MB, and every size of frames has a batch of its own.
"""
NONE_YET = np.empty(0, np.float32)
"""A vector that is on its way."""
AHEAD = 2
"""Batches that a GPU may be given before the first one's vectors are fetched."""


@dataclass(frozen=True)
class Settings:
    """How vectors are made.

    `mean` is what the 3D network subtracts (RGB, 0..255). `timeout` and `max_duration` as in
    `Decoding`. `workers` videos are decoded at a time, and PyTorch gets as many threads. `tune`
    says how much is tried on a GPU at the start, to be kept where it is measured to be faster.
    """

    mode: str = "exact"
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 32
    mean: tuple[float, float, float] = resnext101.MEAN
    workers: int = 1
    timeout: float = 120.0
    max_duration: float = 7200.0
    tune: str = "quick"


@dataclass(eq=False)
class Video:
    """A video on its way: the vectors that came back so far, a list of batches a network."""

    id: str
    path: Path
    bytes: int = 0
    vectors: list[list[Vectors]] = field(default_factory=list)
    missing: int = 0
    copy: Future[None] | None = None
    """Of its last row into a batch; the decoder may not use the row's place before it is done."""
    seconds: float = 0.0
    """Its share of the time that the networks took for its batches."""
    form: Form | None = None
    """How it is decoded, where not as all others."""
    end: End | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing of it is on its way any more."""
        return self.end is not None and (self.end.fault is not None or not self.missing)

    def outcome(self) -> Outcome:
        """How it went; a vector with NaN, infinity or a value beyond float16 fails the video."""
        seconds = self.seconds + (self.end.seconds if self.end else 0.0)
        fault = self.end.fault if self.end else None
        with np.errstate(over="ignore"):
            rows = (v.astype(np.float16) for vectors in self.vectors for v in vectors)
            if not fault and not all(np.isfinite(v).all() for v in rows):
                fault = ItemError(Kind.NOT_FINITE, "a vector has NaN, or a value beyond float16")
        if fault:
            return Outcome.of(self.id, fault, seconds=seconds)
        remark = self.end.remark if self.end else ""
        return Outcome(self.id, message=remark, seconds=seconds, bytes=self.bytes)

    def whole(self, network: int) -> Vectors:
        """All its vectors of one network [n, 2048]."""
        return np.stack(self.vectors[network])


@dataclass(eq=False)
class _Batch:
    """Rows of one network and shape that wait for more, and who waits for their vectors."""

    network: int
    planes: Planes | None
    rows: torch.Tensor
    takers: list[tuple[Video, list[Vectors], int]] = field(default_factory=list)
    """Whose each row is, and where its vector goes: batches may come back in another order."""
    copies: list[Future[None]] = field(default_factory=list)

    def add(self, video: Video, row: Row, copiers: ThreadPoolExecutor) -> None:
        place = self.rows[len(self.takers)].numpy()
        video.copy = copiers.submit(np.copyto, place, row.pixels)
        self.copies.append(video.copy)
        found = video.vectors[self.network]
        self.takers.append((video, found, len(found)))
        found.append(NONE_YET)


class Engine:
    """The networks that were asked for, ready to run, and the seconds that everything took."""

    def __init__(self, weights: Mapping[str, Path], settings: Settings):
        """Load the networks (`2d`, `3d`) from their weights' files.

        Raises UserError for wrong weights, mode, device or dtype, or where a network is off by the
        check at the start.
        """
        if settings.mode not in MODES:
            raise UserError(f"unknown mode {settings.mode}: give one of {', '.join(MODES)}")
        if settings.tune not in TUNES:
            raise UserError(f"unknown tune {settings.tune}: give one of {', '.join(TUNES)}")
        began = time.monotonic()
        give_back_memory()
        torch.set_num_threads(settings.workers)
        self.settings = settings
        device = claim_device(settings.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            torch.backends.cuda.matmul.fp32_precision = "ieee"
        dtype = choose_dtype(settings.dtype, device)
        self.names = list(weights)
        self.runners: list[Runner] = []
        self.notes: list[dict[str, str]] = []
        """What a table's metadata say of each network."""
        for name, path in weights.items():
            module = resnet152 if name == "2d" else resnext101
            network = resnet152.load(path) if name == "2d" else resnext101.load(path, settings.mean)
            sampling = NETWORKS[name]
            title, batch_size = module.TITLE, settings.batch_size
            runner = Runner(network, title, sampling, device, dtype, batch_size, settings.tune)
            self.runners.append(runner)
            self.notes.append(
                {
                    "network": module.TITLE,
                    "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "mode": settings.mode,
                    "rate": f"{sampling.rows_per_second:g}",
                    "mean": ",".join(f"{x:g}" for x in network.mean.tolist()),
                    "dtype": str(dtype).removeprefix("torch."),
                    "tuned": ",".join(runner.changes),
                }
            )
        self.form = Form.FAST if settings.mode == "fast" else Form.RGB
        if self.form is Form.RGB and device.type == "cuda":
            if all(exact_on(device, runner.sampling) for runner in self.runners):
                self.form = Form.EXACT
            else:
                log.warning("%s sums otherwise than a CPU: decoders scale frames", device)
        self.spent = {"start": time.monotonic() - began, "decode": 0.0, "wait": 0.0, "copy": 0.0}
        self.began = time.monotonic()

    def vectors_of(self, videos: Sequence[Video]) -> Generator[Video]:
        """The videos in order, each when its vectors, and those of all before it, are there."""
        settings = self.settings
        decoding = Decoding(
            [runner.sampling for runner in self.runners],
            self.form,
            settings.timeout,
            settings.max_duration,
        )
        batches: dict[tuple[int, tuple[int, ...], Planes | None], _Batch] = {}
        running: deque[tuple[Work, _Batch]] = deque()
        following = deque(videos)
        number = min(settings.workers, max(1, len(videos)))
        with ThreadPoolExecutor(number) as copiers, decoders(decoding, number) as pool:
            for video, message in self._messages(videos, pool):
                if isinstance(message, Row):
                    network, pixels, planes = message
                    key = network, pixels.shape, planes
                    if key not in batches:
                        while sum(batch.rows.nbytes for batch in batches.values()) > ROOM:
                            running.append(self._begin(batches.pop(next(iter(batches)))))
                        room = self.runners[network].room(pixels.shape)
                        batches[key] = _Batch(network, planes, room)
                    batches[key].add(video, message, copiers)
                    video.missing += 1
                    if len(batches[key].takers) == settings.batch_size:
                        running.append(self._begin(batches.pop(key)))
                else:
                    video.end = message
                    self.spent["decode"] += message.seconds
                    if sum(v.end is not None and not v.complete for v in following) > HELD:
                        running += [self._begin(batches.pop(key)) for key in list(batches)]
                self._collect(running, AHEAD if self.runners[0].gpu else 0)
                while following and following[0].complete:
                    yield following.popleft()
        running += [self._begin(batch) for batch in batches.values()]
        self._collect(running, 0)
        yield from following

    def report(self, writing: float) -> str:
        """Where the time went since the networks were loaded, in seconds."""
        took = time.monotonic() - self.began
        length = max(r.rows / r.sampling.rows_per_second for r in self.runners)
        copying = sum(r.copying for r in self.runners)
        spent = self.spent | {"copy": self.spent["copy"] + copying, "write": writing}
        parts = [f"{what} {seconds:.1f} s" for what, seconds in spent.items()]
        parts[1:1] = [f"{took:.1f} s in all"]
        return (
            f"{length:.0f} s of video at {length / max(took, 1e-9):.1f} times its speed: "
            + ", ".join([*parts, *map(str, self.runners)])
        )

    def _messages(
        self, videos: Sequence[Video], pool: Sequence[Decoder]
    ) -> Iterator[tuple[Video, Row | End]]:
        """Decode a video with each decoder; give one message of each open video in turn.

        The order of the messages depends on the videos alone, not on which decoder is faster. A
        row's pixels hold until the video's `copy` is done.
        """
        waiting, idle = deque(videos), deque(pool)
        opened: deque[tuple[Video, Decoder]] = deque()
        while waiting or opened:
            while waiting and idle:
                video, decoder = waiting.popleft(), idle.popleft()
                video.vectors = [[] for _ in self.runners]
                decoder.begin(video.path, form=video.form)
                opened.append((video, decoder))
            video, decoder = opened.popleft()
            if video.copy:
                self._wait_for([video.copy])
                video.copy = None
                decoder.free()
            started = time.monotonic()
            message = decoder.receive()
            self.spent["wait"] += time.monotonic() - started
            if isinstance(message, End) and message.changed:
                # Vectors of what came before go to lists that nobody reads.
                self.spent["decode"] += message.seconds
                video.form = Form.RGB
                waiting.appendleft(video)
                idle.append(decoder)
                continue
            yield video, message
            if isinstance(message, Row):
                opened.append((video, decoder))
            else:
                idle.append(decoder)

    def _wait_for(self, copies: Sequence[Future[None]]) -> None:
        started = time.monotonic()
        for copy in copies:
            copy.result()
        self.spent["copy"] += time.monotonic() - started

    def _begin(self, batch: _Batch) -> tuple[Work, _Batch]:
        self._wait_for(batch.copies)
        runner = self.runners[batch.network]
        return runner.begin(batch.rows, len(batch.takers), batch.planes), batch

    def _collect(self, running: deque[tuple[Work, _Batch]], ahead: int) -> None:
        """Hand vectors to their videos, of all batches but the last `ahead`."""
        while len(running) > ahead:
            work, batch = running.popleft()
            vectors = work.result()
            self.runners[batch.network].give_back(batch.rows)
            for (video, found, at), vector in zip(batch.takers, vectors, strict=True):
                video.missing -= 1
                video.seconds += work.seconds / len(vectors)
                if video.end is None or video.end.fault is None:
                    found[at] = vector
