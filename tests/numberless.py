"""A GPU's tensors without the GPU: they have a device and a shape, and no numbers.

What mixes them with a CPU's fails as it would on a GPU; what needs a number to go on, for which a
CPU would wait for the GPU, fails too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode

CUDA = torch.device("cuda", 0)


def moved(module: nn.Module, mode: FakeTensorMode) -> None:
    """A module whose parameters and buffers are a GPU's, without their numbers."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    there = FakeTensor(mode, tensor.detach().to("meta"), CUDA)
                    held[name] = there.requires_grad_(tensor.requires_grad)  # type: ignore


@contextmanager
def numberless() -> Iterator[FakeTensorMode]:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode
