"""Differential invariants: that they are invariant, that there are no fewer, and what the grid makes of them."""

import math

import numpy as np
import pytest
import sympy
import torch
from conftest import relative

import pdoconv as pdo
from pdoconv.grid import move
from pdoconv.pde.invariants import invariants, names, orders, polynomials, pseudo_names, pseudo_polynomials
from pdoconv.pde.jets import PADDINGS, Derivatives, Jet
from pdoconv.stencils import gaussian, isotropic

COS, SIN = sympy.symbols("cos sin")  # of one symbolic angle: their squares add to 1
TURN = sympy.Matrix([[COS, -SIN], [SIN, COS]])
MIRROR = sympy.Matrix([[1, 0], [0, -1]])
QUARTERS = [np.rint(g) for g in pdo.dihedral(4).matrices]


def symbolic(fields, dim=2):
    """A jet of symbols."""
    axes = "xyz"[:dim]

    def symbols(end=""):
        return np.array([sympy.Symbol(f"u{i}{end}") for i in range(fields)])

    hessian = [[symbols("_" + "".join(sorted(a + b))) for b in axes] for a in axes]
    return Jet(symbols(), [symbols("_" + a) for a in axes], hessian)


def turned(jet, matrix):
    """The jet of the turned fields: A g, A H A^T."""
    m, axes = np.array(matrix.tolist()), range(jet.dim)
    gradient = [sum(m[a, b] * jet.gradient[b] for b in axes) for a in axes]
    hessian = [[sum(m[a, c] * jet.hessian[c][d] * m[b, d] for c in axes for d in axes) for b in axes] for a in axes]
    return Jet(jet.value, gradient, hessian)


def zero(expression):
    """Whether a polynomial vanishes for every angle: sin^2 is 1 - cos^2, and then nothing is left."""
    return sympy.Poly(expression, SIN).rem(sympy.Poly(SIN**2 + COS**2 - 1, SIN)).is_zero


@pytest.mark.parametrize("fields", [1, 2, 3])
def test_invariant_to_a_symbolic_rotation_and_a_mirror(fields):
    jet = symbolic(fields)
    here = polynomials(jet)
    count = 1 + 2 * fields + (2 + fields) * fields * (fields + 1) // 2
    assert len(here) == len(names(fields)) == len(set(names(fields))) == count == {1: 6, 2: 17, 3: 37}[fields]
    for matrix in (TURN, MIRROR, TURN * MIRROR):
        assert all(zero(a - b) for a, b in zip(here, polynomials(turned(jet, matrix)), strict=True))


@pytest.mark.parametrize("fields", [1, 2])
def test_pseudo_invariants_change_sign_under_a_mirror(fields):
    jet = symbolic(fields)
    here = pseudo_polynomials(jet)
    assert len(here) == len(pseudo_names(fields)) == {1: 1, 2: 8}[fields]
    assert all(zero(a - b) for a, b in zip(here, pseudo_polynomials(turned(jet, TURN)), strict=True))
    assert all(zero(a + b) for a, b in zip(here, pseudo_polynomials(turned(jet, MIRROR)), strict=True))
    assert not any(map(zero, here))


def test_the_misprinted_rows_are_not_invariant():
    jet = symbolic(2)

    def rows(jet):
        """Rows 8 and 9 as printed: with squares on the second derivatives."""
        (x, *_), (y, *_) = jet.gradient
        (xx, xy), (_, yy) = jet.hessian
        return [*(x**2 * xx**2 + 2 * x * y * xy**2 + y**2 * yy**2)]

    for here, there in zip(rows(jet), rows(turned(jet, TURN)), strict=True):
        assert not zero(here - there)
        angle = {COS: sympy.Rational(4, 5), SIN: sympy.Rational(3, 5)}
        assert sympy.expand((here - there).subs(angle)) != 0


def test_order_of_the_table():
    rho, o = torch.rand(2, 1, 1, 9, 11, dtype=torch.float64)
    inv = invariants(rho, o, padding="circular")

    def d(u):
        """Differences one by one; y points up."""
        e, w, n, s = (torch.roll(u, k, a) for k, a in ((-1, -1), (1, -1), (1, -2), (-1, -2)))
        ne, se, nw, sw = (torch.roll(v, k, -2) for v in (e, w) for k in (1, -1))
        return (e - w) / 2, (n - s) / 2, e - 2 * u + w, (ne - se - nw + sw) / 4, n - 2 * u + s

    (x, y, xx, xy, yy), (X, Y, XX, XY, YY) = d(rho), d(o)
    mixed = y * X + x * Y
    expected = [
        torch.ones_like(o), rho, o,
        x**2 + y**2, x * X + y * Y, X**2 + Y**2,
        xx + yy, XX + YY,
        x**2 * xx + 2 * x * y * xy + y**2 * yy,
        x**2 * XX + 2 * x * y * XY + y**2 * YY,
        x * X * xx + mixed * xy + y * Y * yy,
        x * X * XX + mixed * XY + y * Y * YY,
        X**2 * xx + 2 * X * Y * xy + Y**2 * yy,
        X**2 * XX + 2 * X * Y * XY + Y**2 * YY,
        xx**2 + 2 * xy**2 + yy**2,
        xx * XX + 2 * xy * XY + yy * YY,
        XX**2 + 2 * XY**2 + YY**2,
    ]  # fmt: skip
    for j, row in enumerate(expected):
        assert torch.allclose(inv[:, j], row[:, 0], rtol=0, atol=1e-13), names()[j]
    assert orders() == (0,) * 3 + (2,) * 5 + (4,) * 9


