"""The process that decodes: jobs come in by a socket, rows go out through shared memory.

It imports av and numpy alone, so that it starts at once, and may be killed at any moment: nothing
of it but whole rows reaches the parent. Only `decoders.py` starts it.
"""

import ctypes
import json
import logging
import mmap
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from math import prod
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from howto100m.features.decode import Row, last_second, probe, rows
from howto100m.features.filters import LookChangedError
from howto100m.features.sampling import Form, Pixels, Sampling
from howto100m.kinds import ItemError, Kind

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1


class Room:
    """The shared memory, a part for each sampling, cut into slots that hold a row.

    The parent answers every row, in order, with a byte: its slot is free again.
    """

    def __init__(self, memory: mmap.mmap, pipe: Connection, samplings: int):
        self.pipe = pipe
        self.parts = np.frombuffer(memory, np.uint8).reshape(samplings, -1)
        self.free: list[list[int]] = [[] for _ in self.parts]
        self.shapes: list[tuple[int, ...]] = [() for _ in self.parts]
        self.sent: deque[tuple[int, int]] = deque()

    def allot(self, part: int, shape: tuple[int, ...]) -> Pixels:
        """Room for a row of a sampling, in the shared memory; waits where all of it is taken."""
        size = prod(shape)
        if not self.shapes[part]:
            self.shapes[part] = shape
            self.free[part] = list(range(0, self.parts[part].size - size + 1, size))
            if not self.free[part]:
                raise ItemError(Kind.TOO_LARGE, f"{size} bytes a row of {shape}")
        if shape != self.shapes[part]:
            raise ItemError(Kind.CORRUPT, f"rows of shape {shape} after {self.shapes[part]}")
        while not self.free[part]:
            self.answered()
        start = self.free[part].pop()
        return self.parts[part, start : start + size].reshape(shape)

    def hand_over(self, row: Row) -> None:
        """Tell the parent of a row that is full."""
        start = row.pixels.ctypes.data - self.parts[row.sampling].ctypes.data
        self.sent.append((row.sampling, start))
        place = {"sampling": row.sampling, "start": start, "shape": row.pixels.shape}
        send(self.pipe, **place, planes=row.planes and asdict(row.planes))

    def answered(self) -> None:
        """Wait until the parent has taken the oldest row that was sent."""
        self.pipe.recv_bytes()
        part, start = self.sent.popleft()
        self.free[part].append(start)


def decode(job: dict[str, Any], memory: mmap.mmap, pipe: Connection) -> dict[str, Any]:
    """Send the rows of a video; return the last message, which says how it went.

    Raises EOFError or ConnectionError when the parent is gone.
    """
    started = time.process_time()
    samplings = [Sampling(**sampling) for sampling in job["samplings"]]
    room = Room(memory, pipe, len(samplings))
    remarks: list[str] = []

    def send_rows() -> None:
        for row in rows(
            Path(job["path"]),
            samplings,
            form=Form(job["form"]),
            max_duration=job["max_duration"],
            remark=remarks.append,
            allot=room.allot,
        ):
            room.hand_over(row)

    changed = False
    try:
        fault = fault_of(send_rows)
    except LookChangedError:
        fault, changed = None, True
    seconds = time.process_time() - started
    while room.sent:
        room.answered()
    said = {"remark": "; ".join(remarks), "fault": fault, "changed": changed}
    return {"end": True, "seconds": seconds} | said


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """What a video's head says, or when its last picture ends; the last message as of `decode`."""
    found: list[Any] = []

    def look() -> None:
        path = Path(job["path"])
        found.append(asdict(probe(path)) if job["work"] == "probe" else last_second(path))

    return {"fault": fault_of(look), "answer": found[0] if found else None}


def fault_of(work: Callable[[], None]) -> dict[str, str] | None:
    """Do the work; say what was wrong with the video. Raises as `decode`, and LookChangedError."""
    try:
        work()
    except ItemError as error:
        return {"kind": error.kind, "message": error.message}
    except (EOFError, ConnectionError, LookChangedError):
        raise
    except Exception as error:
        log.exception("unexpected")
        return {"kind": Kind.BUG, "message": f"{type(error).__name__}: {error}"}
    return None


def send(pipe: Connection, **message: Any) -> None:
    """Send a message as JSON: whoever reads it need not trust this process."""
    pipe.send_bytes(json.dumps(message).encode())


def main(parent: int, pipe_fd: int, memory_fd: int) -> None:
    """Decode one video after the other until the parent closes the socket, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    pipe = Connection(pipe_fd)
    memory = mmap.mmap(memory_fd, 0)
    try:
        while True:
            job = json.loads(pipe.recv_bytes())
            send(pipe, **(decode(job, memory, pipe) if job["work"] == "decode" else answer(job)))
    except (EOFError, ConnectionError):
        return


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
