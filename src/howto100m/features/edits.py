"""Other layers for a network on a GPU, that give the same vectors.

Each edit works in place, and says whether it found anything to change. Which of them pay is for
`tuning` to measure.
"""

import torch
from torch import Tensor, nn

from howto100m.features.networks import Extractor

CHANNELS = 8
"""The first convolution's input gets a multiple of so many, which tensor cores take."""
GROUP = 32
"""Channels that a group holds at least once groups are merged."""


def channels_first(network: Extractor) -> bool:
    """Lay out the input and convolutions' weights, and with them all maps, by PyTorch's default."""
    network.channels_first = True
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.to(memory_format=torch.contiguous_format)
    return True


def merge_groups(network: Extractor) -> bool:
    """Make fewer groups of a grouped convolution, each with weights of 0 between its parts.

    More multiplications, but of a size that tensor cores take.
    """
    merged = False
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.groups > 1:
            outputs, inputs, *size = layer.weight.shape
            parts = min(layer.groups, -(-GROUP // inputs))
            if layer.groups % parts:
                continue
            merged = True
            whole = layer.weight.new_zeros(outputs, parts * inputs, *size)
            per_group = outputs // layer.groups
            for group in range(layer.groups):
                rows = slice(group * per_group, (group + 1) * per_group)
                first = group % parts * inputs
                whole[rows, first : first + inputs] = layer.weight[rows]
            layer.groups //= parts
            layer.weight = _parameter(whole, _channels_last(layer.weight))
    return merged


def pad_channels(network: Extractor) -> bool:
    """Give the first convolution channels of zeros behind RGB."""
    conv = network.net.conv1
    if isinstance(conv, nn.Conv2d | nn.Conv3d) and conv.in_channels % CHANNELS:
        network.spare = -conv.in_channels % CHANNELS
        around = (0, 0) * (conv.weight.ndim - 2)
        padded = nn.functional.pad(conv.weight, (*around, 0, network.spare))
        conv.weight = _parameter(padded, _channels_last(conv.weight))
        conv.in_channels += network.spare
    return network.spare > 0


def fold_time(network: Extractor) -> bool:
    """Make the first convolution over clips one over pictures, in place of `pad_channels`.

    The frames under its kernel become channels, 21 for the official stem: fewer multiplications by
    zeros than with padded RGB, by the kind of convolution that libraries do best.
    """
    conv = network.net.conv1
    if not isinstance(conv, nn.Conv3d):
        return False
    network.net.conv1 = TimeFolded(conv, conv.in_channels - network.spare)
    network.spare = 0
    return True


class TimeFolded(nn.Module):
    """A 3D convolution of `channels` maps as a 2D one, with the frames under its kernel as maps."""

    def __init__(self, conv: nn.Conv3d, channels: int):
        super().__init__()
        self.frames = conv.kernel_size[0]
        self.spare = -channels * self.frames % CHANNELS
        self.step, *self.stride = conv.stride
        self.around, *self.padding = (int(side) for side in conv.padding)
        self.last = _channels_last(conv.weight)
        weight = conv.weight[:, :channels].transpose(1, 2).flatten(1, 2)
        weight = nn.functional.pad(weight, (0, 0, 0, 0, 0, self.spare))
        self.weight, self.bias = _parameter(weight, self.last), conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, t, h, w] to [B, outputs, t', h', w'], laid out as the weights were."""
        x = nn.functional.pad(x, (0, 0, 0, 0, self.around, self.around))
        at = 4 if self.last else 2
        frames = list(x.movedim(1, at).unfold(1, self.frames, self.step).unbind(-1))
        shape = list(frames[0].shape)
        shape[at] = self.spare
        maps = torch.cat([*frames, x.new_zeros(shape)], at).flatten(0, 1).movedim(at - 1, 1)
        y = torch.conv2d(maps, self.weight, self.bias, self.stride, self.padding)
        return _laid(y.view(len(x), -1, *y.shape[1:]).transpose(1, 2), self.last)


def _channels_last(weight: Tensor) -> bool:
    return weight.is_contiguous(memory_format=_pictures(weight))


def _laid(maps: Tensor, last: bool) -> Tensor:
    """Channels last, or by PyTorch's default."""
    return maps.contiguous(memory_format=_pictures(maps) if last else torch.contiguous_format)


def _pictures(maps: Tensor) -> torch.memory_format:
    return torch.channels_last if maps.ndim == 4 else torch.channels_last_3d


def _parameter(weight: Tensor, last: bool) -> nn.Parameter:
    return nn.Parameter(_laid(weight, last), requires_grad=False)
