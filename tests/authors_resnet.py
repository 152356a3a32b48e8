"""The residual network of PDO-eConv from its equations, slowly and without the library: NHWC, HWIO, float64.

Filters are turned term by term as polynomials, kernels are filled channel by channel, convolutions are sums over taps.
Channels are `field * |G| + g`; element g = s n + k is R(2 pi k / n) m^s, and every frame is turned by pi/8 first.
"""

from dataclasses import dataclass, field
from math import comb

import numpy as np
import torch
import torch.nn.functional as F

LINE = np.array(
    [[0, 0, 1, 0, 0], [0, -0.5, 0, 0.5, 0], [0, 1, -2, 1, 0], [-0.5, 1, 0, -1, 0.5], [1, -4, 6, -4, 1]]
)  # centred differences of order 0 to 4, on -2..2
MONOMIALS = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (2, 1), (1, 2), (2, 2)]  # orders along x and y


def stencil(a, b):
    """Of the derivative of orders a along x and b along y; rows run down, y up."""
    return LINE[b][::-1, None] * LINE[a]


SMALL = np.stack([stencil(a, b)[1:4, 1:4].ravel() for a, b in MONOMIALS])


def bank(frame):
    """The 5x5 kernel of each tap of a 3x3 template, its operators in a frame: `(9, 5, 5)`."""
    (c, minus), (s, d) = frame  # columns: the frame's own axes
    turned = np.zeros((9, 5, 5))
    for row, (a, b) in enumerate(MONOMIALS):  # (c u + s v)^a (minus u + d v)^b
        for i in range(a + 1):
            for j in range(b + 1):
                factor = comb(a, i) * c ** (a - i) * s**i * comb(b, j) * minus ** (b - j) * d**j
                turned[row] += factor * stencil(a - i + b - j, i + j)
    return np.einsum("tm,mxy->txy", np.linalg.inv(SMALL), turned)


