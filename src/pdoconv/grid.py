"""How the plane sits on an array: axes, exact and interpolated motions, the grid rule.

Coordinates are $(x, y, z)$ with x to the right and **y up**; arrays are `(..., z, y, x)` with rows running
downward. Coordinate i lies on array axis `-(i + 1)`, and y is reversed. Nothing else in the package knows this.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]


def axis_of(coordinate: int) -> tuple[int, int]:
    """Return the (negative) array axis of a coordinate and the sign of its direction there.

    >>> axis_of(0), axis_of(1)
    ((-1, 1), (-2, -1))
    """
    return -(coordinate + 1), -1 if coordinate == 1 else 1


def is_lattice_symmetry(matrix: Matrix) -> bool:
    """Tell whether an orthogonal matrix maps the pixel lattice to itself (a signed permutation)."""
    return bool(np.abs(matrix - np.rint(matrix)).max() < 1e-12)


def move(x: Tensor, matrix: Matrix, *, mode: str = "bilinear") -> Tensor:
    r"""Move maps about the centre of their array: $\mathrm{out}(p) = x(A^{-1} p)$.

    Signed permutation matrices (quarter turns, axis and diagonal flips) only rearrange pixels, exactly, for odd and
    even sides; a quarter turn of a non-square map swaps its sides. Other matrices interpolate, with zeros outside.

    Args:
        x: `(batch, channels, *space)` with as many spatial axes as `matrix` has rows.
        matrix: Orthogonal matrix $A$ acting on $(x, y[, z])$.
        mode: `"bilinear"`, `"bicubic"` (plane only) or `"nearest"`, for the interpolated case.
    """
    dim = len(matrix)
    if x.dim() != dim + 2:
        raise ValueError(
            f"move: expected a tensor (batch, channels, *space) with {dim} spatial axes, received shape "
            f"{tuple(x.shape)}. Add the batch axis with x[None]."
        )
    inverse = np.asarray(matrix, dtype=np.float64).T
    if not is_lattice_symmetry(matrix):
        return _interpolate(x, inverse, mode)
    order, reversed_axes = list(range(x.dim())), []
    for i in range(dim):  # coordinate i is read along coordinate j of the output, with a sign
        j = int(np.abs(inverse[i]).argmax())
        (axis_in, sign_in), (axis_out, sign_out) = axis_of(i), axis_of(j)
        order[axis_out] = x.dim() + axis_in
        if sign_in * sign_out * inverse[i, j] < 0:
            reversed_axes.append(axis_out)
    moved = x.permute(order)
    return moved.flip(reversed_axes) if reversed_axes else moved.contiguous()


def _interpolate(x: Tensor, inverse: Matrix, mode: str) -> Tensor:
    """Sample `x` at $A^{-1} p$ by interpolation (torch's `grid_sample` speaks of half sides, y down)."""
    if not x.is_floating_point():
        raise ValueError(f"move: interpolation needs floating-point maps, received {x.dtype}: convert with x.float().")
    dim, exact = len(inverse), torch.promote_types(x.dtype, torch.float32)  # positions need more than 8 bits
    signs = np.array([axis_of(i)[1] for i in range(dim)])
    half = np.array([x.shape[axis_of(i)[0]] / 2 for i in range(dim)])
    theta = (signs[:, None] * inverse * signs) * half / half[:, None]
    affine = torch.as_tensor(np.column_stack([theta, np.zeros(dim)]), dtype=exact, device=x.device)
    grid = F.affine_grid(affine.expand(len(x), -1, -1), list(x.shape), align_corners=False)
    return F.grid_sample(x.to(exact), grid, mode=mode, padding_mode="zeros", align_corners=False).to(x.dtype)


def keeps_grid(side: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> bool:
    r"""The grid rule: a strided window keeps lattice symmetries iff $(L + 2p - d(k-1) - 1) \bmod s = 0$.

    Otherwise the sampled positions are not centred on the map and turning the map by 90 degrees moves them.

    >>> keeps_grid(33, kernel=5, stride=2, padding=2), keeps_grid(32, kernel=5, stride=2, padding=2)
    (True, False)
    """
    return (side + 2 * padding - dilation * (kernel - 1) - 1) % stride == 0


def good_sides(side: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> tuple[int, int]:
    """Return the nearest sides at most and above `side` that obey the grid rule."""
    excess = (side + 2 * padding - dilation * (kernel - 1) - 1) % stride
    return side - excess, side - excess + stride
