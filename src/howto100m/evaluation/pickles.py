"""Pickles and PyTorch files of strangers, read as data: arrays and plain containers, no code."""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from howto100m.kinds import UserError


def read_pickle(path: Path) -> Any:
    """What a pickle holds: dicts, lists, tuples, sets, texts, numbers and numpy arrays of them.

    Text of Python 2 is read as Latin-1. Raises UserError that names the file, and whatever else it
    asks for (a class, a function); nothing of that is imported or called.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the benchmark's files") from None
    except _Refused as refused:
        raise UserError(
            f"{path} asks for {refused}: refused, since only arrays and plain containers are read"
        ) from None
    except Exception as error:  # damage shows in any opcode
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path} is no whole pickle ({reason})") from None


def read_tensors(path: Path) -> Any:
    """What a PyTorch file holds, tensors on the CPU; torch refuses all but tensors and containers.

    Raises UserError when the file is missing, damaged or holds something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the benchmark's files") from None
    except Exception as error:  # a bad file fails in the unpickler or the zip reader
        lines = [line for line in str(error).split("\n") if "GLOBAL" in line] or [str(error)]
        reason = " ".join(lines[0].split())[:200]
        raise UserError(f"{path} holds more than tensors, or is damaged: {reason}") from None


class _Refused(Exception):  # noqa: N818 - an answer, not a mistake
    pass


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes; no other codec, since some unpack what was compressed."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"the codec {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Knows what numpy needs to rebuild an array, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The callable of that name. Raises _Refused when it is none of the few."""
        known = _known()
        if (module, name) not in known:
            raise _Refused(f"{module}.{name}")
        return known[module, name]


def _known() -> Mapping[tuple[str, str], Callable[..., Any]]:
    """What may be called: numpy's own, under the names that its versions have written."""
    sample = np.zeros(1)
    known: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _encode,
    }
    for core in ("numpy.core", "numpy._core"):
        for module, name, made in (
            ("multiarray", "_reconstruct", sample.__reduce__()),
            ("multiarray", "scalar", sample[0].__reduce__()),
            ("numeric", "_frombuffer", sample.__reduce_ex__(5)),
        ):
            known[f"{core}.{module}", name] = cast("Callable[..., Any]", made[0])
    for module in ("builtins", "__builtin__"):
        known |= {(module, kind.__name__): kind for kind in (set, frozenset, bytearray, complex)}
    return known
