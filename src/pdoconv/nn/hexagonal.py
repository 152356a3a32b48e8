r"""Images on the hexagonal lattice: resampling, and how a group element moves axial maps (Hoogeboom et al., 2018).

The cell in row v and column u, counted from the centre of the array, lies at $x = s (u + v/2)$,
$y = -s \frac{\sqrt{3}}{2} v$ with the spacing s (`pdoconv.filters.hexagonal`). Rows of cells are rows of the image, so
splines are evaluated along columns first and then along each row, where odd rows lie half a cell further.
"""

import math
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.filters.hexagonal import LATTICE, axial, hexagon
from pdoconv.nn.checks import autocast_on, require_maps

KEPT = 4  # half the side of an array is a multiple of this: the centre cell survives two strides of 2


class HexagonalResample(nn.Module):
    r"""Resample square images to axial arrays, by quintic splines.

    The interpolating spline of order 5 has mirrors at the outermost pixels; beyond these the result is zero. Half turns
    of the image turn the result to rounding, other angles as well as the image is resolved.

    Half the sides of the array, and a radius not given, are multiples of 4, so that two layers of stride 2 keep the
    centre cell. This is the grid rule of the hexagonal lattice: odd sides are enough for half turns only.

    Args:
        size: Height and width of the images.
        domain: `"square"`: all of the image, inscribed in a parallelogram; half turns and axis flips, which D2 and D6
            contain, stay exact. `"hexagon"`: a hexagonal part of it; all turns by 60 degrees stay exact.
        radius: Cells from the centre of the hexagon to its corners, in x direction; default the largest multiple of 4
            within half the size. For `"hexagon"` only.
        spacing: Distance s of neighbouring cells in pixels; a cell has an area of $s^2 \sqrt{3} / 2$ pixels.

    Attributes:
        domain: Which cells are in the domain, booleans `(rows, columns)`; others are zero.

    Raises:
        ValueError: If an argument is out of range, or an image is of another size.

    >>> resample = HexagonalResample(32)
    >>> resample(torch.zeros(1, 3, 32, 32)).shape, int(resample.domain.sum())
    (torch.Size([1, 3, 41, 49]), 1103)
    >>> hexagonal = HexagonalResample(32, domain="hexagon")
    >>> hexagonal(torch.zeros(1, 3, 32, 32)).shape, int(hexagonal.domain.sum())
    (torch.Size([1, 3, 33, 33]), 817)
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        size: int,
        *,
        domain: Literal["square", "hexagon"] = "square",
        radius: int | None = None,
        spacing: float = 1.0,
    ) -> None:
        """Choose the cells and evaluate the splines."""
        super().__init__()
        if isinstance(size, bool) or not isinstance(size, int) or size < 2:
            raise ValueError(f"HexagonalResample: size must be one whole number >= 2, received {size!r}.")
        if not 0 < spacing < math.inf:
            raise ValueError(f"HexagonalResample: spacing must be above 0 pixels, received {spacing}.")
        if domain not in ("square", "hexagon"):
            raise ValueError(f"HexagonalResample: domain must be 'square' or 'hexagon', received {domain!r}.")
        if radius is not None and (domain == "square" or isinstance(radius, bool) or radius < 1):
            raise ValueError(f"HexagonalResample: radius must be at least 1, for domain='hexagon', received {radius}.")
        self.size, self.spacing, middle = size, spacing, (size - 1) / 2
        if domain == "hexagon":
            radius = max(KEPT, int(size / 2 / spacing) // KEPT * KEPT) if radius is None else radius
            self.domain, half = hexagon(radius), (radius, radius)
        else:
            height = middle / spacing / math.sqrt(0.75)  # of the image, in rows
            half = _kept(height), _kept(middle / spacing + int(height + 1e-9) / 2)
        v, u = np.indices([2 * n + 1 for n in half])
        x, y = spacing * np.einsum("ij,jvu->ivu", LATTICE, np.stack([u - half[1], v - half[0]]))
        self._row, self._column = middle - y[:, 0], middle + x  # of the pixels, y up
        if domain == "square":
            self.domain = np.asarray(np.maximum(abs(x), abs(y)) <= middle + 1e-9)
        for name, constant in zip(("rows", "columns"), self._splines(), strict=True):
            self.register_buffer(name, constant, persistent=False)

    def _splines(self) -> tuple[Tensor, Tensor]:
        """Return the matrices from pixels to rows `(rows, size)` and from there to cells `(rows, columns, size)`."""
        columns = spline(self._column, self.size) * self.domain[..., None]
        return torch.tensor(spline(self._row, self.size), device="cpu"), torch.tensor(columns, device="cpu")

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Keep the matrices in float64: they are cast to the input's dtype when used."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.rows, self.columns = (constant.to(self.rows.device) for constant in self._splines())
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, size, size)` to `(batch, channels, rows, columns)`."""
        require_maps("HexagonalResample", x)
        if tuple(x.shape[2:]) != (self.size, self.size):
            raise ValueError(
                f"HexagonalResample: expected images of {self.size} x {self.size}, received {tuple(x.shape)}."
            )
        exact = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False) if autocast_on(x) else nullcontext():
            lines = self.rows.to(exact) @ x.to(exact)  # (batch, channels, rows, size)
            return torch.einsum("bcvi,vui->bcvu", lines, self.columns.to(exact)).to(x.dtype)

    def extra_repr(self) -> str:
        """Print sizes."""
        return f"{self.size}, {int(self.domain.sum())} cells of {self.domain.shape}, spacing={self.spacing}"


