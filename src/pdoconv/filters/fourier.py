r"""Fourier series (Xie, Zhao, Xu, Meng, 2022: F-Conv).

A filter is $\varphi(x) = \sum_{kl} a_{kl} \cos(\omega_{kl} \cdot x) + b_{kl} \sin(\omega_{kl} \cdot x)$ with the
frequencies $\omega = 2 \pi (k, l) / p$, $|k|, |l| \le (p - 1) / 2$, of a kernel of side p: these are all kernels of
that side, none is lost. A turned filter is $\varphi(A^{-1} x)$, tapered outside the disk, where turned series would
repeat.

Cut and tapered waves do not keep their sums when they are turned, so most of these filters are far from equivariant
but for quarter turns and flips, on smooth maps too. As in F-Conv the less stable have the smaller weights: a layer
with kernels of 5 then errs by 0.06 at 45 degrees and 0.4 radians per pixel, otherwise by 0.7; one of circular harmonics
errs by 0.002.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pdoconv.filters.base import Basis
from pdoconv.groups import Group
from pdoconv.pointgroups import cyclic
from pdoconv.stencils.base import offsets

_TAPER = 0.2
_DAMPING = 1000.0  # of what is not equivariant: 20 to 60 times smaller weights where nothing else is left
_BAND = (0.0, np.pi / 8, np.pi / 4)  # radians per pixel


@dataclass(frozen=True)
class FourierFilters:
    r"""Tapered Fourier series, weighted by how well they turn, the same for a group and its subgroups.

    With all means over 32 rotations, let M be the Gram matrix of the turned functions, and E that of how far their
    responses to plane waves of up to $\pi / 4$ radians per pixel, turned along, are from the mean response. The weights
    belong to $(M + 1000 E)^{-1/2}$ times the functions: orthonormal where they are equivariant, small where not. Only
    layers from or to regular fields keep these weights; between other fields the span alone counts.
    """

    def basis(self, group: Group, size: int) -> Basis:
        """Return `(|G|, size * size, size, size)`.

        Raises:
            ValueError: If the group is not of the plane, or `size` is even or less than 3.
        """
        return _basis(group, size)


@lru_cache(maxsize=64)
def _basis(group: Group, size: int) -> Basis:
    if group.dim != 2:
        raise ValueError(f"Fourier filters: expected a group of the plane, received {group!r}.")
    if size < 3 or size % 2 == 0:
        raise ValueError(f"Fourier filters need an odd kernel_size of at least 3, received {size}.")
    basis: Basis = np.einsum("bc,gcyx->gbyx", _weighting(size), _series(group, size))
    basis.setflags(write=False)
    return basis


@lru_cache(maxsize=64)
def _weighting(size: int) -> NDArray[np.float64]:
    """Return $(M + 1000 E)^{-1/2}$, symmetric: no sign and no order is left to the machine."""
    turns = cyclic(32)
    turned = _series(turns, size).reshape(turns.order, size * size, -1)
    waves = np.concatenate([radius * turns.matrices[:, 0] for radius in _BAND])
    phase = waves @ turns.matrices.swapaxes(1, 2) @ offsets(2, size).T  # (g, wave, tap)
    response = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) @ turned.swapaxes(1, 2)
    wrong = (response - response.mean(0)).reshape(-1, size * size)  # zero, if equivariant
    form = (turned @ turned.swapaxes(1, 2)).mean(0) + _DAMPING * wrong.T @ wrong / (len(turned) * len(waves))
    energy, directions = np.linalg.eigh(form)
    return np.asarray(directions / np.sqrt(energy) @ directions.T)


def _series(group: Group, size: int) -> Basis:
    """Return `(|G|, size * size, size, size)`: the constant, then cosine and sine of each frequency, by size."""
    line, points = np.arange(size) - size // 2, offsets(2, size).reshape(size, size, 2)
    every = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    half = every[len(every) // 2 + 1 :]  # of each pair of opposite ones
    half = half[np.argsort((half**2).sum(1), kind="stable")]
    phase = 2 * np.pi / size * np.einsum("fi,gji,rcj->gfrc", half, group.matrices, points)
    distance = (points**2).sum(-1) / (size // 2) ** 2
    taper = np.exp(-np.maximum(distance - 1, 0) / _TAPER)
    waves = np.stack([np.cos(phase), np.sin(phase)], axis=2).reshape(group.order, -1, size, size)
    series: Basis = np.concatenate([np.ones_like(waves[:, :1]), waves], axis=1) * taper
    return series


def fourier() -> FourierFilters:
    """Return the family of Fourier series: F-Conv (Xie et al., 2022).

    >>> from pdoconv import cyclic
    >>> fourier().basis(cyclic(8), 5).shape
    (8, 25, 5, 5)
    """
    return FourierFilters()