@dataclass
class Reference:
    """The network.

    Args:
        turns: n of the group.
        mirrored: Whether the group is D_n.
        widths: Fields of each stage.
        units: Units of each stage.
        classes: Number of classes.

    The rest is what a wrong version does: another offset, shortcut of the raw input, TensorFlow's asymmetric padding of
    strided layers, another epsilon, the shift of the group axis the wrong way, statistics of channels.
    """

    turns: int
    mirrored: bool = False
    widths: tuple[int, ...] = (2, 3, 4)
    units: int = 1
    classes: int = 5
    offset: float = np.pi / 8
    raw_shortcut: bool = False
    same_padding: bool = False
    eps: float = 1e-3
    wrong_shift: bool = False
    by_channel: bool = False
    variables: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def order(self):
        return self.turns * (1 + self.mirrored)

    def frames(self):
        angles = 2 * np.pi * np.arange(self.turns) / self.turns
        signs = [(t, s) for s in range(1 + self.mirrored) for t in angles]
        elements = [
            np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) @ np.diag([1, (-1) ** s]) for t, s in signs
        ]
        c, s = np.cos(self.offset), np.sin(self.offset)
        return [element @ np.array([[c, -s], [s, c]]) for element in elements]

    def relative(self, g, h):
        """Index of g^-1 h."""
        (s, k), (t, n) = divmod(g, self.turns), divmod(h, self.turns)
        shift = (k - n) if self.wrong_shift else (n - k)
        return (s ^ t) * self.turns + (-1) ** s * shift % self.turns

    def plan(self):
        """Names of the units with the fields that come in, go out, and the stride."""
        incoming = self.widths[0]
        for stage, width in enumerate(self.widths):
            for number in range(self.units):
                yield f"unit{stage}.{number}", incoming, width, 2 if stage and not number else 1
                incoming = width

    def draw(self, seed=0):
        """Draw all variables: HWIO weights, BatchNorm with statistics, the classifier."""
        rng, order = np.random.default_rng(seed), self.order

        def weight(name, size, inputs, outputs):
            taps = rng.standard_normal((size, size, inputs, outputs)) / (size * inputs**0.5)
            self.variables[name] = torch.tensor(taps, requires_grad=True)

        def norm(name, width):
            for key, low in (("gamma", 0.5), ("beta", -0.5), ("mean", -0.5), ("variance", 0.5)):
                values = torch.tensor(rng.uniform(low, low + 1, width), requires_grad=key in ("gamma", "beta"))
                self.variables[f"{name}.{key}"] = values

        weight("first", 3, 3, self.widths[0])
        for name, into, out, stride in self.plan():
            norm(f"{name}.norm1", into)
            weight(f"{name}.conv1", 3, into * order, out)
            norm(f"{name}.norm2", out)
            weight(f"{name}.conv2", 3, out * order, out)
            if into != out or stride > 1:
                weight(f"{name}.shortcut", 1, into * order, out)
        norm("last", self.widths[-1])
        weight("classifier", 1, self.widths[-1] * order, self.classes)
        self.variables["classifier.bias"] = torch.tensor(rng.standard_normal(self.classes), requires_grad=True)
        return self

    def kernel(self, name):
        """Return the kernel of a layer, HWIO with all channels."""
        w, order = self.variables[name], self.order
        size, lifts = w.shape[0], name == "first"
        into, out = w.shape[2] // (1 if lifts else order), w.shape[3]
        banks = [torch.tensor(bank(frame)) for frame in self.frames()] if size == 3 else None
        columns = []
        for o in range(out):
            for g in range(order):
                for i in range(into):
                    for h in [0] if lifts else range(order):
                        taps = w[:, :, i if lifts else i * order + self.relative(g, h), o]
                        columns.append(torch.einsum("t,txy->xy", taps.reshape(9), banks[g]) if banks else taps)
        whole = torch.stack(columns).reshape(out * order, -1, *columns[0].shape)
        return whole.permute(2, 3, 1, 0)

    def convolve(self, name, x, stride=1):
        """Zeros of 2 pixels around, then the sum over taps at every `stride`-th place from 0; none around for 1x1."""
        kernel = self.kernel(name)
        size, before = kernel.shape[0], kernel.shape[0] // 2
        sides = [-(-side // stride) for side in x.shape[1:3]]
        pads = []
        for side, places in zip(x.shape[1:3], sides, strict=True):
            both = max(0, (places - 1) * stride + size - side)
            pads += [(both // 2, both - both // 2) if self.same_padding else (before, before)]
        x = F.pad(x, (0, 0, *pads[1], *pads[0]))
        total = 0
        for r in range(size):
            for c in range(size):
                rows, columns = (slice(p, p + stride * (n - 1) + 1, stride) for p, n in zip((r, c), sides, strict=True))
                total = total + x[:, rows, columns] @ kernel[r, c]
        return total

    def norm(self, name, x, train):
        """Fold the group into the width: one mean and variance a field; then ReLU."""
        gamma, beta, mean, variance = (self.variables[f"{name}.{key}"] for key in ("gamma", "beta", "mean", "variance"))
        y = x.reshape(*x.shape[:3], -1, self.order)
        if train:
            axes = (0, 1, 2) if self.by_channel else (0, 1, 2, 4)
            mean, variance = y.mean(axes, keepdim=True), y.var(axes, correction=0, keepdim=True)
        else:
            mean, variance = mean[:, None], variance[:, None]
        y = (y - mean) / (variance + self.eps).sqrt() * gamma[:, None] + beta[:, None]
        return y.clamp(min=0).reshape(x.shape)

    def __call__(self, x, *, train=False):
        """Map images NHWC to logits."""
        y = self.convolve("first", x)
        for name, _, _, stride in self.plan():
            active = self.norm(f"{name}.norm1", y, train)
            z = self.convolve(f"{name}.conv1", active, stride)
            z = self.convolve(f"{name}.conv2", self.norm(f"{name}.norm2", z, train))
            if f"{name}.shortcut" in self.variables:
                y = self.convolve(f"{name}.shortcut", y if self.raw_shortcut else active, stride)
            y = y + z
        pooled = self.norm("last", y, train).mean((1, 2))
        return pooled @ self.variables["classifier"][0, 0] + self.variables["classifier.bias"]

    def state(self, values=None):
        """Return the variables, or gradients by their names, as a state_dict of `PreActResNet`."""
        values, found = self.variables if values is None else values, {}

        def weight(ours, name):
            if name in values:
                w = values[name].detach()
                order = 1 if name == "first" else self.order
                found[f"{ours}.weight"] = w.reshape(w.shape[0] ** 2, -1, order, w.shape[3]).permute(3, 1, 2, 0)

        def norm(ours, name):
            keys = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
            found.update(
                {
                    f"{ours}.{k}": values[f"{name}.{key}"].detach()
                    for key, k in keys.items()
                    if f"{name}.{key}" in values
                }
            )

        weight("features.0", "first")
        names = [name for name, *_ in self.plan()]
        for place, name in enumerate(names, start=1):
            norm(f"features.{place}.preactivation.0", f"{name}.norm1")
            weight(f"features.{place}.residual.0", f"{name}.conv1")
            norm(f"features.{place}.residual.1", f"{name}.norm2")
            weight(f"features.{place}.residual.3", f"{name}.conv2")
            weight(f"features.{place}.shortcut", f"{name}.shortcut")
        norm(f"features.{len(names) + 1}", "last")
        found["classifier.weight"] = values["classifier"].detach()[0, 0].T
        found["classifier.bias"] = values["classifier.bias"].detach()
        return found
