"""Which device computes."""

import torch

from howto100m.kinds import UserError


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