def numbers(rng, fields, dim):
    h = rng.normal(size=(fields, dim, dim))
    return rng.normal(size=fields), rng.normal(size=(fields, dim)), h + h.transpose(0, 2, 1)


def listed(value, gradient, hessian):
    """The jet of values (n,), gradients (n, dim) and Hessians (n, dim, dim)."""
    return Jet(value, [*gradient.T], [[*row] for row in hessian.transpose(1, 2, 0)])


@pytest.mark.parametrize(("fields", "dim", "count"), [(1, 2, 6), (2, 2, 17), (3, 2, 37), (1, 3, 8), (2, 3, 31)])
def test_linearly_independent(fields, dim, count):
    rng = np.random.default_rng(0)
    rows = np.array([polynomials(listed(*numbers(rng, fields, dim))) for _ in range(3 * count)], dtype=float)
    assert rows.shape[1] == count == len(names(fields, dim))
    assert np.linalg.matrix_rank(rows) == count
    assert np.linalg.matrix_rank(np.column_stack([rows, rows[:, 3] * 2])) == count  # the rank would show a repetition


def rank(fields, dim, keep=slice(None)):
    """How many are functionally independent: the rank of the Jacobian at a generic jet."""
    value, gradient, hessian = (torch.from_numpy(v) for v in numbers(np.random.default_rng(1), fields, dim))
    upper = [(i, j) for i in range(dim) for j in range(i, dim)]
    flat = torch.cat([value, gradient.flatten(), torch.stack([hessian[:, i, j] for i, j in upper], 1).flatten()])

    def f(flat):
        v, g, h = flat.split([fields, fields * dim, fields * len(upper)])
        g, h = g.reshape(fields, dim), h.reshape(fields, len(upper))
        full = [[h[:, upper.index((min(i, j), max(i, j)))] for j in range(dim)] for i in range(dim)]
        return polynomials(Jet(v, [*g.T], full))[keep]

    return int(torch.linalg.matrix_rank(torch.autograd.functional.jacobian(f, flat), rtol=1e-9))


@pytest.mark.parametrize(("fields", "dim", "expected"), [(1, 2, 5), (2, 2, 11), (3, 2, 17), (1, 3, 7), (2, 3, 17)])
def test_functionally_independent(fields, dim, expected):
    """As many as the jet has entries, less the dimension of the rotations: none is missing."""
    entries = fields * (1 + dim + dim * (dim + 1) // 2)
    assert expected == entries - dim * (dim - 1) // 2 == rank(fields, dim)


def test_in_space_the_list_of_the_plane_is_not_enough():
    assert rank(1, 3, slice(6)) == 5 < 7


@pytest.mark.parametrize("fields", [1, 2])
@pytest.mark.parametrize("dim", [2, 3])
def test_invariant_to_random_motions(fields, dim):
    rng = np.random.default_rng(2)
    for sign in (1, -1):
        value, g, h = numbers(rng, fields, dim)
        q = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
        q[:, 0] *= sign * np.sign(np.linalg.det(q))
        here = polynomials(listed(value, g, h))
        there = polynomials(listed(value, g @ q.T, q @ h @ q.T))
        np.testing.assert_allclose(there, here, rtol=1e-12, atol=1e-12)
        assert np.abs(np.subtract(polynomials(listed(value, g @ q.T, h)), here)).max() > 0.01


@pytest.mark.parametrize("shape", [(9, 9), (8, 11)])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("scheme", "size"), [(None, 3), (isotropic(), 5), (gaussian(), 7)])
def test_commutes_with_quarter_turns_and_flips(padding, shape, scheme, size):
    rho, o = torch.randn(2, 2, 1, *shape, dtype=torch.float64)
    options = {"padding": padding, "stencils": scheme, "kernel_size": size, "pseudo": True}
    here = invariants(rho, o, **options)
    for g in QUARTERS:
        there = invariants(move(rho, g), move(o, g), **options)
        sign = torch.tensor([1.0] * 17 + [round(np.linalg.det(g))] * 8, dtype=torch.float64)
        assert relative(there, sign[:, None, None] * move(here, g)) < 1e-12


