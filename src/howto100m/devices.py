"""Which device computes."""

import ctypes
import fcntl
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import torch

from howto100m.kinds import UserError

log = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one. Raises UserError for a device that is not there.

    CUDA_VISIBLE_DEVICES says which GPU is the first.
    """
    gpu = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {name}: give auto, cpu or cuda")
    if name == "cuda" and not gpu:
        raise UserError("device cuda, but PyTorch sees no GPU: set device to auto or cpu")
    return torch.device("cpu" if name == "cpu" or not gpu else "cuda")


def claim_device(name: str) -> torch.device:
    """As `choose_device`, but of several GPUs the first that no other process has claimed.

    Jobs that run side by side on one machine so take a GPU each of those that
    CUDA_VISIBLE_DEVICES names. The claim holds until this process ends.
    """
    place = choose_device(name)
    if place.type == "cpu":
        return place
    for number in range(torch.cuda.device_count()):
        if _claim(str(torch.cuda.get_device_properties(number).uuid)):
            return torch.device("cuda", number)
    log.warning("every GPU is claimed by another process: sharing the first")
    return torch.device("cuda", 0)


def keep_memory() -> None:
    """Let this process keep what it frees: big tensors then come without page faults.

    glibc gives every block above 32 MiB back to the system and asks for it anew, which costs a CPU
    more than a pass over the block (measured: a cast of 64 MiB takes a quarter of the time with
    this; training at d = 4096 holds 2.9 GiB at most in place of 2.8). Elsewhere (musl, macOS) it
    does nothing.
    """
    _mallopt(_M_MMAP_THRESHOLD, _MOST)
    _mallopt(_M_TRIM_THRESHOLD, _MOST)


def give_back_memory() -> None:
    """Let this process give back what is large when it is freed, and keep it off the heap.

    Small things that outlive their batches, as vectors do, would cut the heap to pieces.
    """
    _mallopt(_M_MMAP_THRESHOLD, _LARGE)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""
_LARGE, _MOST = 4 << 20, 2**31 - 1


def _mallopt(option: int, value: int) -> None:
    """Set an option of malloc, where the C library has it."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(option, value)


def _claim(gpu: str) -> bool:
    """Lock a GPU's file, which stays open as long as this process; False where another has it."""
    path = Path(tempfile.gettempdir(), f"howto100m-{os.getuid()}-{gpu}.lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True
