r"""Equivariance error over frequency, exactly: from the symbols of kernels, without sampling.

A convolution with kernel K multiplies the plane wave $e^{i k \cdot x}$ by its symbol $\hat K(k)$. It is equivariant at
that frequency iff $\hat K(A k) = \rho_{out}(A)\, \hat K(k)\, \rho_{in}(A)^{-1}$.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pdoconv.fields import FieldType
from pdoconv.grid import Matrix
from pdoconv.measure.error import motion
from pdoconv.operators import Operator
from pdoconv.stencils import Stencils, discretise, symbol

_AROUND = 64  # directions on the plane; in space as many on each of 16 circles of latitude


def stencil_error(
    operators: Operator | Iterable[Operator],
    stencils: Stencils,
    size: int,
    frequencies: Iterable[float],
    *,
    rotation: float | Matrix = 45.0,
) -> dict[float, float]:
    r"""Return the relative equivariance error of a scheme at each frequency, in the mean square over directions.

    $\lVert \hat w_A(A k) - \hat w(k) \rVert / \lVert \hat w(k) \rVert$, $w_A$ the stencil of the operator in frame A.

    Args:
        operators: One operator, or several measured together, such as `adapted(2, 2)`.
        stencils: Numerical scheme.
        size: Side of the kernel.
        frequencies: Radians per pixel.
        rotation: Degrees (in space about z), or an orthogonal matrix.

    >>> from pdoconv import operators, stencils
    >>> d = operators.adapted(1, 1)
    >>> {k: f"{e:.1e}" for k, e in stencil_error(d, stencils.finite_difference(), 5, (0.4, 0.2)).items()}
    {0.4: '1.3e-02', 0.2: '3.3e-03'}
    """
    chosen = (operators,) if isinstance(operators, Operator) else tuple(operators)
    turn = motion(rotation, False, chosen[0].dim)
    here = np.stack([discretise(h, stencils, size) for h in chosen])
    turned = np.stack([discretise(h.in_frame(turn), stencils, size) for h in chosen])
    return {k: _relative(symbol(turned, p @ turn.T), symbol(here, p)) for k, p in _spheres(frequencies, len(turn))}


def layer_error(
    layer: nn.Module,
    frequencies: Iterable[float],
    *,
    rotation: float | Matrix = 45.0,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
) -> dict[float, float]:
    """Return the relative equivariance error of one convolution at each frequency, in the mean square over directions.

    Args:
        layer: A layer of this package or any module with a dense kernel: a method `kernel()`, or a `weight`
            `(out_channels, in_channels, *kernel)` as `torch.nn.Conv2d` has it. Stride, padding and bias do not count.
        frequencies: Radians per pixel.
        rotation: Degrees (in space about z), or an orthogonal matrix; an element of the group where fields are regular.
        in_type: Type of the input; default `layer.in_type`.
        out_type: Type of the output; default `layer.out_type`.

    Raises:
        ValueError: If there is no kernel, no type, or the channels do not fit the types.
    """
    first, last = in_type or getattr(layer, "in_type", None), out_type or getattr(layer, "out_type", None)
    if first is None or last is None:
        raise ValueError("The layer has no field types: pass in_type and out_type, such as cyclic(8).trivial(3).")
    expand = getattr(layer, "kernel", None)
    dense = expand() if callable(expand) else getattr(layer, "weight", None)
    expected = (last.channels, first.channels)
    if dense is None or tuple(dense.shape[:2]) != expected or dense.dim() != 2 + first.group.dim:
        shape = None if dense is None else tuple(dense.shape)
        raise ValueError(f"Expected a dense kernel {expected} + (side, ...) for {first} -> {last}, received {shape}.")
    kernel = dense.detach().double().cpu().numpy()
    turn = motion(rotation, False, first.group.dim)
    moved = np.einsum("oi,ij...,kj->ok...", last.matrix(turn), kernel, first.matrix(turn), optimize=True)
    return {k: _relative(symbol(kernel, p @ turn.T), symbol(moved, p)) for k, p in _spheres(frequencies, len(turn))}


def _relative(turned: NDArray[np.complex128], here: NDArray[np.complex128]) -> float:
    return float(np.linalg.norm(turned - here) / np.linalg.norm(here))


def _spheres(frequencies: Iterable[float], dim: int) -> list[tuple[float, NDArray[np.float64]]]:
    """Return, for each frequency, vectors of that length in directions spread evenly."""
    angles = 2 * np.pi * (np.arange(_AROUND) + 0.5) / _AROUND
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    if dim == 1:
        directions = np.array([[1.0], [-1.0]])
    elif dim == 3:
        heights = np.repeat((np.arange(16) + 0.5) / 8 - 1, _AROUND)
        directions = np.column_stack([np.tile(directions, (16, 1)) * np.sqrt(1 - heights**2)[:, None], heights])
    return [(float(k), k * directions) for k in frequencies]
