r"""Filters made of partial differential operators (Shen, He, Lin, Ma, ICML 2020).

Basis filter b moved by A is the stencil of $H_b((A R(\phi_0))^{-1} \nabla)$: the operator in the moved frame. The
constant frame offset $\phi_0$ multiplies on the right, so it is only a change of the basis and leaves equivariance
alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from pdoconv import operators as ops
from pdoconv.filters.base import Basis
from pdoconv.grid import Matrix
from pdoconv.groups import Group, rotation
from pdoconv.operators import Operator
from pdoconv.pointgroups import cyclic, icosahedral
from pdoconv.stencils import Stencils, discretise, finite_difference, gaussian

Weights = Literal["orthonormal", "operators", "template"]


@dataclass(frozen=True)
class PDOFilters:
    """PDO filters: operators, a numerical scheme, a frame offset in radians, and what the weights mean.

    What a weight is the coefficient of:

    * `weights="orthonormal"`: a filter of the orthonormal basis that Gram-Schmidt makes of the operators' stencils in
      the order given, with the inner product averaged over all rotations. Angular frequencies stay apart, and all
      weights move the output alike. The basis does not depend on the group: a group and its subgroups share it.
    * `weights="operators"`: an operator.
    * `weights="template"`: a tap of an ordinary small kernel (3x3 for the paper's nine operators, row-major), which is
      turned into coefficients; at frame angle 0 the kernel is that template, padded with zeros.
    """

    operators: tuple[Operator, ...]
    stencils: Stencils
    frame_offset: float = 0.0
    weights: Weights = "orthonormal"

    def __post_init__(self) -> None:
        """Check the arguments."""
        dims = {operator.dim for operator in self.operators}
        if len(dims) != 1:
            raise ValueError(f"PDO filters: expected operators of one dimension, received dimensions {sorted(dims)}.")
        if self.weights not in get_args(Weights):
            raise ValueError(f"PDO filters: weights must be one of {get_args(Weights)}, received {self.weights!r}.")
        if not math.isfinite(self.frame_offset):
            raise ValueError(f"PDO filters: frame_offset must be finite (radians), received {self.frame_offset}.")
        if self.frame_offset and dims != {2}:
            raise ValueError("PDO filters: frame_offset is an angle in the plane; operators here are not 2-D.")

    @property
    def orders(self) -> tuple[int, ...] | None:
        """Order of the derivative that each weight stands for; `None` for a template."""
        return None if self.weights == "template" else tuple(operator.order for operator in self.operators)

    def basis(self, group: Group, size: int) -> Basis:
        """Return `(|G|, basis, *kernel)`.

        Raises:
            ValueError: If group and operators differ in dimension, the kernel is too small for the operators, or the
                stencils have no kernels of this side (finite differences and isotropic ones have odd sides alone).
        """
        return _basis(self, group, size)


@lru_cache(maxsize=64)
def _basis(filters: PDOFilters, group: Group, size: int) -> Basis:
    if filters.operators[0].dim != group.dim:
        raise ValueError(f"{group} acts in {group.dim} dimensions, the operators in {filters.operators[0].dim}.")
    if size < 1:
        raise ValueError(f"PDO filters need a kernel_size of at least 1, received {size}.")
    frame = rotation(filters.frame_offset) if filters.frame_offset else np.eye(group.dim)
    basis = _moved(filters, group.matrices @ frame, size)
    if filters.weights == "template":
        basis = np.einsum("tb,gb...->gt...", np.linalg.inv(template_matrix(filters)), basis)
    elif filters.weights == "orthonormal":
        basis = np.einsum("tb,gb...->gt...", _orthonormalisation(filters.operators, filters.stencils, size), basis)
    basis.setflags(write=False)
    return basis


def _moved(filters: PDOFilters, frames: Matrix, size: int) -> Basis:
    """Return the stencils `(frames, operators, *kernel)` of the operators in each frame."""
    dim = filters.operators[0].dim
    exponents = ops.monomials(dim, max(operator.order for operator in filters.operators))
    tables = ops.coefficients(filters.operators, exponents) @ _in_frames(frames, exponents)
    used = np.abs(tables).max(axis=(0, 1)) > 1e-12  # a monomial that no frame needs must not ask for a larger kernel
    stencils = [
        filters.stencils.weights(e, size) if needed else np.zeros((size,) * dim)
        for e, needed in zip(exponents, used, strict=True)
    ]
    moved: Basis = np.einsum("gbm,m...->gb...", tables, np.stack(stencils))
    return moved


def _in_frames(frames: Matrix, exponents: list[ops.Exponents]) -> Basis:
    r"""Return `(frames, monomials, monomials)`: every monomial in the derivatives $A^{-1}\nabla$ of each frame A.

    A monomial is one derivative of a shorter one, and $(A^{-1}\nabla)_i = \sum_j A_{ji} \partial_j$.
    """
    column = {e: i for i, e in enumerate(exponents)}
    dim, unit = frames.shape[1], np.eye(frames.shape[1], dtype=int)
    tables = np.zeros((len(frames), len(exponents), len(exponents)))
    tables[:, 0, 0] = 1
    for row, e in enumerate(exponents[1:], start=1):
        i = next(axis for axis in range(dim) if e[axis])
        shorter = tables[:, column[tuple(np.array(e) - unit[i])]]
        for known, to in column.items():
            for j in range(dim):
                if known[j]:
                    tables[:, row, to] += frames[:, j, i] * shorter[:, column[tuple(np.array(known) - unit[j])]]
    return tables


@lru_cache(maxsize=64)
def _orthonormalisation(operators: tuple[Operator, ...], stencils: Stencils, size: int) -> Matrix:
    """Return T, lower triangular, with T F orthonormal on the average over all rotations, F the operators' stencils.

    Raises:
        ValueError: If the stencils are not independent.
    """
    dim = operators[0].dim
    moved = _moved(PDOFilters(operators, stencils, weights="operators"), _rotations(dim), size)
    flat = moved.reshape(*moved.shape[:2], -1)
    gram = np.einsum("gbx,gcx->bc", flat, flat) / len(flat)
    scale = np.sqrt(np.diag(gram))
    if (scale < 1e-12).any() or np.linalg.eigvalsh(gram / np.outer(scale, scale))[0] < 1e-9:
        raise ValueError(
            f"The stencils of these {len(operators)} operators are not independent on a kernel of {size}: give fewer "
            f"operators, of lower order, or a larger kernel."
        )
    return np.asarray(np.linalg.inv(np.linalg.cholesky(gram)))


def _rotations(dim: int) -> Matrix:
    """Return rotations to average over: 32 of the circle; in space the icosahedral 60, enough up to order 2."""
    if dim == 1:
        return np.ones((1, 1, 1))
    return cyclic(32).matrices if dim == 2 else icosahedral().matrices


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
    operators: Sequence[Operator] | None = None,
    stencils: Stencils | None = None,
    *,
    frame_offset: float = 0.0,
    weights: Weights = "orthonormal",
) -> PDOFilters:
    """Return PDO filters of any operators and any numerical scheme.

    Args:
        operators: Polynomials in the derivatives; default all that turned copies of the paper's nine consist of (13).
        stencils: Numerical scheme; default `gaussian()`.
        frame_offset: Constant angle of the frame, radians.
        weights: What a weight is the coefficient of, see `PDOFilters`.
    """
    chosen = ops.rotation_closed(ops.paper()) if operators is None else tuple(operators)
    return PDOFilters(chosen, stencils or gaussian(), frame_offset, weights)


def default(dim: int, size: int = 5) -> PDOFilters:
    """Return the family that a `PDOConv` layer takes when none is given: Gaussian stencils, orthonormal weights.

    On the plane with kernels of 5 and more the thirteen operators that turned copies of the paper's nine consist of;
    otherwise all operators that the kernel carries, up to order 4 (in space up to order 2). Chosen by the measurements
    in `docs/design/003-stencils.md`.

    Kernels of even side turn about the point between their middle pixels, as strided layers on even sides need them. A
    side k carries orders up to k - 1: on 2x2 the value and the gradient, on 4x4 all up to order 3.

    Args:
        dim: Dimension of space.
        size: Side of the kernel.

    >>> [len(default(dim, size).operators) for dim, size in ((2, 5), (2, 3), (3, 5), (1, 5))]
    [13, 6, 10, 5]
    >>> [len(default(dim, size).operators) for dim, size in ((2, 2), (2, 4), (2, 6), (3, 4))]
    [3, 10, 13, 10]
    """
    if dim == 2 and size >= 5:
        return pdo()
    return pdo(ops.rotation_adapted(min(max(size, 1) - 1, 2 if dim == 3 else 4), dim))


def paper(frame_offset: float = math.pi / 8, *, weights: Weights = "template") -> PDOFilters:
    """Return the authors' family exactly: nine operators, second-order 5x5 stencils, weights = the 3x3 template.

    Args:
        frame_offset: Radians; the authors use 22.5 degrees for every group.
        weights: `"template"` as the authors, or another meaning of the nine weights.
    """
    return PDOFilters(ops.paper(), finite_difference(), frame_offset, weights)
