r"""Fourier series (Xie, Zhao, Xu, Meng, 2022: F-Conv).

A filter is $\varphi(x) = \sum_{kl} a_{kl} \cos(\omega_{kl} \cdot x) + b_{kl} \sin(\omega_{kl} \cdot x)$ with the
frequencies $\omega = 2 \pi (k, l) / p$, $|k|, |l| \le (p - 1) / 2$, of a kernel of side p: these are all kernels of
that side, none is lost. A turned filter is $\varphi(A^{-1} x)$, tapered outside the disk, where turned series would
repeat.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pdoconv.filters.base import Basis
from pdoconv.groups import Group
from pdoconv.pointgroups import cyclic

_TAPER = 0.2
_DAMPING = 0.05  # relative to the mean energy: what turned kernels hold less of than this is given less weight


@dataclass(frozen=True)
class FourierFilters:
    r"""Tapered Fourier series, made nearly orthonormal on the average over all rotations.

    With Gram matrix M of the functions the weights belong to $(M + \lambda I)^{-1/2}$ times them: directions of little
    energy, which change most when they are turned, stay small.
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
    every = _series(cyclic(32), size).reshape(32, size * size, -1)
    gram = np.einsum("gbx,gcx->bc", every, every) / len(every)
    energy, directions = np.linalg.eigh(gram)
    root = directions / np.sqrt(energy + _DAMPING * energy.mean()) @ directions.T
    basis: Basis = np.einsum("bc,gcyx->gbyx", root, _series(group, size))
    basis.setflags(write=False)
    return basis


def _series(group: Group, size: int) -> Basis:
    """Return `(|G|, size * size, size, size)`: the constant, then cosine and sine of each frequency, by size."""
    line = np.arange(size) - size // 2
    points = np.stack(np.broadcast_arrays(line, -line[:, None]), axis=-1)  # y up
    half = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)[
        size * size // 2 + 1 :
    ]  # of each pair of opposite ones
    half = half[np.argsort((half**2).sum(1), kind="stable")]
    phase = 2 * np.pi / size * np.einsum("fi,gji,rcj->gfrc", half, group.matrices, points)
    distance = (points**2).sum(-1) / (size // 2) ** 2
    taper = np.exp(-np.maximum(distance - 1, 0) / _TAPER)
    waves = np.stack([np.cos(phase), np.sin(phase)], axis=2).reshape(group.order, -1, size, size)
    return np.concatenate([np.ones_like(waves[:, :1]), waves], axis=1) * taper


def fourier() -> FourierFilters:
    """Return the family of Fourier series: F-Conv (Xie et al., 2022).

    >>> from pdoconv import cyclic
    >>> fourier().basis(cyclic(8), 5).shape
    (8, 25, 5, 5)
    """
    return FourierFilters()
