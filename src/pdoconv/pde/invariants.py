r"""Differential invariants up to second order of any number of fields.

For fields $u_1, \dots, u_n$ with gradients $g_i$ and Hessians $H_i$ these are, in this order,

$$1; \quad u_i; \quad g_i^T g_j; \quad \mathrm{tr} H_i; \quad g_i^T H_k g_j; \quad \mathrm{tr} H_i H_j$$

for $i \le j$ and all k: $1 + n + n(n+1)/2 + n + n\, n(n+1)/2 + n(n+1)/2$ of them, 17 for the pair $(\rho, O)$ of Liu,
Lin, Zhang, Tang, Su (2010, 2013). Rotations and reflections leave them as they are, in any dimension. In space two
symmetric matrices have more invariants; `polynomials` appends those that complete Smith's functional basis (Smith,
1971): $\mathrm{tr} H_i^3$, $\mathrm{tr} H_i^2 H_j$, $\mathrm{tr} H_1^2 H_2^2$, $g_i^T H_k^2 g_j$,
$g_i^T (H_1 H_2 + H_2 H_1) g_i / 2$, $g_1^T (H_1 H_2 - H_2 H_1) g_2$.

As functions they are redundant: the jet of two fields on the plane has 12 entries and rotations one parameter, so 11
are independent. A linear combination of them does not give every invariant function.
"""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import combinations, combinations_with_replacement
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdoconv.pde.jets import Derivatives, Jet
from pdoconv.stencils import Stencils


