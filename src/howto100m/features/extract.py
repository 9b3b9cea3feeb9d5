"""Features: every video decoded once, both networks, two tables with a vector a row.

Decoders run ahead in threads, a video each, behind bounded queues. The networks take one row of
each open video in turn, so that batches mix videos, and are the same in every run.
"""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Full, Queue
from threading import Event

import numpy as np
import numpy.typing as npt
import torch

from howto100m import tables
from howto100m.devices import choose_device
from howto100m.features import resnet152, resnext101
from howto100m.features.decode import Pixels, rows
from howto100m.features.files import LAYOUT, write_vectors
from howto100m.features.inference import InexactError, Runner, choose_dtype
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D
from howto100m.kinds import ItemError, Kind, Status
from howto100m.shards import (
    Outcome,
    Progress,
    check_failures,
    read_table,
    table_writer,
    write_status,
)

log = logging.getLogger(__name__)

SAMPLINGS = (FRAMES_2D, CLIPS_3D)
TRIAL_FRAME = (224, 298, 3)
QUEUED = 48
"""Rows that a decoder may be ahead: 29 MB of clips a video."""
HELD = 32
"""Videos that may wait for rows in batches that are not full; beyond, those batches run as is."""
Halves = npt.NDArray[np.float16]
Message = tuple[int, Pixels] | ItemError | None
"""A row with its network's position; then, last, what went wrong or None."""


def extract_features(
    media: Path,
    resnet152_weights: Path,
    resnext101_weights: Path,
    output_2d: Path,
    output_3d: Path,
    status: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = 32,
    mean: tuple[float, float, float] = resnext101.MEAN,
    workers: int = 1,
    discard_media: bool = False,
    max_failed: float = 0.5,
) -> None:
    """Run both networks over the videos of a media shard; write its two feature tables.

    `mean` is what the 3D network subtracts (RGB, 0..255). `workers` videos are decoded at a time,
    and PyTorch gets as many threads. Vectors are not normalised; `start` is row / rate, in seconds.
    A video is in both tables or in neither; `discard_media` deletes the files of those that are.
    Raises UserError for wrong weights, device or dtype, or when a network is off by the check at
    the start; StageStopped when more than the share `max_failed` failed.
    """
    began = time.monotonic()
    torch.set_num_threads(workers)
    listed = read_table(media, ["video_id", "path", "bytes"]).to_pylist()
    videos = [_Video(row["video_id"], Path(row["path"]), row["bytes"]) for row in listed]
    where = choose_device(device)
    number = choose_dtype(dtype, where)
    networks = (
        (resnet152.TITLE, resnet152.load(resnet152_weights), TRIAL_FRAME),
        (resnext101.TITLE, resnext101.load(resnext101_weights, mean), resnext101.ROW),
    )
    try:
        runners = [Runner(net, title, row, where, number) for title, net, row in networks]
    except InexactError as error:
        if dtype != "auto":
            raise
        log.warning("%s; float32 takes its place", error)
        number = torch.float32
        runners = [Runner(net, title, row, where, number) for title, net, row in networks]
    files = zip(networks, (resnet152_weights, resnext101_weights), SAMPLINGS, strict=True)
    notes = [
        {
            "network": title,
            "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "mode": "exact",
            "rate": f"{sampling.rows_per_second:g}",
            "mean": ",".join(f"{x:g}" for x in net.mean.tolist()),
            "dtype": str(number).removeprefix("torch."),
            "normalised": "no",
        }
        for (title, net, _), weights, sampling in files
    ]
    ready = time.monotonic()
    spent = {"start": ready - began, "waiting for frames": 0.0, "writing": 0.0}
    outcomes: list[Outcome] = []
    progress = Progress("videos through both networks", len(videos))
    with (
        table_writer(output_2d, tables.FEATURES.with_metadata(notes[0]), **LAYOUT) as writer_2d,
        table_writer(output_3d, tables.FEATURES.with_metadata(notes[1]), **LAYOUT) as writer_3d,
        closing(_finished(videos, runners, batch_size, workers, spent)) as finished,
    ):
        for video in finished:
            outcome = video.outcome()
            if outcome.status is Status.OK:
                started = time.monotonic()
                write_vectors(
                    writer_2d, video.id, np.stack(video.vectors[0]), FRAMES_2D.rows_per_second
                )
                write_vectors(
                    writer_3d, video.id, np.stack(video.vectors[1]), CLIPS_3D.rows_per_second
                )
                spent["writing"] += time.monotonic() - started
            else:
                log.warning("%s: %s: %s", video.id, outcome.kind, outcome.message)
            video.vectors = ([], [])
            outcomes.append(outcome)
            progress.count(outcome)
        write_status(status, outcomes)
        check_failures("features", outcomes, max_failed)
    parts = [f"{what} {seconds:.1f} s" for what, seconds in spent.items()] + [*map(str, runners)]
    length = runners[1].rows / CLIPS_3D.rows_per_second
    took = time.monotonic() - ready
    log.info("%.0f s of video at %.1f times its speed: %s", length, length / took, ", ".join(parts))
    if discard_media:
        for video, outcome in zip(videos, outcomes, strict=True):
            if outcome.status is Status.OK:
                video.path.unlink()


