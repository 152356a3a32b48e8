r"""Circular harmonics on the pixel grid: the discrete rings of harmonic networks (Worrall et al., 2017).

A filter $R(r)\, e^{im\varphi}$ is known on rings about the centre. Every point of a ring is shared out to the pixels by
a Gaussian, and the wave $e^{im\varphi}$ is averaged along the ring: one fixed complex filter $B_m$ for each ring.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BANDWIDTH = 0.5  # of the Gaussian, in pixels


def ring_angles(size: int) -> int:
    """Return the number of points of a ring: at least the authors' max(pi * size, 101), and a multiple of 4.

    Only with a multiple of 4 a quarter turn carries the points into each other, so that it is exact.

    >>> ring_angles(5), ring_angles(35)
    (104, 112)
    """
    return 4 * math.ceil(max(math.ceil(math.pi * size), 101) / 4)


@lru_cache(maxsize=64)
def ring_basis(size: int, order: int, rings: int, angles: int | None = None) -> NDArray[np.complex128]:
    r"""Return the filters of one rotation order, `(rings, size, size)`, read-only.

    $B_m[r]_p = \frac1N \sum_\alpha e^{im\alpha}\, w_{\alpha p}$ over N points $x_\alpha$ of ring r, with Gaussian
    weights $w_{\alpha p} \propto e^{-|x_\alpha - x_p|^2 / 2\sigma^2}$, $\sum_p w_{\alpha p} = 1$. Radii are evenly
    spaced, from 0 (order 0) or 1 (others) to rings - 1/2 pixels.
    Turned by 90 degrees it is $e^{-im\pi/2} B_m$; angles are counter-clockwise, y up.

    Args:
        size: Side of the filters.
        order: Rotation order m, at least 0; that of -m is the conjugate.
        rings: Number of rings.
        angles: Points of a ring N; default `ring_angles(size)`. With 101, the authors' number up to size 32, quarter
            turns hold to about 1e-10 of the largest entry only. Theirs is the sum, N times as large.

    Raises:
        ValueError: If an argument is out of range.

    >>> ring_basis(5, 1, 4).shape
    (4, 5, 5)
    """
    count = ring_angles(size) if angles is None else angles
    if min(size, rings, count) < 1 or order < 0:
        raise ValueError(
            f"ring_basis: expected size, rings and angles of at least 1 and an order of at least 0, received {size}, "
            f"{rings}, {count}, {order}: filters of a negative order are the conjugates."
        )
    radii = np.linspace(float(order != 0), rings - 0.5, rings)[:, None, None, None]
    alpha = (2 * np.pi * np.arange(count) / count)[:, None, None]
    line = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(line, -line)
    squares = (radii * np.cos(alpha) - x) ** 2 + (radii * np.sin(alpha) - y) ** 2  # (rings, angles, size, size)
    squares -= squares.min(axis=(2, 3), keepdims=True)  # rings far outside the filter must not underflow
    weights = np.exp(-squares / (2 * BANDWIDTH**2))
    weights /= weights.sum(axis=(2, 3), keepdims=True)
    basis: NDArray[np.complex128] = (np.exp(1j * order * alpha) * weights).mean(axis=1)
    basis.setflags(write=False)
    return basis
