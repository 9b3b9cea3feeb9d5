"""Residual blocks whose convolutions add and clip on their way out, by oneDNN or by cuDNN.

The ReLU, and the sum with the shortcut, are applied while a result is still near the processor. On
a CPU, as separate operations, they take 14 % of ResNet-152's time and 19 % of ResNeXt-101's; the
numbers are the same to the last bit. But the libraries' ReLU makes 0 of NaN, so this is for weights
that were seen to be sound, in formats that activations do not overflow.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from howto100m.features.networks import TRUNK, Extractor


class Convolution(nn.Module):
    """A convolution with its bias, and a ReLU behind it or none, by oneDNN."""

    def __init__(self, conv: nn.Conv2d | nn.Conv3d, relu: bool):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        geometry = (conv.padding, conv.stride, conv.dilation)
        self.padding, self.stride, self.dilation = (
            list(cast("tuple[int, ...]", of)) for of in geometry
        )
        self.groups, self.relu = conv.groups, relu

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, ...] to [B, outputs, ...]."""
        run = torch.ops.mkldnn._convolution_pointwise
        then = "relu" if self.relu else "none"
        return cast("Tensor", run(x, self.weight, self.bias, *self._geometry(), then, [], ""))

    def add_to(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """relu(shortcut + convolution of x), which may be written over the shortcut."""
        run = torch.ops.mkldnn._convolution_pointwise_.binary
        at = shortcut, x, self.weight, self.bias, *self._geometry()
        return cast("Tensor", run(*at, "add", 1.0, "relu", [], ""))

    def _geometry(self) -> tuple[list[int], list[int], list[int], int]:
        return self.padding, self.stride, self.dilation, self.groups


class CudnnConvolution(Convolution):
    """The same by cuDNN; grouped ones, and those without a ReLU, as PyTorch has them."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, ...] to [B, outputs, ...]."""
        geometry = self._geometry()
        if self.relu and self.groups == 1:
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, *geometry)
        run = torch.conv2d if self.weight.ndim == 4 else torch.conv3d
        y = run(x, self.weight, self.bias, *geometry)
        return y.relu_() if self.relu else y

    def add_to(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """relu(shortcut + convolution of x)."""
        given = x, self.weight, shortcut, 1.0, self.bias
        return torch.cudnn_convolution_add_relu(*given, *self._geometry())

    def _geometry(self) -> tuple[list[int], list[int], list[int], int]:
        return self.stride, self.padding, self.dilation, self.groups


class Block(nn.Module):
    """The bottleneck of both networks: three convolutions, and a shortcut around them."""

    def __init__(self, block: Any, kind: type[Convolution]):
        super().__init__()
        self.conv1, self.conv2 = kind(block.conv1, True), kind(block.conv2, True)
        self.conv3 = kind(block.conv3, False)
        down = block.downsample
        self.downsample = nn.Identity() if down is None else kind(down[0], False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, ...] to [B, outputs, ...]; without a downsampling, written over `x`."""
        y = self.conv2(self.conv1(x))
        return self.conv3.add_to(self.downsample(x), y)


def fuse(network: Extractor) -> None:
    """Replace blocks, and the first convolution, by oneDNN's, in place.

    Other modules stay as they are. The batch norms must have been folded into the convolutions.
    """
    net: Any = network.net
    if isinstance(net.conv1, nn.Conv2d | nn.Conv3d):
        net.conv1, net.relu = Convolution(net.conv1, True), nn.Identity()
    _fuse_blocks(net, Convolution)


def fuse_by_cudnn(network: Extractor) -> bool:
    """Replace blocks by cuDNN's, in place, as `fuse`; the first convolution stays as it is.

    There, and for groups, cuDNN's fused kernels can be slower by far (pytorch#68506).
    """
    _fuse_blocks(network.net, CudnnConvolution)
    return True


def _fuse_blocks(net: Any, kind: type[Convolution]) -> None:
    for name in TRUNK:
        layer = getattr(net, name)
        if name.startswith("layer") and isinstance(layer, nn.Sequential):
            setattr(net, name, nn.Sequential(*(Block(block, kind) for block in layer)))