@dataclass(eq=False)
class _Video:
    """A video on its way: its decoder's queue, and the vectors that came back so far."""

    id: str
    path: Path
    bytes: int
    queue: Queue[Message] = field(default_factory=lambda: Queue(QUEUED))
    vectors: tuple[list[Halves], list[Halves]] = field(default_factory=lambda: ([], []))
    missing: int = 0
    ended: bool = False
    fault: ItemError | None = None
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        return self.ended and (self.fault is not None or not self.missing)

    def outcome(self) -> Outcome:
        """How it went; a vector with NaN or infinity fails the video."""
        if not self.fault and not all(np.isfinite(vectors).all() for vectors in self.vectors):
            self.fault = ItemError(Kind.NOT_FINITE, "a vector has NaN, or a value beyond float16")
        if self.fault:
            return Outcome.of(self.id, self.fault, seconds=self.seconds)
        return Outcome(self.id, seconds=self.seconds, bytes=self.bytes)


def _finished(
    videos: Sequence[_Video],
    runners: Sequence[Runner],
    batch_size: int,
    workers: int,
    spent: dict[str, float],
) -> Generator[_Video]:
    """The videos in order, each when its vectors, and those of all before it, are there."""
    batches: dict[tuple[int, tuple[int, ...]], list[tuple[_Video, Pixels]]] = {}

    def run(network: int, shape: tuple[int, ...]) -> None:
        batch = batches.pop((network, shape))
        vectors = runners[network]([row for _, row in batch])
        for (video, _), vector in zip(batch, vectors, strict=True):
            video.missing -= 1
            if not video.fault:
                video.vectors[network].append(vector)

    following = deque(videos)
    with _decoders(videos, workers, spent) as messages:
        for video, message in messages:
            if isinstance(message, tuple):
                network, row = message
                batch = batches.setdefault((network, row.shape), [])
                batch.append((video, row))
                video.missing += 1
                if len(batch) == batch_size:
                    run(network, row.shape)
            else:
                video.ended, video.fault = True, message
                if sum(v.ended and not v.complete for v in following) > HELD:
                    for key in list(batches):
                        run(*key)
            while following and following[0].complete:
                yield following.popleft()
    for key in list(batches):
        run(*key)
    yield from following


@contextmanager
def _decoders(
    videos: Sequence[_Video], workers: int, spent: dict[str, float]
) -> Iterator[Iterator[tuple[_Video, Message]]]:
    """Decode `workers` videos at a time; give one message of each open video in turn.

    The order of the messages depends on the videos alone, not on which decoder is faster.
    """
    stop = Event()

    def messages() -> Iterator[tuple[_Video, Message]]:
        waiting, opened = deque(videos), deque[_Video]()
        while waiting or opened:
            while waiting and len(opened) < workers:
                opened.append(waiting.popleft())
                pool.submit(_decode, opened[-1], stop)
            video = opened.popleft()
            started = time.monotonic()
            message = video.queue.get()
            spent["waiting for frames"] += time.monotonic() - started
            if isinstance(message, tuple):
                opened.append(video)
            yield video, message

    with ThreadPoolExecutor(workers, "decode") as pool:
        try:
            yield messages()
        finally:
            stop.set()


def _decode(video: _Video, stop: Event) -> None:
    """Put a video's rows into its queue, then None or what went wrong; runs in a thread."""
    started, last = time.monotonic(), None
    try:
        for row in rows(video.path, SAMPLINGS):
            if not _put(video.queue, (row.sampling, row.pixels), stop):
                return
    except ItemError as error:
        last = error
    except Exception as error:
        log.exception("%s: unexpected", video.id)
        last = ItemError(Kind.BUG, f"{type(error).__name__}: {error}")
    video.seconds = time.monotonic() - started
    _put(video.queue, last, stop)


def _put(queue: Queue[Message], message: Message, stop: Event) -> bool:
    """Wait for room in the queue; False when nobody reads it any more."""
    while not stop.is_set():
        try:
            queue.put(message, timeout=0.5)
        except Full:
            continue
        return True
    return False
