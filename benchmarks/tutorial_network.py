"""One network, six convolutions deep, in every library: that of escnn's tutorial on MNIST-rot, without its mask.

Images of 29x29 pixels, regular fields of C_n, BatchNorm and ReLU behind each convolution, a blur with step 2 behind
the second and the fourth, one with step 1 behind the sixth that leaves a single pixel, the largest value of each field,
and two linear layers. The plain network has as many channels everywhere. Imports nothing but torch until a system is
asked for, and then that system's library alone.
"""

from collections.abc import Callable
from typing import Any

import torch
from peer_packages import load, shim_rbf
from torch import Tensor, nn

SIDE, CLASSES, HIDDEN = 29, 10, 64
FIELDS = {8: (24, 48, 48, 96, 96, 64), 16: (12, 24, 24, 48, 48, 32)}  # group order -> fields of each layer
KERNELS = (7, 5, 5, 5, 5, 5)
PADDINGS = (1, 2, 2, 2, 2, 1)
POOLS = {2: {"stride": 2}, 4: {"stride": 2}, 6: {"stride": 1, "padding": 0}}  # behind which layer
SIGMA = 0.66
OURS = ("auto", "dense", "derivatives", "fourier")
PEERS = {"escnn": ("escnn", "R2Conv"), "e2cnn": ("e2cnn", "R2Conv"), "e2cnn-diffop": ("e2cnn", "R2Diffop")}
SYSTEMS = (*OURS, "plain", *PEERS)


def package(system: str) -> str:
    """Return the package that a system needs."""
    return "torch" if system == "plain" else "pdoconv" if system in OURS else PEERS[system][0]


def import_package(system: str) -> None:
    """Import what the system needs."""
    if system in OURS:
        import pdoconv as pdoconv
    elif system != "plain":
        if package(system) == "e2cnn":
            shim_rbf(needed=False)
        load(f"{package(system)}.gspaces")
        load(f"{package(system)}.nn")


def fields(order: int, scale: float = 1.0) -> list[int]:
    """Return the regular fields of each layer; a group that is not in `FIELDS` has as many channels as C8."""
    widths = FIELDS.get(order, tuple(8 * n // order for n in FIELDS[8]))
    return [max(1, round(scale * n)) for n in widths]


def build(system: str, order: int = 8, scale: float = 1.0) -> nn.Module:
    """Return the network of a system, from images `(batch, 1, 29, 29)` to logits `(batch, 10)`.

    Raises:
        ImportError: If the system's library is not installed.
        ValueError: If the system is unknown.
    """
    if system not in SYSTEMS:
        raise ValueError(f"Unknown system {system!r}: expected one of {SYSTEMS}.")
    import_package(system)
    widths = fields(order, scale)
    body: nn.Module
    if system in OURS:
        body = _ours(order, widths, system)
    elif system == "plain":
        body = _plain(order, widths)
    else:
        body = _Wrapped(*_peer(system, order, widths))
    return nn.Sequential(
        body,
        nn.Flatten(),
        nn.Linear(widths[-1], HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.ELU(inplace=True),
        nn.Linear(HIDDEN, CLASSES),
    )


class Training:
    """The network with random images, to be trained by Adam or run."""

    def __init__(self, net: nn.Module, batch: int) -> None:
        """Draw the images and labels."""
        self.net = net
        self.images, self.labels = torch.randn(batch, 1, SIDE, SIDE), torch.randint(CLASSES, (batch,))
        self.optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

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


def _stack(
    conv: Callable[[int, int, int], nn.Module],
    norm: Callable[[int], nn.Module],
    relu: Callable[[int], nn.Module],
    pool: Callable[..., nn.Module],
    group_pool: Callable[[int], nn.Module],
) -> list[nn.Module]:
    """Return the layers, made from their numbers, 1 to 6."""
    layers: list[nn.Module] = []
    for number, (kernel, padding) in enumerate(zip(KERNELS, PADDINGS, strict=True), 1):
        layers += [conv(number, kernel, padding), norm(number), relu(number)]
        if number in POOLS:
            layers.append(pool(number, **POOLS[number]))
    return [*layers, group_pool(len(KERNELS))]


def _ours(order: int, widths: list[int], method: str) -> nn.Module:
    import pdoconv as pdo

    group = pdo.cyclic(order)
    types = [group.trivial(1), *(group.regular(n) for n in widths)]
    return pdo.Sequential(
        *_stack(
            lambda i, k, p: pdo.PDOConv2d(types[i - 1], types[i], k, padding=p, bias=False, method=method),
            lambda i: pdo.BatchNorm2d(types[i]),
            lambda i: nn.ReLU(inplace=True),
            lambda i, **geometry: pdo.BlurPool2d(types[i], sigma=SIGMA, **geometry),
            lambda i: pdo.GroupPool(types[i]),
        )
    )


def _plain(order: int, widths: list[int]) -> nn.Module:
    channels = [1, *(order * n for n in widths)]
    return nn.Sequential(
        *_stack(
            lambda i, k, p: nn.Conv2d(channels[i - 1], channels[i], k, padding=p, bias=False),
            lambda i: nn.BatchNorm2d(channels[i]),
            lambda i: nn.ReLU(inplace=True),
            lambda i, **geometry: _Blur(channels[i], **geometry),
            lambda i: _Largest(order),
        )
    )


def _peer(system: str, order: int, widths: list[int]) -> tuple[nn.Module, Any]:
    """Return the layers between the library's own tensors, and what makes such a tensor."""
    name, layer = PEERS[system]
    gspaces, lib = load(f"{name}.gspaces"), load(f"{name}.nn")
    space = (gspaces.rot2dOnR2 if name == "escnn" else gspaces.Rot2dOnR2)(order)
    types = [lib.FieldType(space, [space.trivial_repr])]
    types += [lib.FieldType(space, n * [space.regular_repr]) for n in widths]
    body = lib.SequentialModule(
        *_stack(
            lambda i, k, p: getattr(lib, layer)(types[i - 1], types[i], kernel_size=k, padding=p, bias=False),
            lambda i: lib.InnerBatchNorm(types[i]),
            lambda i: lib.ReLU(types[i], inplace=True),
            lambda i, **geometry: lib.PointwiseAvgPoolAntialiased(types[i], sigma=SIGMA, **geometry),
            lambda i: lib.GroupPooling(types[i]),
        )
    )
    return body, lambda x: lib.GeometricTensor(x, types[0])


class _Wrapped(nn.Module):
    def __init__(self, body: nn.Module, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body, self.wrap = body, wrap

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(self.wrap(x)).tensor
        return result


class _Blur(nn.Module):
    """A Gaussian of 5x5 taps on every channel, then every `stride`-th pixel."""

    taps: Tensor

    def __init__(self, channels: int, stride: int, padding: int = 2) -> None:
        super().__init__()
        x = torch.arange(5) - 2.0
        line = torch.exp(-(x**2) / (2 * SIGMA**2))
        square = torch.outer(line, line)
        self.stride, self.padding = stride, padding
        self.register_buffer("taps", (square / square.sum()).expand(channels, 1, 5, 5).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.taps, stride=self.stride, padding=self.padding, groups=x.shape[1])


class _Largest(nn.Module):
    """The largest of every `order` channels."""

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.order)).amax(2)
