"""3D ResNeXt-101: one vector for 16 frames of 112 x 112 (Hara et al., CVPR 2018)."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from howto100m.features.checkpoint import fit
from howto100m.features.networks import Extractor

TITLE = "3D ResNeXt-101"
MEAN, STD = (110.6, 103.2, 96.3), (1.0, 1.0, 1.0)
"""As the official extractor; the weights were trained with mean 114.7748, 107.7354, 99.4750."""
ROW = (16, 112, 112, 3)
CARDINALITY = 32
EXPANSION = 2
BLOCKS = (3, 4, 23, 3)
KINETICS_CLASSES = 400


class Block(nn.Module):
    """1x1x1, grouped 3x3x3 that carries the stride, 1x1x1, and a shortcut around them."""

    def __init__(self, inputs: int, width: int, stride: int, project: bool):
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, 1, groups=CARDINALITY, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
            )
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, t, h, w] to [B, 2 * width, t', h', w']."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(y + shortcut)  # type: ignore[no-any-return]


class ResNeXt101(nn.Module):
    """The layers under the names of the official file: 626 entries, 9.57 GMAC a clip.

    48,340,816 parameters, of which the classifier `fc` holds 819,600.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        inputs = 64
        for level, blocks in enumerate(BLOCKS):
            width = 128 * 2**level
            layer = nn.Sequential()
            for position in range(blocks):
                stride = 2 if level and not position else 1
                layer.append(Block(inputs, width, stride, project=not position))
                inputs = width * EXPANSION
            self.add_module(f"layer{level + 1}", layer)
        self.fc = nn.Linear(inputs, KINETICS_CLASSES)


def build(mean: Sequence[float] = MEAN) -> Extractor:
    """The network with random weights: uint8 clips [B, 16, 112, 112, 3] to [B, 2048].

    `mean` is subtracted from the RGB values 0..255.
    """
    return Extractor(ResNeXt101(), mean, STD, shape=ROW)


def load(path: Path, mean: Sequence[float] = MEAN) -> Extractor:
    """The network with the weights of a file, in eval mode.

    Takes `resnext101.pth` (626 entries, or 522 without batch counters) and Hara's checkpoint
    `resnext-101-kinetics.pth`. Raises UserError when the file holds other weights.
    """
    network = build(mean)
    fit(network.net, path, TITLE)
    return network.eval()
