"""DnCNN: a plain network that learns what to take away from a degraded image (Zhang et al., IEEE TIP 2017).

Convolution and ReLU, then convolution, BatchNorm and ReLU, then one more convolution; all 3x3 with zero padding and no
bias. DnCNN-S has 17 layers of 64 channels. The default here is a small one, to compare with small networks.
"""

import torch
from torch import nn

from pdoconv.models.correction import Correction


def dncnn(*, depth: int = 7, width: int = 32, in_channels: int = 1, out_channels: int = 1) -> Correction:
    """Return the network, from images `(batch, in_channels, height, width)` in [0, 1] to `(batch, out_channels, ...)`.

    Args:
        depth: Number of convolutions, at least 3.
        width: Channels between them.
        in_channels: Channels of the input; more than `out_channels` for a mask beside the image.
        out_channels: Channels of the output, corrections of the first ones of the input.

    Raises:
        ValueError: If `depth` or `width` is too small, or there are more channels in the output than in the input.

    >>> sum(p.numel() for p in dncnn().parameters())
    46976
    >>> sum(p.numel() for p in dncnn(depth=17, width=64).parameters())  # DnCNN-S
    556032
    """
    if depth < 3 or width < 1:
        raise ValueError(f"dncnn: expected depth >= 3 and width >= 1, received {depth} and {width}.")
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    last = nn.Conv2d(width, out_channels, 3, padding=1, bias=False)
    layers.append(last)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        last.weight.mul_(0.1)  # small corrections at first: a few hundred steps of training saved
    return Correction(nn.Sequential(*layers), in_channels, out_channels)
