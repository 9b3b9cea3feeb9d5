"""ResNet-152: one vector a frame, of any size (He et al., CVPR 2016; trained on ImageNet)."""

from pathlib import Path

import torchvision

from howto100m.features.checkpoint import fit
from howto100m.features.networks import Extractor

TITLE = "ResNet-152"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build() -> Extractor:
    """torchvision's network with random weights: uint8 frames [B, h, w, 3] to [B, 2048]."""
    return Extractor(torchvision.models.resnet152(weights=None), MEAN, STD, scale=255.0)


def load(path: Path) -> Extractor:
    """The network with weights in torchvision's layout (`fc` included), in eval mode.

    Raises UserError when the file holds other weights.
    """
    network = build()
    fit(network.net, path, TITLE)
    return network.eval()
