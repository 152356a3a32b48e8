r"""Initialisation of a group convolution's weights.

*authors*: independent truncated normals of variance $2 / (B\, c)$, with B taps and c input channels of the template:
He's rule for an ordinary 3x3 kernel (`variance_scaling` of TensorFlow 1, factor 2, fan-in).

*unit*: outputs of variance 1 through deep stacks of convolution and ReLU.

* Each basis filter contributes energy by the order n of its derivative,
  $\mathrm{std}_b \propto 0.85^n / \lVert F_b \rVert$ (families without orders: all the same): on coarse grids high
  orders are the least equivariant, and a network can make them larger where it needs them.
* Where the input is regular, the weights are centred over the input (fields and group). The positive mean that every
  ReLU makes is then not passed on; if it were, channels would grow alike and the variance would drift with depth.
* The remaining constant comes from the wide-network limit: the covariance $A(\tau)$ of the outputs, as a function of
  the distance in space, goes through a ReLU and a random layer as
  $A \mapsto \sigma^2\, c \star (\kappa(A) - \kappa(0))$, with c the mean autocorrelation of the basis filters and
  $\kappa$ the arc-cosine kernel (Cho & Saul, 2009). $\sigma^2$ is chosen so that the product of the ten factors
  $A_{l+1}(0) / A_l(0)$ from white noise is 1.

Between other fields, and for mixed types, every channel of the output gets variance 1 from uncorrelated maps of second
moment 1, or 1/2 in permuted fields, as behind a ReLU; each channel of the input has the same share in it, and each
kernel by its order.

Into trivial fields the channels of a regular field are taken as independent. They share their weights and are not, so
projections come out somewhat larger (variance 1 to 6 from C4 to D12).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pdoconv.filters import Filters
from pdoconv.filters.base import Basis, orders_of
from pdoconv.groups import Group
from pdoconv.kernels.steerable import space

if TYPE_CHECKING:
    from pdoconv.nn.kernel import GroupKernel, Piece

DEPTH = 10
DAMPING = 0.85  # of the standard deviation, for each order of the derivative
_SIDE = 24  # of the periodic lattice on which covariances are followed


def draw(layer: "GroupKernel", scheme: str) -> None:
    """Fill a layer's weight in place; `scheme` is `"unit"` or `"authors"`.

    Raises:
        ValueError: If the scheme is the authors' and the fields are not the paper's.
    """
    first, weight = layer.pieces[0], layer.weight
    framed = len(layer.pieces) == 1 and first.constants is None
    if scheme == "authors":
        if not framed:
            raise ValueError("init='authors' is for layers from or to regular fields, the others trivial: use 'unit'.")
        std = math.sqrt(1.3 * 2 / (weight.shape[3] * layer.in_type.channels))  # 1.3: what truncating at 2 std takes
        torch.nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
    elif framed:
        _draw_framed(layer)
    else:
        with torch.no_grad():
            flat, columns = weight.view(-1), len(layer.in_type.blocks)
            for place, piece in enumerate(layer.pieces):
                if piece.stop > piece.start:
                    row = layer.pieces[place // columns * columns :][:columns]
                    part = flat[piece.start : piece.stop].normal_().view(*piece.shape[:2], -1)
                    part *= torch.as_tensor(_scales(layer, piece, row), dtype=part.dtype, device=part.device)


def _draw_framed(layer: "GroupKernel") -> None:
    in_type, weight = layer.in_type, layer.weight
    fan_in, shared = in_type.channels, weight.shape[1] * weight.shape[2]
    scale = np.sqrt(_energy(layer.filters, layer.filters.basis(in_type.group, layer.side)))
    rectified = in_type.kind == "regular"  # otherwise an image
    centre = rectified and shared > 1 and layer.centred
    variance = _relu_gain(layer.filters, in_type.group, layer.side, centre) if rectified else 1 / len(scale)
    with torch.no_grad():
        weight.normal_()
        if centre:
            weight.sub_(weight.mean((1, 2), keepdim=True))
            variance *= shared / (shared - 1)
        std = np.sqrt(variance / fan_in) * _inverse(scale)
        weight.mul_(torch.as_tensor(std, dtype=weight.dtype, device=weight.device))


def _scales(layer: "GroupKernel", piece: "Piece", row: Sequence["Piece"]) -> NDArray[np.float64]:
    """Return the standard deviation of each weight of a piece, `(R * B,)`; `row` are all that go into its block."""
    if piece.constants is None:  # one moved filter for each pair of channels that an element joins
        moved = layer.filters.basis(piece.out.group, layer.side)
        energy = np.tile((moved**2).sum(axis=(0, *range(2, moved.ndim))), piece.shape[2])
        orders = np.tile(orders_of(layer.filters, moved.shape[1]), piece.shape[2])
    else:
        found = space(layer.filters, layer.side, piece.out, piece.into)
        energy, orders = (found.basis**2).reshape(len(found.basis), -1).sum(1), np.array(found.orders)
    share, energy = DAMPING ** (2.0 * orders), energy / piece.out.dim  # of an output channel
    reached = sum(p.shape[1] * p.into.dim for p in row if p.stop > p.start)
    image = all(kind.name == "trivial" for kind, _ in layer.in_type.blocks)
    gain = 2 if piece.into.permutes and not image else 1  # of a ReLU
    return np.asarray(np.sqrt(gain * piece.into.dim / reached * share / share.sum()) * _inverse(np.sqrt(energy)))


def _inverse(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / scale, and 0 for filters that are zero, such as a tap outside a disk."""
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 1e-9 * scale.max())


