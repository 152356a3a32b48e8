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
from collections.abc import Sequence
from functools import reduce
from itertools import combinations, combinations_with_replacement
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdoconv.pde.jets import Derivatives, Jet
from pdoconv.stencils import Stencils

Matrix = list[list[Any]]


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
    default = ("rho", "O") if fields == 2 else tuple(f"u{i + 1}" for i in range(fields))
    u = tuple(labels or default)
    if len(u) != fields:
        raise ValueError(f"names: expected {fields} labels, received {len(u)}: {u}.")
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
    u = tuple(labels or (("rho", "O") if fields == 2 else tuple(f"u{i + 1}" for i in range(fields))))
    found = [f"g({a}) J g({b})" for a, b in combinations(u, 2)]
    found += [f"g({a}) JH({c}) g({b})" for a, b in combinations_with_replacement(u, 2) for c in u]
    return (*found, *(f"tr JH({a})H({b})" for a, b in combinations(u, 2)))


def polynomials(jet: Jet) -> list[Any]:
    """Return the invariants of a jet, in the order of `names`; of maps, numbers or symbols alike.

    Raises:
        ValueError: If there is no list for so many fields in this dimension.
    """
    _require(jet.fields, jet.dim)
    g, h = jet.gradient, jet.hessian
    each, pairs = range(jet.fields), list(combinations_with_replacement(range(jet.fields), 2))
    found = [jet.value[0] * 0 + 1, *jet.value]
    found += [_dot(g[i], g[j]) for i, j in pairs]
    found += [_trace(h[i]) for i in each]
    for i, j in pairs:
        outer = _symmetric(g[i], g[j])
        found += [_contract(outer, h[k]) for k in each]
    found += [_contract(h[i], h[j]) for i, j in pairs]
    return found + (_space(g, h, pairs) if jet.dim == 3 else [])


def _space(g: list[list[Any]], h: list[Matrix], pairs: list[tuple[int, int]]) -> list[Any]:
    """Return what invariants of one or two fields in space have besides those that the plane has."""
    each = range(len(g))
    squares = [_product(m, m) for m in h]
    found = [_contract(squares[i], h[j]) for i in each for j in each]
    found += [_contract(squares[i], squares[j]) for i, j in pairs if i < j]
    for i, j in pairs:
        outer = _symmetric(g[i], g[j])
        found += [_contract(outer, squares[k]) for k in each]
    if len(g) == 2:
        mixed = _product(h[0], h[1])
        found += [_contract(_symmetric(a, a), mixed) for a in g]
        found += [_dot(g[0], _apply(mixed, g[1])) - _dot(g[1], _apply(mixed, g[0]))]
    return found


def pseudo_polynomials(jet: Jet) -> list[Any]:
    r"""Return what rotations of the plane leave alone and reflections turn around, in the order of `pseudo_names`.

    $g_i^T J g_j$ and $\mathrm{tr}\, J H_i H_j$ for $i < j$, $g_i^T J H_k g_j$ (made symmetric in i, j) for $i \le j$,
    with the quarter turn $J = (0, -1; 1, 0)$. Use them where handedness has a meaning.

    Raises:
        ValueError: If the jet is not of the plane.
    """
    if jet.dim != 2:
        raise ValueError(f"pseudo_polynomials: expected fields on the plane, received dimension {jet.dim}.")
    g, h = jet.gradient, jet.hessian
    each = range(jet.fields)
    turned = [[[-m[1][0], -m[1][1]], [m[0][0], m[0][1]]] for m in h]  # J H
    found = [g[i][1] * g[j][0] - g[i][0] * g[j][1] for i, j in combinations(each, 2)]
    for i, j in combinations_with_replacement(each, 2):
        outer = _symmetric(g[i], g[j])
        found += [_contract(outer, turned[k]) for k in each]
    return found + [_trace(_product(turned[i], h[j])) for i, j in combinations(each, 2)]


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
    return torch.stack(found + pseudo_polynomials(jet) if pseudo else found, dim=1)


def orders(fields: int = 2, dim: int = 2) -> tuple[int, ...]:
    """Return the order of each invariant in 1/h: how often it differentiates; coefficients rescale with the grid by it.

    >>> orders()
    (0, 0, 0, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4)
    """
    _require(fields, dim)
    rng = np.random.default_rng(0)
    g, h = rng.uniform(1, 2, (fields, dim)), rng.uniform(1, 2, (fields, dim, dim))
    h = h + h.transpose(0, 2, 1)
    here, finer = (polynomials(Jet([1.0] * fields, (g * s).tolist(), (h * s**2).tolist())) for s in (1, 2))
    return tuple(round(math.log2(b / a)) for a, b in zip(here, finer, strict=True))


def _require(fields: int, dim: int) -> None:
    if isinstance(fields, bool) or not isinstance(fields, int) or fields < 1:
        raise ValueError(f"Invariants: expected at least 1 field, received {fields!r}.")
    if dim not in (2, 3):
        raise ValueError(f"Invariants: expected dimension 2 or 3, received {dim!r}.")
    if dim == 3 and fields > 2:
        raise ValueError(f"Invariants: in space they are listed for 1 and 2 fields, received {fields}.")


def _dot(a: list[Any], b: list[Any]) -> Any:
    return reduce(add, [x * y for x, y in zip(a, b, strict=True)])


def _trace(m: Matrix) -> Any:
    return reduce(add, [m[i][i] for i in range(len(m))])


def _symmetric(a: list[Any], b: list[Any]) -> Matrix:
    """Return (a b^T + b a^T) / 2."""
    n = range(len(a))
    upper = {(i, j): a[i] * b[j] for i in n for j in n if i <= j}
    if a is not b:
        upper |= {(i, j): (upper[i, j] + a[j] * b[i]) / 2 for i, j in upper if i < j}
    return [[upper[min(i, j), max(i, j)] for j in n] for i in n]


def _contract(a: Matrix, b: Matrix) -> Any:
    """Return tr(A B) of a symmetric A: its off-diagonal entries meet the sums of those of B."""
    n = range(len(a))
    mixed = [a[i][j] * (b[i][j] * 2 if b[i][j] is b[j][i] else b[i][j] + b[j][i]) for i in n for j in n if i < j]
    return reduce(add, [a[i][i] * b[i][i] for i in n] + mixed)


def _product(a: Matrix, b: Matrix) -> Matrix:
    return [[_dot(row, list(column)) for column in zip(*b, strict=True)] for row in a]


def _apply(m: Matrix, v: list[Any]) -> list[Any]:
    return [_dot(row, v) for row in m]
