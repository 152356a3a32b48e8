r"""Circular harmonics (Weiler, Hamprecht, Storath, 2018: SFCNN; Weiler & Cesa, 2019: E2CNN).

An atom is $\psi_{jk}(r, \varphi) = \tau_j(r)\, e^{i k \varphi}$ with a Gaussian ring $\tau_j = e^{-(r - \mu_j)^2 / 2
\sigma_j^2}$. A filter is $\mathrm{Re} \sum w_{jk} \psi_{jk}$ with complex w, here as real weights of cosine and sine. A
turn by t is the phase $e^{-ikt}$: no filter is ever interpolated, and what is left of an error is that of sampling.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pdoconv.filters.base import Basis
from pdoconv.groups import Group
from pdoconv.stencils.base import offsets


@dataclass(frozen=True)
class HarmonicFilters:
    """Gaussian rings times circular harmonics up to a frequency, ring by ring; each cosine is followed by its sine.

    By default, and for other radii in ascending order, the filters are those of escnn's `R2Conv`, by another scale.

    Args:
        radii: Of the rings in pixels; `None` for the rule of SFCNN, 0 to half the side.
        sigmas: Widths of the rings in pixels; `None` for 0.6, outermost 0.4, and a ring of radius 0 the centre pixel.
        frequencies: Highest frequency on each ring; `None` for the rule of E2CNN, which keeps what a ring can carry:
            0, 2, 2 on kernels of 5; 0, 2, 3, 2 of 7; 0, 2, 3, 6, 2 of 9.
    """

    radii: tuple[float, ...] | None = None
    sigmas: tuple[float, ...] | None = None
    frequencies: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        lengths = {len(v) for v in (self.radii, self.sigmas, self.frequencies) if v is not None}
        right = all(0 <= r < math.inf for r in self.radii or ()) and all(0 < s < math.inf for s in self.sigmas or ())
        if not right or any(k < 0 or k != int(k) for k in self.frequencies or ()) or 0 in lengths:
            raise ValueError(
                f"Harmonics: expected finite radii >= 0, sigmas > 0 and whole frequencies >= 0, received {self.radii}, "
                f"{self.sigmas}, {self.frequencies}."
            )
        if len(lengths) > 1:
            raise ValueError(f"Harmonics: expected one entry a ring in each argument, received {sorted(lengths)}.")

    def rings(self, size: int) -> list[tuple[float, float, int]]:
        """Return radius, width and highest frequency of each ring on a kernel of this side.

        Raises:
            ValueError: If `size` is even or less than 1, or the arguments are for another side.
        """
        if size < 1 or size % 2 == 0:
            raise ValueError(f"Harmonics need an odd kernel_size, received {size}.")
        count = next((len(v) for v in (self.radii, self.sigmas, self.frequencies) if v is not None), size // 2 + 1)
        radii = self.radii or tuple(float(r) for r in range(count))
        if max(radii) > size / 2:
            raise ValueError(f"Harmonics: a ring of radius {max(radii)} does not fit on a kernel of {size}.")
        sigmas = self.sigmas or tuple(0.6 if r < max(radii) else 0.4 for r in radii)
        highest = self.frequencies or tuple(_carried(int(r), r >= size // 2) for r in radii)
        return list(zip(radii, sigmas, map(int, highest), strict=True))

    def basis(self, group: Group, size: int) -> Basis:
        """Return `(|G|, atoms, size, size)`, atoms of unit energy on the average over all angles.

        Raises:
            ValueError: If the group is not of the plane, a ring misses all pixels, or as `rings` does.
        """
        return _basis(self, group, size)


def _carried(radius: int, last: bool) -> int:
    """Return the highest frequency on a ring of this whole part of the radius, or on the last one."""
    return max(0, min(2 * radius, 2 if last else 2 * radius - (radius + 1) % 2))


@lru_cache(maxsize=64)
def _basis(filters: HarmonicFilters, group: Group, size: int) -> Basis:
    if group.dim != 2:
        raise ValueError(f"Harmonics: expected a group of the plane, received {group!r}.")
    points = offsets(2, size).reshape(size, size, 2)
    x, y = np.moveaxis(np.einsum("rci,gij->grcj", points, group.matrices), -1, 0)  # A^-1 p
    distance, angle = np.hypot(*points.transpose(2, 0, 1)), np.arctan2(y, x)
    atoms: list[NDArray[np.float64]] = []
    for radius, sigma, highest in filters.rings(size):
        at_centre = radius == 0 and filters.sigmas is None
        ring = np.where(distance == 0, 1.0, 0.0) if at_centre else np.exp(-((distance - radius) ** 2) / (2 * sigma**2))
        hollow = np.where(distance == 0, 0.0, ring)  # an angle of the centre there is none
        for k in range(highest + 1):
            wave = hollow if k else ring
            norm = np.linalg.norm(wave)
            if norm < 1e-6:
                raise ValueError(
                    f"Harmonics: the ring of radius {radius} and width {sigma} has no pixel for frequency {k}: use a "
                    f"larger sigma, or frequency 0 at the centre."
                )
            wave = np.broadcast_to(wave / norm, angle.shape)
            # the mean of cos^2 over all angles is 1/2
            atoms += [np.sqrt(2) * wave * np.cos(k * angle), np.sqrt(2) * wave * np.sin(k * angle)] if k else [wave]
    basis = np.stack(atoms, axis=1)
    basis.setflags(write=False)
    return basis


def harmonics(
    *,
    radii: Sequence[float] | None = None,
    sigmas: Sequence[float] | None = None,
    frequencies: Sequence[int] | None = None,
) -> HarmonicFilters:
    """Return the family of circular harmonics, by default with the rings and frequencies of SFCNN and E2CNN.

    Args:
        radii: Of the rings in pixels.
        sigmas: Widths of the rings in pixels.
        frequencies: Highest frequency on each ring.

    Raises:
        ValueError: If an argument is out of range or they are of different lengths.

    >>> from pdoconv import cyclic
    >>> [harmonics().basis(cyclic(8), size).shape[1] for size in (5, 7, 9)]
    [11, 18, 31]
    """
    return HarmonicFilters(
        None if radii is None else tuple(radii),
        None if sigmas is None else tuple(sigmas),
        None if frequencies is None else tuple(frequencies),
    )