def _energy(filters: Filters, basis: Basis) -> NDArray[np.float64]:
    """Return the sum of squares of each basis filter, mean over the group, relative to the share it is to have."""
    energy = (basis**2).reshape(*basis.shape[:2], -1).sum(2).mean(0)
    share = DAMPING ** (2.0 * np.array(orders_of(filters, len(energy))))
    return np.asarray(energy * share.mean() / share)


@lru_cache(maxsize=64)
def _relu_gain(filters: Filters, group: Group, size: int, centre: bool) -> float:
    """Return the variance, for each basis filter of unit energy and each input channel, that keeps the variance 1."""
    basis: Basis = filters.basis(group, size)
    power = np.fft.fftn(_autocorrelation(filters, basis)).real
    covariance = np.zeros(power.shape)
    covariance.flat[0] = 1.0
    factors = []
    for _ in range(DEPTH):
        rectified = _arc_cosine(covariance) - (_arc_cosine(np.zeros(1)) if centre else 0.0)
        covariance = np.fft.ifftn(np.fft.fftn(rectified) * power).real
        factors.append(covariance.flat[0])
        covariance = covariance / covariance.flat[0]
    return float(np.exp(-np.log(factors).mean()))


def _autocorrelation(filters: Filters, basis: Basis) -> NDArray[np.float64]:
    """Return the autocorrelation of the filters on the lattice, each at its share: sum over them, mean over |G|."""
    kernel = basis.shape[2:]
    taps = (basis.reshape(*basis.shape[:2], -1) * _inverse(np.sqrt(_energy(filters, basis)))[:, None]).reshape(
        -1, math.prod(kernel)
    )
    places = np.indices(kernel).reshape(len(kernel), -1)
    lags = (places[:, :, None] - places[:, None, :]) % _SIDE
    total = np.zeros((_SIDE,) * len(kernel))
    np.add.at(total, tuple(lags), taps.T @ taps / len(basis))
    return total


def _arc_cosine(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return $E[\mathrm{relu}(a)\,\mathrm{relu}(b)]$ for unit Gaussians of a given correlation."""
    r = np.clip(correlation, -1.0, 1.0)
    return np.asarray((np.sqrt(1 - r * r) + r * (np.pi - np.arccos(r))) / (2 * np.pi))
