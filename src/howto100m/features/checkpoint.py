"""Weights files: read as data only, and fitted to a network or refused by name."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from howto100m.kinds import UserError

log = logging.getLogger(__name__)

COUNTER = "num_batches_tracked"
"""Entries that files written before PyTorch 0.4.1 do not have, and that inference does not use."""


def read_state(path: Path, source: str = "") -> dict[str, Tensor]:
    """The tensors of a PyTorch file by name, on the CPU; no code of the file is run.

    A training checkpoint gives its `state_dict`; the `module.` prefix of DataParallel is dropped.
    Raises UserError, naming `source` or the path, when the file is missing or holds anything else.
    """
    name = source or str(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"weights file {name} does not exist: give its path or URL") from None
    except Exception as error:  # a bad file fails in the unpickler, the zip reader or the allocator
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name} is not a PyTorch weights file that can be read: {reason}"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{name} holds no state dict: give a file of named tensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def fit(network: nn.Module, path: Path, what: str) -> None:
    """Load a weights file into the network; only batch counters may be missing.

    Raises UserError naming the first keys that are missing, surplus or of another shape.
    """
    state, wanted = read_state(path), network.state_dict()
    faults = {
        "missing": [k for k in wanted if k not in state and not k.endswith(COUNTER)],
        "surplus": [k for k in state if k not in wanted],
        "of another shape": [k for k in wanted if k in state and state[k].shape != wanted[k].shape],
    }
    if any(faults.values()):
        named = "; ".join(
            f"{len(keys)} {how} ({_first(keys)})" for how, keys in faults.items() if keys
        )
        raise UserError(f"{path} does not hold the weights of {what}: {named}")
    network.load_state_dict(state, strict=False)
    log.info("%s: %d tensors from %s", what, len(state), path)


def _first(keys: list[str], shown: int = 3) -> str:
    return ", ".join(keys[:shown]) + (", ..." if len(keys) > shown else "")