@pytest.mark.parametrize("padding", PADDINGS)
def test_commutes_with_the_symmetries_of_the_cube(padding):
    rho, o = torch.randn(2, 1, 1, 5, 5, 6, dtype=torch.float64)
    here = invariants(rho, o, padding=padding)
    assert here.shape == (1, 31, 5, 5, 6)
    for g in pdo.group("Oh").matrices[::5]:
        assert relative(invariants(move(rho, g), move(o, g), padding=padding), move(here, g)) < 1e-12


def test_a_wrong_invariant_is_rejected():
    u = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    derive = Derivatives(padding="circular")

    def wrong(u):
        return derive(u).gradient[0].transpose(0, 1) ** 2

    assert relative(wrong(move(u, QUARTERS[1])), move(wrong(u), QUARTERS[1])) > 0.1


def waves(x, y, seed):
    """A smooth function of the plane."""
    rng = np.random.default_rng(seed)
    k, phase = rng.normal(size=(4, 2)), rng.uniform(0, 6, 4)
    return sum(torch.sin(k[i, 0] * x + k[i, 1] * y + phase[i]) for i in range(4))


def mismatch(h, scheme, size):
    """Largest difference by invariant, of fields turned by 30 degrees, at points of the plane that both see."""
    c, s = math.cos(math.pi / 6), math.sin(math.pi / 6)
    points = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    line = h * (torch.arange(size, dtype=torch.float64) - size // 2)

    def at(points, turn):
        """Invariants at points, from the patch of the grid around each."""
        x, y = points[:, 0, None, None] + line, points[:, 1, None, None] - line[:, None]
        x, y = torch.broadcast_tensors(x, y)
        if turn:  # the turned field at p is the field at R^-1 p
            x, y = c * x + s * y, -s * x + c * y
        rho, o = (waves(x, y, seed)[:, None] for seed in (0, 1))
        found = invariants(rho, o, stencils=scheme, kernel_size=size)[..., size // 2, size // 2]
        return found / torch.tensor([h**p for p in orders()], dtype=torch.float64)

    moved = points @ torch.tensor([[c, s], [-s, c]], dtype=torch.float64)  # R p for rows
    return (at(moved, True) - at(points, False)).abs().amax(0)


@pytest.mark.parametrize(
    ("scheme", "size", "order"), [(None, 3, 2), (None, 5, 2), (isotropic(), 3, 2), (isotropic(), 5, 4)]
)
def test_order_of_convergence_at_30_degrees(scheme, size, order):
    """Fourth order wants isotropic stencils on 5x5: on 3x3 the mixed derivative stays of second order."""
    errors = torch.stack([mismatch(h, scheme, size) for h in (0.1, 0.05)])
    assert errors[:, :3].max() < 1e-13
    observed = torch.log2(errors[0, 3:] / errors[1, 3:])
    assert (observed - order).abs().min() < 0.3
    assert observed.min() > order - 0.3


def test_differentiable_and_batched():
    rho, o = (torch.rand(2, 1, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for padding in PADDINGS:
        options = {"padding": padding, "pseudo": True}
        assert torch.autograd.gradcheck(lambda a, b, o=options: invariants(a, b, **o), (rho, o), fast_mode=True)
    both = invariants(rho, o)
    alone = torch.cat([invariants(rho[i : i + 1], o[i : i + 1]) for i in range(2)])
    assert torch.equal(both, alone)


def test_equal_fields_leave_six():
    u = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    rows = invariants(u, u, padding="circular").flatten(2)[0]
    assert int(torch.linalg.matrix_rank(rows)) == 6
    assert int(torch.linalg.matrix_rank(invariants(u, u.flip(-1), padding="circular").flatten(2)[0])) == 17


def test_weights_stay_exact():
    derive = Derivatives(stencils=isotropic(), kernel_size=5)
    assert torch.equal(derive.half().double().weight, Derivatives(stencils=isotropic(), kernel_size=5).weight)
    assert not derive.state_dict()


def test_errors():
    u = torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match="two fields"):
        invariants(u, u[..., :7])
    with pytest.raises(ValueError, match="two fields"):
        invariants(u, u.double())
    with pytest.raises(ValueError, match="two fields"):
        invariants(u.expand(1, 2, 8, 8), u.expand(1, 2, 8, 8))
    with pytest.raises(ValueError, match="padding must be one of"):
        invariants(u, u, padding="same")
    with pytest.raises(ValueError, match="odd kernel_size"):
        invariants(u, u, kernel_size=4)
    with pytest.raises(ValueError, match="dimension 2 or 3"):
        Derivatives(1)
    with pytest.raises(ValueError, match="floating-point fields"):
        Derivatives()(torch.zeros(1, 1, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least 1 field"):
        names(0)
    with pytest.raises(ValueError, match="dimension 2 or 3"):
        names(1, 4)
    with pytest.raises(ValueError, match="in space they are listed for 1 and 2"):
        names(3, 3)
    with pytest.raises(ValueError, match="expected 2 labels"):
        names(2, labels=["u"])
    with pytest.raises(ValueError, match="on the plane"):
        pseudo_polynomials(symbolic(1, 3))
