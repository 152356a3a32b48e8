r"""Filters made of partial differential operators (Shen, He, Lin, Ma, ICML 2020).

Basis filter b moved by A is the stencil of $H_b((A R(\phi_0))^{-1} \nabla)$: the operator in the moved frame. The
constant frame offset $\phi_0$ multiplies on the right, so it is only a change of the basis and leaves equivariance
alone.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from pdoconv import operators as ops
from pdoconv.filters.base import Basis
from pdoconv.groups import Group, rotation
from pdoconv.operators import Operator
from pdoconv.stencils import Stencils, discretise, finite_difference


@dataclass(frozen=True)
class PDOFilters:
    """PDO filters: operators, a numerical scheme, a frame offset in radians, and what the weights mean.

    With `weights="operators"` a weight is the coefficient of an operator. With `weights="template"` the weights are the
    taps of an ordinary small kernel (3x3 for the paper's nine operators, row-major), which is turned into
    coefficients; at frame angle 0 the kernel is that template, padded with zeros.
    """

    operators: tuple[Operator, ...]
    stencils: Stencils
    frame_offset: float = 0.0
    weights: Literal["operators", "template"] = "operators"

    def __post_init__(self) -> None:
        """Check the arguments."""
        dims = {operator.dim for operator in self.operators}
        if len(dims) != 1:
            raise ValueError(f"PDO filters: expected operators of one dimension, received dimensions {sorted(dims)}.")
        if self.weights not in ("operators", "template"):
            raise ValueError(f"PDO filters: weights must be 'operators' or 'template', received {self.weights!r}.")
        if not math.isfinite(self.frame_offset):
            raise ValueError(f"PDO filters: frame_offset must be finite (radians), received {self.frame_offset}.")
        if self.frame_offset and dims != {2}:
            raise ValueError("PDO filters: frame_offset is an angle in the plane; operators here are not 2-D.")

    def basis(self, group: Group, size: int) -> Basis:
        """Return `(|G|, basis, *kernel)`.

        Raises:
            ValueError: If group and operators differ in dimension or the kernel is too small for the operators.
        """
        return _basis(self, group, size)


@lru_cache(maxsize=64)
def _basis(filters: PDOFilters, group: Group, size: int) -> Basis:
    if filters.operators[0].dim != group.dim:
        raise ValueError(f"{group} acts in {group.dim} dimensions, the operators in {filters.operators[0].dim}.")
    if size < 1 or size % 2 == 0:
        raise ValueError(f"PDO filters need an odd kernel_size, received {size}.")
    frame = rotation(filters.frame_offset) if filters.frame_offset else np.eye(group.dim)
    exponents = ops.monomials(group.dim, max(operator.order for operator in filters.operators))
    tables = [
        ops.coefficients(tuple(h.in_frame(matrix @ frame) for h in filters.operators), exponents)
        for matrix in group.matrices
    ]
    used = np.abs(tables).max(axis=(0, 1)) > 1e-12  # a monomial that no frame needs must not ask for a larger kernel
    stencils = [
        filters.stencils.weights(e, size) if needed else np.zeros((size,) * group.dim)
        for e, needed in zip(exponents, used, strict=True)
    ]
    basis: Basis = np.einsum("gbm,m...->gb...", np.stack(tables), np.stack(stencils))
    if filters.weights == "template":
        basis = np.einsum("tb,gb...->gt...", np.linalg.inv(template_matrix(filters)), basis)
    basis.setflags(write=False)
    return basis


def template_matrix(filters: PDOFilters) -> Basis:
    """Return T: row b holds the taps of operator b's stencil on the smallest kernel, row-major.

    A template w (row vector) and operator coefficients beta mean the same kernel when w = beta T.

    Raises:
        ValueError: If there are not as many operators as taps, or they are not independent.
    """
    count, dim = len(filters.operators), filters.operators[0].dim
    side = round(count ** (1 / dim))
    if side**dim != count:
        raise ValueError(f"weights='template' needs as many operators as taps (9 for 3x3), received {count}.")
    table = np.stack([discretise(h, filters.stencils, side).ravel() for h in filters.operators])
    if np.linalg.matrix_rank(table) < count:
        raise ValueError("weights='template': the operators' stencils are not independent; use weights='operators'.")
    return table


def pdo(
    operators: tuple[Operator, ...] | None = None, stencils: Stencils | None = None, *, frame_offset: float = 0.0
) -> PDOFilters:
    """Return PDO filters whose weights are the coefficients of the given operators (default: the paper's nine).

    Args:
        operators: Polynomials in the derivatives.
        stencils: Numerical scheme; default `finite_difference()`.
        frame_offset: Constant angle of the frame, radians.
    """
    return PDOFilters(
        ops.paper() if operators is None else tuple(operators), stencils or finite_difference(), frame_offset
    )


def default(dim: int) -> PDOFilters:
    """Return the family that a `PDOConv` layer takes when none is given, for a space of `dim` dimensions.

    On the plane the authors' own; otherwise all monomials up to total order 2 with finite differences.
    """
    if dim == 2:
        return paper()
    return pdo(tuple(Operator({exponents: 1.0}) for exponents in ops.monomials(dim, 2)))


def paper(frame_offset: float = math.pi / 8, *, weights: Literal["operators", "template"] = "template") -> PDOFilters:
    """Return the authors' family exactly: nine operators, second-order 5x5 stencils, weights = the 3x3 template.

    Args:
        frame_offset: Radians; the authors use 22.5 degrees for every group.
        weights: `"template"` as the authors, or `"operators"` for the nine coefficients.
    """
    return PDOFilters(ops.paper(), finite_difference(), frame_offset, weights)
