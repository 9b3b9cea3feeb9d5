"""Decoding in processes of their own, which a video that hangs or kills them cannot outlive.

A worker writes rows into memory that it shares with this process, as far ahead as that holds.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from mmap import PAGESIZE, mmap
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from howto100m.features.decode import Row, VideoInfo
from howto100m.features.sampling import Form, Pixels, Planes, Sampling
from howto100m.kinds import ItemError, Kind

log = logging.getLogger(__name__)

MEMORY = 32 << 20
"""Bytes that a worker's rows of one network may lie in before they are taken: 55 clips, 37 s."""

GRACE = 5.0
"""Seconds that a process may take to end after its socket is closed."""


@dataclass(frozen=True)
class Decoding:
    """What is asked of a decoder.

    `timeout`: seconds that this process waits for a video, beyond those that its frames play.
    `max_duration`: seconds that a video may play.
    """

    samplings: Sequence[Sampling] = ()
    form: Form = Form.RGB
    timeout: float = 120.0
    max_duration: float = 7200.0


@dataclass(frozen=True)
class End:
    """A video's last message: `fault` where it failed, else what is to say about it.

    `seconds` of a processor it took to decode; where it hung or died, seconds waited for it.
    """

    seconds: float
    fault: ItemError | None = None
    remark: str = ""
    changed: bool = False
    """Whether it is to be decoded again, as RGB (`LookChangedError`)."""


class Decoder:
    """A worker process, with one video at a time."""

    def __init__(self, decoding: Decoding):
        self.decoding = decoding
        self.fd = os.memfd_create("rows")
        os.ftruncate(self.fd, max(PAGESIZE, MEMORY * len(decoding.samplings)))
        self.memory = mmap(self.fd, 0)
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self, path: Path, work: str = "decode", form: Form | None = None) -> None:
        """Start the worker on a video, in a new process where the last one is gone.

        `form` is for this video, in place of `Decoding`'s.
        """
        if self.process is None:
            self._launch()
        self.allowed = self.decoding.timeout
        self.waited = 0.0
        job = asdict(self.decoding) | {"path": str(path), "work": work}
        job["form"] = form or self.decoding.form
        try:
            self.pipe.send_bytes(json.dumps(job).encode())
        except ConnectionError:
            log.debug("the decoder is gone; its first message says so")

    def receive(self) -> Row | End:
        """The video's next row, a view that holds until `free`; or its end.

        A video that takes longer than it may, or whose process dies, ends with a fault.
        """
        try:
            message = self._message()
        except ItemError as fault:
            return End(self.waited, fault)
        if "end" in message:
            told = _fault(message), message["remark"], message["changed"]
            return End(message["seconds"], *told)
        position = message["sampling"]
        start = position * MEMORY + message["start"]
        pixels: Pixels = np.ndarray(message["shape"], np.uint8, self.memory, start)
        rate = self.decoding.samplings[position].rows_per_second
        self.allowed += 1 / rate / len(self.decoding.samplings)
        return Row(position, pixels, Planes.of(message["planes"]))

    def probe(self, path: Path) -> VideoInfo:
        """As `decode.probe`. Raises ItemError as that, and where the file hangs or kills it."""
        return VideoInfo(**self._ask(path, "probe"))

    def last_second(self, path: Path) -> float:
        """As `decode.last_second`. Raises ItemError as that, and where the file hangs or kills."""
        return float(self._ask(path, "last_second"))

    def free(self) -> None:
        """Say that the row received last has been copied."""
        try:
            self.pipe.send_bytes(b"+")
        except ConnectionError:
            log.debug("the decoder is gone; its next message says so")

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.pipe.close()
            self.process = None

    def _ask(self, path: Path, work: str) -> Any:
        self.begin(path, work)
        message = self._message()
        if fault := _fault(message):
            raise fault
        return message["answer"]

    def _message(self) -> dict[str, Any]:
        """What the process says next. Raises ItemError where it takes too long or dies."""
        started = time.monotonic()
        try:
            if not self.pipe.poll(max(0.0, self.allowed - self.waited)):
                self.close()
                waited = self.waited + time.monotonic() - started
                raise ItemError(Kind.TIMEOUT, f"no frame for {waited:.0f} s")
            message: dict[str, Any] = json.loads(self.pipe.recv_bytes())
        except (EOFError, ConnectionError):
            raise self._death() from None
        finally:
            self.waited += time.monotonic() - started
        return message

    def _launch(self) -> None:
        self.pipe, theirs = Pipe()
        with theirs:
            fds = theirs.fileno(), self.fd
            command = [sys.executable, "-P", "-m", "howto100m.features.worker"]
            command += map(str, (os.getpid(), *fds))
            self.process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL)

    def _death(self) -> ItemError:
        """Why the process is gone: by a signal it is the file's doing, else a fault of ours."""
        process = self.process
        if process is None:
            return ItemError(Kind.BUG, "the decoder was never there")
        try:
            code = process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return ItemError(Kind.BUG, "the decoder closed its socket")
        finally:
            self.close()
        if code < 0:
            return ItemError(Kind.CORRUPT, f"killed the decoder: {signal.Signals(-code).name}")
        return ItemError(Kind.BUG, f"the decoder ended with exit code {code}")


def _fault(message: dict[str, Any]) -> ItemError | None:
    said = message["fault"]
    return ItemError(Kind(said["kind"]), said["message"]) if said else None


@contextmanager
def decoders(decoding: Decoding, number: int) -> Iterator[list[Decoder]]:
    """So many decoders; their processes end with the block."""
    pool = [Decoder(decoding) for _ in range(number)]
    try:
        yield pool
    finally:
        for decoder in pool:
            decoder.close()
