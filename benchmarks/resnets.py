"""Pre-activation ResNets for CIFAR in every library: C8 with 5x5 kernels, and ordinary ones beside them.

The layout is that of `pdoconv.models.PreActResNet`, layout "authors": a convolution, three stages of units (BatchNorm,
ReLU, convolution, twice, added to the input or to its 1x1 convolution), stride 2 into the second and the third stage,
BatchNorm, ReLU, the mean over space, one linear layer. `"plain"` has the channels and kernels of the equivariant
network, `"z2"` about its parameters with 3x3 kernels. Imports nothing but torch until a system is asked for, and then
that system's library alone.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from peer_packages import load
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ORDER, SIDE, CHANNELS, CLASSES = 8, 32, 3, 10
OURS = ("auto", "dense")
SYSTEMS = (*OURS, "escnn", "plain", "z2")


@dataclass(frozen=True)
class Network:
    """A network of C8 and its Z2 twin.

    Attributes:
        widths: Regular fields of each stage, 5x5 kernels.
        z2_widths: Channels of each stage of the Z2 network, 3x3 kernels.
        units: Units of each stage.
        filters: Family of this library's filters.
        batch: Images of a step.
    """

    widths: tuple[int, ...]
    z2_widths: tuple[int, ...]
    units: int
    filters: str
    batch: int


NETWORKS = {
    "resnet44": Network((11, 23, 45), (32, 64, 128), units=7, filters="paper", batch=16),
    "narrow": Network((4, 8, 16), (16, 32, 64), units=1, filters="gaussian", batch=32),
}


def import_package(system: str) -> None:
    """Import what the system needs."""
    if system in OURS:
        import pdoconv as pdoconv
    elif system == "escnn":
        load("escnn.gspaces")
        load("escnn.nn")


def build(system: str, network: Network) -> nn.Module:
    """Return the network of a system, from images `(batch, 3, 32, 32)` to logits `(batch, 10)`.

    Raises:
        ImportError: If the system's library is not installed.
        ValueError: If the system is unknown.
    """
    if system not in SYSTEMS:
        raise ValueError(f"Unknown system {system!r}: expected one of {SYSTEMS}.")
    import_package(system)
    if system in OURS:
        return _ours(network, system)
    if system == "escnn":
        return _escnn(network)
    if system == "plain":
        return plain([ORDER * width for width in network.widths], network.units, kernel_size=5)
    return plain(network.z2_widths, network.units, kernel_size=3)


class Training:
    """The network with random images, to be trained by gradient descent with momentum, or run."""

    def __init__(self, net: nn.Module, batch: int) -> None:
        """Draw the images and labels."""
        self.net = net
        self.images, self.labels = torch.randn(batch, CHANNELS, SIDE, SIDE), torch.randint(CLASSES, (batch,))
        self.optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def step(self) -> None:
        """Make one step."""
        loss = nn.functional.cross_entropy(self.net(self.images), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def infer(self) -> None:
        """Go forward alone."""
        with torch.no_grad():
            self.net(self.images)


def convolution_gflops(net: nn.Module) -> dict[str, float]:
    """Return the work of torch's convolutions on one image, in 1e9 multiplications and additions.

    Networks of the same layout agree to the unit if they do all their work there.
    """
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, CHANNELS, SIDE, SIDE))
    return {"convolution_gflops": counter.get_flop_counts()["Global"].get(torch.ops.aten.convolution, 0) / 1e9}


class Unit(nn.Module):
    """A residual unit of any library's layers."""

    def __init__(self, preactivation: nn.Module, residual: nn.Module, shortcut: nn.Module | None) -> None:
        """Keep the parts."""
        super().__init__()
        self.preactivation, self.residual, self.shortcut = preactivation, residual, shortcut

    def forward(self, x: Any) -> Any:
        """Map a tensor of the library, channels and side as the convolutions say."""
        active = self.preactivation(x)
        return (x if self.shortcut is None else self.shortcut(active)) + self.residual(active)


class ResNet(nn.Module):
    """Layers of any library, then the mean over space and a linear layer."""

    def __init__(
        self, features: nn.Module, channels: int, wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor]
    ) -> None:
        """Keep the layers; `wrap` and `unwrap` make the library's tensors and take them apart."""
        super().__init__()
        self.features, self.classifier = features, nn.Linear(channels, CLASSES)
        self.wrap, self.unwrap = wrap, unwrap

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        logits: Tensor = self.classifier(self.unwrap(self.features(self.wrap(x))).mean((2, 3)))
        return logits


def layers(
    conv: Callable[[Any, Any, int, int], nn.Module],
    norm: Callable[[Any], nn.Module],
    relu: Callable[[Any], nn.Module],
    image: Any,
    stages: list[Any],
    units: int,
    kernel_size: int,
) -> nn.Sequential:
    """Return all layers before the mean; `conv` is given both types, the kernel's side and the stride."""
    found, field = [conv(image, stages[0], kernel_size, 1)], stages[0]
    for stage, out in enumerate(stages):
        for number in range(units):
            stride = 2 if stage and not number else 1
            first, second = conv(field, out, kernel_size, stride), conv(out, out, kernel_size, 1)
            residual = nn.Sequential(first, norm(out), relu(out), second)
            shortcut = conv(field, out, 1, stride) if stride > 1 else None
            found.append(Unit(nn.Sequential(norm(field), relu(field)), residual, shortcut))
            field = out
    return nn.Sequential(*found, norm(field), relu(field))


def plain(widths: list[int] | tuple[int, ...], units: int, kernel_size: int) -> ResNet:
    """Return the ordinary network of torch's layers, of so many channels in each stage."""
    features = layers(
        lambda i, o, k, s: nn.Conv2d(i, o, k, stride=s, padding=k // 2, bias=False),
        nn.BatchNorm2d,
        lambda channels: nn.ReLU(),
        CHANNELS,
        list(widths),
        units,
        kernel_size,
    )
    return ResNet(features, widths[-1], wrap=lambda x: x, unwrap=lambda y: y)


def _ours(network: Network, method: str) -> nn.Module:
    from pdoconv import cyclic, filters
    from pdoconv.models import PreActResNet
    from pdoconv.nn import GroupConv2d

    family = filters.family(network.filters)
    net = PreActResNet(cyclic(ORDER), widths=network.widths, units=network.units, filters=family, classes=CLASSES)
    if method == "auto":
        return net
    for layer in net.modules():
        if isinstance(layer, GroupConv2d):
            layer.method = "dense"
    return deepcopy(net)  # copies of layers find their way of computing anew


def _escnn(network: Network) -> nn.Module:
    gspaces, lib = load("escnn.gspaces"), load("escnn.nn")
    space = gspaces.rot2dOnR2(ORDER)
    image = lib.FieldType(space, CHANNELS * [space.trivial_repr])
    stages = [lib.FieldType(space, width * [space.regular_repr]) for width in network.widths]
    features = layers(
        lambda i, o, k, s: lib.R2Conv(i, o, kernel_size=k, stride=s, padding=k // 2, bias=False),
        lib.InnerBatchNorm,
        lib.ReLU,
        image,
        stages,
        network.units,
        kernel_size=5,
    )
    return ResNet(features, stages[-1].size, wrap=lambda x: lib.GeometricTensor(x, image), unwrap=lambda y: y.tensor)
