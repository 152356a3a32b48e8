r"""Implicit diffusion on a grid: $(1 - c \Delta)^{-1}$ with the five-point Laplacian (seven in space), exactly.

A boundary condition is a symmetry of the picture continued beyond its border: odd about the pixel outside for
`"zeros"`, even about the outermost pixel for `"reflect"`, even about the outer edge for `"replicate"`, periodic for
`"circular"`. On the continued picture the Laplacian is a multiplication of Fourier coefficients.
"""

import math

import torch
from torch import Tensor

from pdoconv.pde.jets import require_padding


def implicit_diffusion(u: Tensor, amount: Tensor | float, *, padding: str = "zeros") -> Tensor:
    r"""Return v with $v - c \Delta v = u$: one implicit Euler step of the heat equation, stable for every $c \ge 0$.

    Args:
        u: Fields `(batch, n, *space)`.
        amount: c in pixels squared: a number, or one for each field `(n,)`.
        padding: Boundary condition.

    Raises:
        ValueError: If the boundary is unknown, or a number is negative or not finite.
    """
    require_padding("implicit_diffusion", padding)
    c = torch.as_tensor(amount, dtype=u.dtype, device=u.device)
    if not bool(((c >= 0) & torch.isfinite(c)).all()):
        raise ValueError(f"implicit_diffusion: expected finite amounts >= 0, received {c.tolist()}.")
    axes = list(range(2, u.dim()))
    whole = u
    for axis in axes:
        whole = _continued(whole, axis, padding)
    eigenvalues = torch.zeros((), dtype=u.dtype, device=u.device)
    for axis in axes:
        n = whole.shape[axis]
        angle = 2 * math.pi * torch.arange(n, dtype=u.dtype, device=u.device) / n
        line = 2 - 2 * torch.cos(angle)
        eigenvalues = eigenvalues + line.reshape([-1] + [1] * (u.dim() - 1 - axis))
    factor = 1 + c.reshape([-1] + [1] * len(axes)) * eigenvalues
    found: Tensor = torch.fft.ifftn(torch.fft.fftn(whole, dim=axes) / factor, dim=axes).real
    first = 1 if padding == "zeros" else 0
    for axis in axes:
        found = found.narrow(axis, first, u.shape[axis])
    return found


def _continued(u: Tensor, axis: int, padding: str) -> Tensor:
    """Return one period of a picture continued along an axis."""
    back = u.flip(axis)
    if padding == "circular":
        return u
    if padding == "replicate":
        return torch.cat([u, back], axis)
    if padding == "reflect":
        return torch.cat([u, back.narrow(axis, 1, max(u.shape[axis] - 2, 0))], axis)
    zero = torch.zeros_like(u.narrow(axis, 0, 1))
    return torch.cat([zero, u, zero, -back], axis)
