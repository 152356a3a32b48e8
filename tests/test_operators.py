import math

import numpy as np
import pytest

import pdoconv as pdo
from pdoconv import operators as ops
from pdoconv.groups import MIRROR, rotation
from pdoconv.operators import Operator

EXPONENTS = ops.monomials(2, 4)


def table(matrix):
    return ops.coefficients(tuple(h.in_frame(matrix) for h in ops.paper()), EXPONENTS)


@pytest.mark.parametrize("angle", ["0", "22.5", "30", "45", "60", "90"])
def test_nine_monomials_equal_oracle(oracle, angle):
    arrays = oracle("unit_beta_transformed_stencils")
    turn = rotation(math.radians(float(angle)))
    assert np.abs(table(turn) - arrays[f"M_{angle}"]).max() < 1e-12
    assert np.abs(table(turn @ MIRROR) - arrays[f"Mrefl_{angle}"]).max() < 1e-12
    if angle not in ("0", "90"):  # negative control: the other direction of rotation
        assert np.abs(table(turn.T) - arrays[f"M_{angle}"]).max() > 0.1


def test_nine_monomials_equal_the_authors(oracle):
    arrays = oracle("authors_constants_p8")
    for angle, matrix in zip(arrays["angles"], arrays["tran"], strict=True):
        assert np.abs(table(rotation(angle)) - matrix).max() < 1e-6  # theirs are single precision


def test_frames_compose():
    a, b = rotation(0.3) @ MIRROR, rotation(1.1)
    for h in ops.paper():
        left, right = h.in_frame(b).in_frame(a), h.in_frame(a @ b)
        difference = ops.coefficients((left - right,), ops.monomials(2, 4))
        assert np.abs(difference).max() < 1e-12


def test_laplacian_is_invariant_in_space():
    u, v, w = ops.derivatives(3)
    laplacian = u**2 + v**2 + w**2
    matrix = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    moved = laplacian.in_frame(matrix) - laplacian
    assert np.abs([c for _, c in moved.terms]).max() < 1e-12


def test_arithmetic_and_printing():
    u, v = ops.derivatives(2)
    assert (u + v) * (u - v) == u**2 - v**2
    assert repr(2 * u**2 * v - 1.5 * v) == "Operator(-1.5 v + 2 u^2 v)"
    assert repr(u - u) == "Operator(0)"
    assert (u**2 * v).order == 3


@pytest.mark.parametrize("terms", [{}, {(1,): 1.0, (1, 0): 1.0}, {(-1, 0): 1.0}, {(1, 0): math.nan}])
def test_bad_operators(terms):
    with pytest.raises(ValueError, match="expected exponents"):
        Operator(terms)


def test_bad_frame():
    u, _ = ops.derivatives(2)
    with pytest.raises(ValueError, match="2 x 2"):
        u.in_frame(np.eye(3))
    with pytest.raises(ValueError, match="at least 1"):
        ops.derivatives(0)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_rotation_adapted_is_a_basis(dim):
    for order in range(5 if dim < 3 else 4):
        found = ops.coefficients(ops.rotation_adapted(order, dim), ops.monomials(dim, order))
        assert np.linalg.matrix_rank(found) == found.shape[0] == found.shape[1] == len(ops.up_to(order, dim))


@pytest.mark.parametrize(("m", "n"), [(0, 2), (1, 1), (1, 3), (2, 2), (2, 4), (3, 3), (4, 4)])
def test_turned_by_a_phase(m, n):
    """D(m, n) in a frame turned by t is exp(-i m t) D(m, n); a wrong frequency is refused."""
    t = 0.7
    exponents = ops.monomials(2, n)
    block = ops.adapted(m, n)
    table = ops.coefficients(block, exponents)
    turned = ops.coefficients(tuple(h.in_frame(rotation(t)) for h in block), exponents)
    if m == 0:
        assert np.abs(turned - table).max() < 1e-12
        return
    for frequency, same in ((m, True), (m + 1, False), (-m, False)):
        expected = ((table[0] + 1j * table[1]) * np.exp(-1j * frequency * t)).view(float).reshape(-1, 2).T
        assert (np.abs(turned - expected).max() < 1e-12) == same


@pytest.mark.parametrize("m", [0, 1, 2, 3, 4])
def test_solid_harmonics(m):
    """Harmonic, 2 m + 1 of them, and closed under rotations."""
    basis = ops.harmonics(m, 3)
    assert len(basis) == 2 * m + 1
    for h in basis:
        laplacian = {}
        for e, c in h.terms:
            for i in range(3):
                if e[i] > 1:
                    key = tuple(n - 2 * (j == i) for j, n in enumerate(e))
                    laplacian[key] = laplacian.get(key, 0) + c * e[i] * (e[i] - 1)
        assert max(map(abs, laplacian.values()), default=0) < 1e-12
    exponents = ops.monomials(3, m)
    table = ops.coefficients(basis, exponents)
    turned = ops.coefficients(tuple(h.in_frame(pdo.icosahedral().matrices[7]) for h in basis), exponents)
    assert np.linalg.matrix_rank(np.concatenate([table, turned]), tol=1e-9) == 2 * m + 1


def test_rotation_closed():
    assert ops.rotation_closed(ops.paper()) == tuple(
        h for m, n in [(0, 0), (1, 1), (0, 2), (2, 2), (1, 3), (3, 3), (0, 4), (4, 4)] for h in ops.adapted(m, n)
    )
    u, v, w = ops.derivatives(3)
    assert len(ops.rotation_closed((u * v,))) == 5
    assert len(ops.rotation_closed((u**2,))) == 6
    assert ops.rotation_closed((u**2 + v**2 + w**2,)) == ops.adapted(0, 2, 3)


def test_families_refuse():
    for order in (-1, 2.0, True):
        with pytest.raises(ValueError, match="at least 0"):
            ops.up_to(order)
    with pytest.raises(ValueError, match="at least one operator"):
        ops.rotation_closed(())
    with pytest.raises(ValueError, match="even n - m"):
        ops.adapted(1, 2)
    with pytest.raises(ValueError, match="1, 2 and 3 dimensions"):
        ops.harmonics(2, 4)


def test_arithmetic():
    u = ops.derivatives(2)[0]
    assert -u == u * -1.0 == u - u * 2.0
    for join in (lambda: u + ops.derivatives(3)[0], lambda: u * ops.derivatives(1)[0]):
        with pytest.raises(ValueError, match="cannot be joined"):
            join()