def _kept(half: float) -> int:
    """Return half a side that holds so many cells and keeps the centre under strides."""
    return math.ceil(math.floor(half + 1e-9) / KEPT) * KEPT


def spline(places: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    r"""Return the matrix of quintic spline interpolation `(*places, size)` from samples at 0, ..., size - 1.

    With coefficients c, $f(p) = \sum_j c_j \beta^5(p - j)$ goes through all samples; $c_{-j} = c_j$, and likewise at
    the other end (Unser, Aldroubi, Eden, 1993). Places beyond the ends get zero.
    """
    through = _sum_of_splines(np.arange(size, dtype=np.float64), size)
    inside = (places > -1e-9) & (places < size - 1 + 1e-9)
    return np.asarray(_sum_of_splines(places, size) @ np.linalg.inv(through) * inside[..., None])


def _sum_of_splines(places: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the value at each place of the spline of each coefficient and its mirror images, `(*places, size)`."""
    knots = np.arange(-3, size + 3)
    values = _quintic(places[..., None] - knots)
    mirrored = abs((knots + size - 1) % (2 * size - 2) - (size - 1))  # distance from 0 on a circle of 2 (size - 1)
    return values @ np.eye(size)[mirrored]


def _quintic(t: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return $\beta^5(t) = \frac{1}{120} \sum_k (-1)^k \binom{6}{k} (3 - |t| - k)_+^5$."""
    powers = [np.maximum(3 - k - abs(t), 0) ** 5 for k in range(3)]
    return np.asarray((powers[0] - 6 * powers[1] + 15 * powers[2]) / 120)


def turn(x: Tensor, field_type: FieldType, g: int) -> Tensor:
    """Act with a group element on axial maps, exactly: move the cells and mix the channels.

    Cells that an element carries out of the array are lost, and those that it brings in from outside are zero: of a
    hexagon none.

    Args:
        x: Maps `(batch, channels, rows, columns)` in axial coordinates, of odd sides.
        field_type: Their type, of a group of turns by 60 degrees and flips.
        g: Index of the element, a turn or a mirror.

    Raises:
        ValueError: If `x` is not of that type or has an even side, `g` is no element, or the group does not map the
            hexagonal lattice to itself.

    >>> from pdoconv import cyclic
    >>> x = torch.arange(9.0).view(1, 1, 3, 3)
    >>> turn(x, cyclic(6).trivial(1), 1)  # the corners (0, 0) and (2, 2) are not in the hexagon
    tensor([[[[0., 2., 5.],
              [1., 4., 7.],
              [3., 6., 0.]]]])
    """
    field_type.check(x, "turn")
    group, sides = field_type.group, tuple(x.shape[2:])
    moved_back = axial(group)[group.inverse[group.check_element(g)]]
    if sides[0] % 2 == 0 or sides[1] % 2 == 0:
        raise ValueError(f"turn: expected axial maps of odd sides, which have a centre cell, received {sides}.")
    half = np.array([n // 2 for n in sides])[:, None, None]
    v, u = np.indices(sides) - half
    came_from = np.einsum("ij,jvu->ivu", moved_back, np.stack([u, v]))[::-1] + half  # row, column
    inside = ((came_from >= 0) & (came_from <= 2 * half)).all(axis=0)
    row, column = torch.as_tensor(came_from * inside, device=x.device)
    return field_type.mix(x, group.matrices[g])[:, :, row, column] * torch.as_tensor(inside, device=x.device)
