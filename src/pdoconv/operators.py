r"""Polynomials in the derivatives, and how an orthogonal matrix acts on them.

An operator is $H(\partial_1, \dots, \partial_d) = \sum_a c_a \partial^a$. In the frame of an orthogonal matrix $A$ it
reads $\chi^{(A)} = H(A^{-1}\nabla)$: the same polynomial in the rotated derivatives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import comb, perm

import numpy as np

from pdoconv.grid import Matrix

Exponents = tuple[int, ...]


@dataclass(frozen=True, init=False)
class Operator:
    """A polynomial in the derivatives, immutable: add, subtract and multiply them, take powers.

    Args:
        terms: Coefficient of each monomial, by its exponents: `{(2, 0): 1.0, (0, 2): 1.0}` is the Laplacian.

    Raises:
        ValueError: If there is no term, the exponents differ in length, are negative, or a coefficient is not finite.

    >>> u, v = derivatives(2)
    >>> u**2 + v**2
    Operator(u^2 + v^2)
    """

    terms: tuple[tuple[Exponents, float], ...]

    def __init__(self, terms: Mapping[Exponents, float]) -> None:
        """Check, drop zeros and sort: by order, then as in the paper (u^2, uv, v^2)."""
        if not terms or len({len(e) for e in terms}) != 1:
            raise ValueError(f"Operator: expected exponents of one length for each term, received {dict(terms)}.")
        if any(i < 0 for e in terms for i in e) or not np.isfinite(list(terms.values())).all():
            raise ValueError(f"Operator: expected exponents >= 0 and finite coefficients, received {dict(terms)}.")
        zero = (0,) * len(next(iter(terms)))
        kept = {e: float(c) for e, c in terms.items() if c != 0.0} or {zero: 0.0}
        ordered = sorted(kept.items(), key=lambda t: (sum(t[0]), [-i for i in t[0]]))
        object.__setattr__(self, "terms", tuple(ordered))

    @property
    def dim(self) -> int:
        """Number of variables."""
        return len(self.terms[0][0])

    @property
    def order(self) -> int:
        """Highest total order of a derivative."""
        return max(sum(e) for e, _ in self.terms)

    def __add__(self, other: "Operator") -> "Operator":
        """Add two operators; `ValueError` if their dimensions differ."""
        if other.dim != self.dim:
            raise ValueError(
                f"Operators of {self.dim} and of {other.dim} dimensions cannot be joined: {self}, {other}."
            )
        total = dict(self.terms)
        for e, c in other.terms:
            total[e] = total.get(e, 0.0) + c
        return Operator(total)

    def __mul__(self, other: "Operator | float") -> "Operator":
        """Compose two operators with constant coefficients, or scale one."""
        if not isinstance(other, Operator):
            return Operator({e: c * other for e, c in self.terms})
        if other.dim != self.dim:
            raise ValueError(
                f"Operators of {self.dim} and of {other.dim} dimensions cannot be joined: {self}, {other}."
            )
        total: dict[Exponents, float] = {}
        for e, c in self.terms:
            for f, d in other.terms:
                key = tuple(i + j for i, j in zip(e, f, strict=True))
                total[key] = total.get(key, 0.0) + c * d
        return Operator(total)

    def __rmul__(self, factor: float) -> "Operator":
        """Scale."""
        return self * factor

    def __neg__(self) -> "Operator":
        """Change the sign."""
        return self * -1.0

    def __sub__(self, other: "Operator") -> "Operator":
        """Subtract."""
        return self + other * -1.0

    def __pow__(self, n: int) -> "Operator":
        """Apply n times."""
        if n < 0:
            raise ValueError(f"An operator can be applied 0 or more times, received {n}.")
        result = Operator({(0,) * self.dim: 1.0})
        for _ in range(n):
            result = result * self
        return result

    def in_frame(self, matrix: Matrix) -> "Operator":
        r"""Return $H(A^{-1}\nabla)$ for an orthogonal matrix $A$, with exact polynomial arithmetic.

        For a rotation by t, $A^{-1}\nabla = (c u + s v, -s u + c v)$ with c = cos t, s = sin t.

        Raises:
            ValueError: If the matrix is not square of the operator's dimension.

        >>> u, v = derivatives(2)
        >>> u.in_frame(np.array([[0.0, -1.0], [1.0, 0.0]]))
        Operator(v)
        """
        if np.shape(matrix) != (self.dim, self.dim):
            raise ValueError(f"in_frame: expected a {self.dim} x {self.dim} matrix, received {np.shape(matrix)}.")
        grad = derivatives(self.dim)
        rotated = [_sum([g * float(a) for g, a in zip(grad, row, strict=True)]) for row in np.transpose(matrix)]
        parts = []
        for exponents, c in self.terms:
            term = Operator({(0,) * self.dim: c})
            for variable, n in zip(rotated, exponents, strict=True):
                term = term * variable**n
            parts.append(term)
        return _sum(parts)

    def __repr__(self) -> str:
        """Print as a polynomial in u, v, w (derivatives along x, y, z)."""
        text = []
        for exponents, c in self.terms:
            names = "uvw" if self.dim <= 3 else [f"d{i}" for i in range(self.dim)]
            factors = [f"{n}^{e}" if e > 1 else n for n, e in zip(names, exponents, strict=False) if e]
            number = [] if c == 1 and factors else [f"{c:g}"]
            text.append(" ".join(number + factors))
        return f"Operator({' + '.join(text)})"


def _sum(operators: list[Operator]) -> Operator:
    return sum(operators[1:], start=operators[0])


def derivatives(dim: int = 2) -> tuple[Operator, ...]:
    """Return the first derivatives along each axis: on the plane u = d/dx (right) and v = d/dy (up)."""
    if dim < 1:
        raise ValueError(f"derivatives: the dimension must be at least 1, received {dim}.")
    return tuple(Operator({tuple(int(i == j) for j in range(dim)): 1.0}) for i in range(dim))


def paper() -> tuple[Operator, ...]:
    """Return the paper's nine operators: 1, u, v, u^2, uv, v^2, u^2 v, u v^2, u^2 v^2 (Shen et al., 2020)."""
    u, v = derivatives(2)
    exponents = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (2, 1), (1, 2), (2, 2)]
    return tuple(u**a * v**b for a, b in exponents)


