r"""Values, first and second derivatives of fields on a grid: what differential invariants are made of.

Derivatives are convolutions with the stencils of any family, as everywhere in the package: x to the right, y up (in
space z too), grid spacing 1. The boundary is one of torch's paddings: `"zeros"` is the Dirichlet condition, `"reflect"`
and `"replicate"` are Neumann conditions (about the outermost pixels, and about the pixels' outer edges), `"circular"`
is the periodic one. All of them commute with quarter turns and flips.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.operators import Operator, monomials
from pdoconv.stencils import Stencils, discretise, finite_difference

PADDINGS = ("zeros", "reflect", "replicate", "circular")
CONVOLUTIONS = {2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True)
class Jet:
    """Fields and their derivatives: tensors, or numpy arrays of numbers or symbols; the first axis is the field's.

    Attributes:
        value: `(n, *rest)`; of maps `(n, batch, *space)`.
        gradient: Its components, dim arrays of that shape.
        hessian: Second derivatives, dim times dim arrays, symmetric.
    """

    value: Any
    gradient: list[Any]
    hessian: list[list[Any]]

    @property
    def fields(self) -> int:
        """Number of fields."""
        return len(self.value)

    @property
    def dim(self) -> int:
        """Dimension of space."""
        return len(self.gradient)


def require_padding(name: str, padding: str) -> None:
    """Raise `ValueError` unless the boundary is known."""
    if padding not in PADDINGS:
        raise ValueError(f"{name}: padding must be one of {PADDINGS}, received {padding!r}.")


class Derivatives(nn.Module):
    """First and second derivatives of every channel.

    Args:
        dim: 2 or 3.
        stencils: Numerical scheme; default `finite_difference()`, central differences of second order.
        kernel_size: Odd side of the kernels, as large as the scheme asks for.
        padding: Boundary condition: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.

    Raises:
        ValueError: If an argument is out of range, or the kernel is too small for the scheme.
    """

    weight: Tensor

    def __init__(
        self, dim: int = 2, *, stencils: Stencils | None = None, kernel_size: int = 3, padding: str = "zeros"
    ) -> None:
        """Make the weights."""
        super().__init__()
        if dim not in CONVOLUTIONS:
            raise ValueError(f"Derivatives: expected dimension 2 or 3, received {dim!r}.")
        if not isinstance(kernel_size, int) or kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"Derivatives: expected an odd kernel_size of at least 3, received {kernel_size!r}.")
        require_padding("Derivatives", padding)
        self.dim, self.kernel_size, self.padding = dim, kernel_size, padding
        self.stencils = finite_difference() if stencils is None else stencils
        self.register_buffer("weight", self._weights(), persistent=False)

    def _weights(self) -> Tensor:
        """Return `(derivatives, 1, *kernel)` in float64: d/dx, d/dy, d2/dx2, d2/dxdy, d2/dy2 on the plane."""
        operators = [Operator({e: 1.0}) for e in monomials(self.dim, 2)[1:]]
        rows = [discretise(operator, self.stencils, self.kernel_size) for operator in operators]
        return torch.from_numpy(np.stack(rows))[:, None]

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Fill the weights anew: `.half().double()` must not leave them rounded."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.weight = self._weights().to(self.weight.device)
        return self

    def forward(self, u: Tensor) -> Jet:
        """Map fields `(batch, n, *space)` to their jet.

        Raises:
            ValueError: If `u` has another number of axes, or is not floating-point.
        """
        if u.dim() != self.dim + 2 or not u.is_floating_point():
            raise ValueError(
                f"Derivatives: expected floating-point fields (batch, n, *space) with {self.dim} axes of space, "
                f"received {u.dtype}, {tuple(u.shape)}."
            )
        batch, n, *space = u.shape
        mode = "constant" if self.padding == "zeros" else self.padding
        padded = F.pad(u.reshape(batch * n, 1, *space), [self.kernel_size // 2] * 2 * self.dim, mode=mode)
        maps = CONVOLUTIONS[self.dim](padded, self.weight.to(u.dtype)).reshape(batch, n, -1, *space)
        each = [found.transpose(0, 1) for found in maps.unbind(2)]
        place = {e: i for i, e in enumerate(monomials(self.dim, 2)[1:])}
        axes = range(self.dim)
        hessian = [[each[place[_pair(a, b, self.dim)]] for b in axes] for a in axes]
        return Jet(value=u.transpose(0, 1), gradient=each[: self.dim], hessian=hessian)


def _pair(a: int, b: int, dim: int) -> tuple[int, ...]:
    """Return the exponents of the derivative along two axes."""
    return tuple(int(i == a) + int(i == b) for i in range(dim))


def bounded(jet: Jet, scale: Tensor) -> Jet:
    r"""Divide gradients by $\sqrt{\kappa^2 + |g|^2}$, Hessians likewise; `scale` is $\kappa$, `(2, fields)`."""
    (x, y), ((xx, xy), (_, yy)) = jet.gradient, jet.hessian
    first, second = scale.square()[:, :, None, None, None]
    one = torch.rsqrt(first + x.square() + y.square())
    two = torch.rsqrt(second + xx.square() + 2 * xy.square() + yy.square())
    xy = xy * two
    return Jet(jet.value, [x * one, y * one], [[xx * two, xy], [xy, yy * two]])
