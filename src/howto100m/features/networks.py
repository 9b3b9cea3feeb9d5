"""What both networks share: pixels in, one vector a row out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

TRUNK = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class Extractor(nn.Module):
    """A residual network with the official extractor's preprocessing, pooled over its last map.

    `net` keeps the names of its official weights file, the classifier included, which is not run.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float = 1.0,
        shape: tuple[int, ...] | None = None,
    ):
        super().__init__()
        self.net, self.scale, self.shape = net, scale, shape
        self.spare = 0
        """Channels of zeros behind RGB, for a first convolution that was made to take them."""
        self.channels_first = False
        """Whether maps lie as PyTorch's by default, and not as pictures do."""
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def normalise(self, rows: Tensor) -> Tensor:
        """uint8 [B, ..., 3] to float32 [B, 3, ...]: (x / scale - mean) / (std + 1e-8)."""
        x = rows.to(torch.float32, copy=True)
        x = (x.div_(self.scale).sub_(self.mean)).div_(self.std + 1e-8)
        return x.movedim(-1, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """uint8 RGB rows [B, h, w, 3] or [B, t, h, w, 3] to float32 [B, 2048]."""
        if self.shape and rows.shape[1:] != self.shape:
            raise ValueError(f"rows of shape {tuple(rows.shape[1:])}, not {self.shape}")
        x = self.normalise(rows).to(next(self.net.parameters()).dtype)
        if self.spare:
            x = nn.functional.pad(x, (0, 0) * (x.ndim - 2) + (0, self.spare))
        if self.channels_first:
            x = x.contiguous()
        for name in TRUNK:
            x = getattr(self.net, name)(x)
        return x.mean(dim=tuple(range(2, x.ndim)), dtype=torch.float32)