def paper_biharmonic() -> tuple[Operator, ...]:
    """Return the paper's nine operators with (u^2 + v^2)^2 in the place of u^2 v^2.

    Their turned copies never need D(4, 4), so `stencils.isotropic()` makes every term fourth-order equivariant on 5x5.
    """
    u, v = derivatives(2)
    return (*paper()[:-1], (u**2 + v**2) ** 2)


def up_to(order: int, dim: int = 2) -> tuple[Operator, ...]:
    """Return all monomials up to a total order: (order + 1)(order + 2) / 2 of them on the plane.

    >>> len(up_to(4)), len(up_to(2, dim=3))
    (15, 10)
    """
    return tuple(Operator({e: 1.0}) for e in monomials(dim, _order(order)))


def rotation_adapted(order: int, dim: int = 2) -> tuple[Operator, ...]:
    """Return the basis of all operators up to an order that rotations mix least: every D(m, n) with n up to `order`.

    Args:
        order: Highest order n.
        dim: 1, 2 or 3.

    >>> rotation_adapted(2)
    (Operator(1), Operator(u), Operator(v), Operator(u^2 + v^2), Operator(u^2 + -1 v^2), Operator(2 u v))
    """
    return tuple(h for m, n in _degrees(_order(order)) for h in adapted(m, n, dim))


