"""H-Net for MNIST-rot: complex maps of the rotation orders 0 and 1 (Worrall et al., CVPR 2017: 1.69% error).

Seven 5x5 harmonic convolutions with zero padding 2, of 8, 8, 16, 16, 32, 32 and 10 complex channels of each order, the
last without phases; after those of odd number the modulus is cut off by a ReLU with bias, after those of even number it
is batch-normalised first; 2x2 mean pooling after the second and the fourth. The logits are the moduli of the last maps,
averaged over space and summed over the orders, plus a bias: they do not change when the image turns. For quarter turns
this is exact.
"""

import torch
from torch import Tensor, nn

from pdoconv.nn import AvgPool2d, NormActivation, NormPool, Sequential
from pdoconv.nn.harmonic import HarmonicConv2d, harmonic_type
from pdoconv.nn.magnitude import MagnitudeBatchNorm2d
from pdoconv.pointgroups import so2


def hnet(
    *,
    classes: int = 10,
    widths: tuple[int, ...] = (8, 16, 32),
    kernel_size: int = 5,
    rings: int = 4,
    max_order: int = 1,
) -> Sequential:
    """Return the network: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        classes: Number of classes.
        widths: Complex channels of each order in every pair of layers; the maps are halved between the pairs.
        kernel_size: Odd side of the kernels.
        rings: Rings of each filter.
        max_order: Largest rotation order of the maps. With 0 the filters are round. The published order 1 is the
            largest with filters that the grid carries at every angle.

    >>> sum(p.numel() for p in hnet().parameters())
    22826
    """
    incoming = so2().trivial(1)
    layers: list[nn.Module] = []
    for width in widths:
        hidden = harmonic_type(width, max_order)
        layers += [AvgPool2d(incoming, 2)] if layers else []
        activation = NormActivation(hidden)
        nn.init.zeros_(activation.get_parameter("bias"))
        layers += [HarmonicConv2d(incoming, hidden, kernel_size, rings=rings, padding="same"), activation]
        layers += [HarmonicConv2d(hidden, hidden, kernel_size, rings=rings, padding="same")]
        layers += [MagnitudeBatchNorm2d(hidden, eps=1e-3)]
        incoming = hidden
    scores = harmonic_type(classes, max_order)
    layers += [HarmonicConv2d(incoming, scores, kernel_size, rings=rings, padding="same", phase=False)]
    return Sequential(*layers, NormPool(scores), nn.AdaptiveAvgPool2d(1), nn.Flatten(), SumOfOrders(classes))


class SumOfOrders(nn.Module):
    """Sum over the rotation orders and add a bias: `(batch, orders * classes)` to `(batch, classes)`.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        """Make the bias."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map pooled moduli, the classes of order 0 first, to logits."""
        return torch.unflatten(x, 1, (-1, self.bias.numel())).sum(1) + self.bias


def declared_parameters(net: nn.Module) -> int:
    """Return how many parameters the authors' code declares for a network: it has sets of order -M to M, uses 0 to M.

    >>> declared_parameters(hnet())
    34066
    """
    unused = 0
    for layer in net.modules():
        if isinstance(layer, HarmonicConv2d):
            own = sum(p.numel() for p in layer.parameters())
            unused += own // len(layer.orders) * sum(order > 0 for order in layer.orders)  # those of -m
    return sum(p.numel() for p in net.parameters()) + unused