def names(fields: int = 2, dim: int = 2, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return what `polynomials` lists, as text.

    Args:
        fields: Number of fields.
        dim: 2 or 3.
        labels: Names of the fields; default `("rho", "O")` for two, else `u1`, `u2`, ...

    Raises:
        ValueError: If there is no list for so many fields in this dimension, or not a label for each.

    >>> len(names()), len(names(3)), names(1)
    (17, 37, ('1', 'u1', 'g(u1).g(u1)', 'tr H(u1)', 'g(u1) H(u1) g(u1)', 'tr H(u1)H(u1)'))
    """
    _require(fields, dim)
    u = _labels(fields, labels)
    pairs = list(combinations_with_replacement(u, 2))
    found = ["1", *u, *(f"g({a}).g({b})" for a, b in pairs), *(f"tr H({a})" for a in u)]
    found += [f"g({a}) H({c}) g({b})" for a, b in pairs for c in u]
    found += [f"tr H({a})H({b})" for a, b in pairs]
    if dim == 3:
        found += [f"tr H({a})H({a})H({b})" for a in u for b in u]
        found += [f"tr H({a})H({a})H({b})H({b})" for a, b in combinations(u, 2)]
        found += [f"g({a}) H({c})H({c}) g({b})" for a, b in pairs for c in u]
        for a, b in combinations(u, 2):
            found += [f"g({c}) (H({a})H({b}) + H({b})H({a}))/2 g({c})" for c in u]
            found += [f"g({a}) (H({a})H({b}) - H({b})H({a})) g({b})"]
    return tuple(found)


def pseudo_names(fields: int = 2, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return what `pseudo_polynomials` lists, as text.

    >>> pseudo_names(1), len(pseudo_names(2))
    (('g(u1) JH(u1) g(u1)',), 8)
    """
    _require(fields, 2)
    u = _labels(fields, labels)
    found = [f"g({a}) J g({b})" for a, b in combinations(u, 2)]
    found += [f"g({a}) JH({c}) g({b})" for a, b in combinations_with_replacement(u, 2) for c in u]
    return (*found, *(f"tr JH({a})H({b})" for a, b in combinations(u, 2)))


def polynomials(jet: Jet) -> Any:
    """Return the invariants of a jet, `(count, *rest)`, in the order of `names`; of maps, numbers or symbols alike.

    Raises:
        ValueError: If there is no list for so many fields in this dimension.
    """
    _require(jet.fields, jet.dim)
    g, h, each, axes = jet.gradient, jet.hessian, range(jet.fields), range(jet.dim)
    found = [jet.value[:1] * 0 + 1, jet.value]
    found += [_total(g[a][i : i + 1] * g[a][i:] for a in axes) for i in each]
    found += [_total(h[a][a] for a in axes)]
    found += [_contract(_outer(g, i), h) for i in each]
    found += [_pairs(h, i) for i in each]
    return _joined(found + (_space(g, h) if jet.dim == 3 else []))


def _space(g: list[Any], h: list[list[Any]]) -> list[Any]:
    """Return what invariants of one or two fields in space have besides those that the plane has."""
    n, axes = len(g[0]), range(3)
    squares = _product(h, h)
    found = [_contract(squares, h)]
    found += [_total(squares[a][b][:1] * squares[a][b][1:] for a in axes for b in axes)]  # none of one field
    found += [_contract(_outer(g, i), squares) for i in range(n)]
    if n == 2:
        one, two = ([[m[slice(i, i + 1)] for m in row] for row in h] for i in range(2))
        mixed = _product(one, two)
        found += [_total(g[a] * mixed[a][b] * g[b] for a in axes for b in axes)]
        found += [_total(g[a][:1] * (mixed[a][b] - mixed[b][a]) * g[b][1:] for a in axes for b in axes)]
    return found


def pseudo_polynomials(jet: Jet) -> Any:
    r"""Return what rotations of the plane leave alone and reflections turn around, in the order of `pseudo_names`.

    $g_i^T J g_j$ and $\mathrm{tr}\, J H_i H_j$ for $i < j$, $g_i^T J H_k g_j$ (made symmetric in i, j) for $i \le j$,
    with the quarter turn $J = (0, -1; 1, 0)$. Use them where handedness has a meaning.

    Raises:
        ValueError: If the jet is not of the plane.
    """
    if jet.dim != 2:
        raise ValueError(f"pseudo_polynomials: expected fields on the plane, received dimension {jet.dim}.")
    (x, y), h, each = jet.gradient, jet.hessian, range(jet.fields)
    turned = [[-h[1][0], -h[1][1]], [h[0][0], h[0][1]]]  # J H
    found = [y[i : i + 1] * x[i + 1 :] - x[i : i + 1] * y[i + 1 :] for i in each]
    found += [_contract(_outer(jet.gradient, i), turned) for i in each]
    found += [_total(turned[a][b][i : i + 1] * h[b][a][i + 1 :] for a in range(2) for b in range(2)) for i in each]
    return _joined(found)


def invariants(
    rho: Tensor,
    o: Tensor,
    *,
    padding: str = "zeros",
    stencils: Stencils | None = None,
    kernel_size: int = 3,
    pseudo: bool = False,
) -> Tensor:
    r"""Return the differential invariants of a pair of fields $(\rho, O)$, the 17 of the table on the plane.

    Args:
        rho: First field, `(batch, 1, *space)`; on the plane or in space.
        o: Second field, likewise.
        padding: Boundary condition: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        stencils: Numerical scheme; default central differences of second order.
        kernel_size: Odd side of the kernels.
        pseudo: Append those that reflections turn around (plane only).

    Returns:
        `(batch, 17, H, W)` on the plane, in the order of `names()`; `(batch, 31, D, H, W)` in space.

    Raises:
        ValueError: If the fields differ in shape or dtype, do not have one channel, or an argument is out of range.

    >>> invariants(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 17, 8, 8])
    """
    if rho.shape != o.shape or rho.dtype != o.dtype or rho.dim() < 3 or rho.shape[1] != 1:
        raise ValueError(
            f"invariants: expected two fields (batch, 1, *space) alike, received {tuple(rho.shape)}, {rho.dtype} and "
            f"{tuple(o.shape)}, {o.dtype}."
        )
    derive = Derivatives(rho.dim() - 2, stencils=stencils, kernel_size=kernel_size, padding=padding).to(rho.device)
    jet = derive(torch.cat([rho, o], dim=1))
    found = polynomials(jet)
    all_of_them: Tensor = _joined([found, pseudo_polynomials(jet)]) if pseudo else found
    return all_of_them.transpose(0, 1)


def orders(fields: int = 2, dim: int = 2) -> tuple[int, ...]:
    """Return the order of each invariant in 1/h: how often it differentiates; coefficients rescale with the grid by it.

    >>> orders()
    (0, 0, 0, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4)
    """
    _require(fields, dim)
    rng = np.random.default_rng(0)
    g, h = rng.uniform(1, 2, (dim, fields)), rng.uniform(1, 2, (dim, dim, fields))
    h = h + h.transpose(1, 0, 2)
    here, finer = (polynomials(Jet(np.ones(fields), [*g * s], [[*row] for row in h * s**2])) for s in (1, 2))
    return tuple(round(math.log2(b / a)) for a, b in zip(here, finer, strict=True))


def _labels(fields: int, labels: Sequence[str] | None) -> tuple[str, ...]:
    """Return a label for each field."""
    default = ("rho", "O") if fields == 2 else tuple(f"u{i + 1}" for i in range(fields))
    u = tuple(labels or default)
    if len(u) != fields:
        raise ValueError(f"names: expected {fields} labels, received {len(u)}: {u}.")
    return u


def _require(fields: int, dim: int) -> None:
    if isinstance(fields, bool) or not isinstance(fields, int) or fields < 1:
        raise ValueError(f"Invariants: expected at least 1 field, received {fields!r}.")
    if dim not in (2, 3):
        raise ValueError(f"Invariants: expected dimension 2 or 3, received {dim!r}.")
    if dim == 3 and fields > 2:
        raise ValueError(f"Invariants: in space they are listed for 1 and 2 fields, received {fields}.")


def _total(parts: Iterable[Any]) -> Any:
    return reduce(add, parts)


def _joined(parts: list[Any]) -> Any:
    return torch.cat(parts) if isinstance(parts[0], Tensor) else np.concatenate(parts)


def _outer(g: list[Any], i: int) -> list[list[Any]]:
    """Return (g_i g_j^T + g_j g_i^T) / 2 for j = i, i + 1, ...: dim times dim arrays, the first axis is j's."""
    n = range(len(g))
    upper = {(a, b): g[a][i : i + 1] * g[b][i:] for a in n for b in n if a <= b}
    for a, b in [key for key in upper if key[0] < key[1]]:
        upper[a, b] = (upper[a, b] + g[b][i : i + 1] * g[a][i:]) / 2
    return [[upper[min(a, b), max(a, b)] for b in n] for a in n]


def _contract(outer: list[list[Any]], m: list[list[Any]]) -> Any:
    """Return tr(A_j M_k) of symmetric A_j for all j, and for each all k, `(j times k, *rest)`."""
    n = range(len(m))
    found = _total(outer[a][a][:, None] * m[a][a][None] for a in n)
    for a, b in [(a, b) for a in n for b in n if a < b]:
        both = m[a][b] * 2 if m[a][b] is m[b][a] else m[a][b] + m[b][a]
        found = found + outer[a][b][:, None] * both[None]
    return found.reshape(-1, *found.shape[2:])


def _pairs(h: list[list[Any]], i: int) -> Any:
    """Return tr(H_i H_j) for j = i, i + 1, ..."""
    n = range(len(h))
    found = _total(h[a][a][i : i + 1] * h[a][a][i:] for a in n)
    return found + 2 * _total(h[a][b][i : i + 1] * h[a][b][i:] for a in n for b in n if a < b)


def _product(a: list[list[Any]], b: list[list[Any]]) -> list[list[Any]]:
    n = range(len(a))
    return [[_total(a[i][c] * b[c][j] for c in n) for j in n] for i in n]