@lru_cache(maxsize=256)
def adapted(m: int, n: int, dim: int = 2) -> tuple[Operator, ...]:
    r"""Return the operators of order n and angular frequency m, $h\, \Delta^{(n-m)/2}$ with harmonic h of degree m.

    On the plane they are real and imaginary part of $D(m,n) = (u + i v)^m \Delta^{(n-m)/2}$, which a rotation by t
    multiplies by $e^{-imt}$ (for m = 0 the real part alone). In space there are 2m + 1, on the line one, for m = 0, 1.

    Raises:
        ValueError: If n - m is negative or odd, or the dimension is not 1, 2 or 3.
    """
    if m < 0 or n < m or (n - m) % 2:
        raise ValueError(f"D(m, n) needs 0 <= m <= n and an even n - m, received m={m}, n={n}.")
    laplacian = _sum([d**2 for d in derivatives(dim)])
    return tuple(h * laplacian ** ((n - m) // 2) for h in harmonics(m, dim))


@lru_cache(maxsize=64)
def harmonics(m: int, dim: int) -> tuple[Operator, ...]:
    r"""Return a basis of the homogeneous polynomials of degree m with $\Delta h = 0$.

    In space these are real and imaginary part, l = 0, ..., m, of the solid harmonics
    $(u + i v)^l \sum_k (-1)^k \binom{m}{k} \binom{2m-2k}{m} \frac{(m-2k)!}{(m-2k-l)!}\, r^{2k} w^{m-2k-l} / 2^m$.

    Raises:
        ValueError: If the dimension is not 1, 2 or 3.
    """
    grad = derivatives(dim)
    if dim == 1:
        return (grad[0] ** m,) if m < 2 else ()
    if dim == 2:
        return _powers(m, *grad)
    if dim != 3:
        raise ValueError(f"Harmonics are known in 1, 2 and 3 dimensions, received {dim}: give the operators yourself.")
    w, square = grad[2], _sum([d**2 for d in grad])
    found: list[Operator] = []
    for order in range(m + 1):
        axial = [
            square**k
            * w ** (m - 2 * k - order)
            * float((-1) ** k * comb(m, k) * comb(2 * m - 2 * k, m) * perm(m - 2 * k, order) / 2**m)
            for k in range((m - order) // 2 + 1)
        ]
        found += [_sum(axial) * planar for planar in _powers(order, *grad[:2])]
    return tuple(found)


def rotation_closed(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
    """Return the D(m, n) that turned copies of the given operators consist of.

    The paper's nine operators give thirteen: all up to order 4 but D(2, 4).

    >>> len(rotation_closed(paper())), len(rotation_closed(paper_biharmonic()))
    (13, 11)
    """
    if not operators:
        raise ValueError("rotation_closed: expected at least one operator, received none.")
    dim, order = operators[0].dim, max(h.order for h in operators)
    exponents = monomials(dim, order)
    parts = coefficients(tuple(operators), exponents) @ np.linalg.inv(
        coefficients(rotation_adapted(order, dim), exponents)
    )
    found: list[Operator] = []
    start = 0
    for m, n in _degrees(order):
        block = adapted(m, n, dim)
        if block and np.abs(parts[:, start : start + len(block)]).max() > 1e-9:
            found += block
        start += len(block)
    return tuple(found)


def _degrees(order: int) -> list[tuple[int, int]]:
    """List (m, n) with m <= n <= order and n - m even, by n."""
    return [(m, n) for n in range(order + 1) for m in range(n % 2, n + 1, 2)]


def _powers(m: int, u: Operator, v: Operator) -> tuple[Operator, ...]:
    """Return real and imaginary part of (u + i v)^m; for m = 0 the real part alone."""
    real, imaginary = u**0, u * 0.0
    for _ in range(m):
        real, imaginary = real * u - imaginary * v, real * v + imaginary * u
    return (real, imaginary) if m else (real,)


def _order(order: int) -> int:
    if isinstance(order, bool) or not isinstance(order, int) or order < 0:
        raise ValueError(f"The order must be a whole number of at least 0, received {order!r}.")
    return order


def monomials(dim: int, order: int) -> list[Exponents]:
    """List the exponents of all monomials up to a total order: by order, then u^n, u^(n-1) v, ..., v^n.

    >>> monomials(2, 2)
    [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    """
    grids = np.stack(np.meshgrid(*[np.arange(order + 1)] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    found = [tuple(int(i) for i in row) for row in grids if row.sum() <= order]
    found.sort(key=lambda e: (sum(e), [-i for i in e]))
    return found


def coefficients(operators: tuple[Operator, ...], exponents: list[Exponents]) -> Matrix:
    """Return the matrix `(operators, monomials)` of coefficients."""
    column = {e: i for i, e in enumerate(exponents)}
    table = np.zeros((len(operators), len(exponents)))
    for row, operator in enumerate(operators):
        for e, c in operator.terms:
            table[row, column[e]] = c
    return table
