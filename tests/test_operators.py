import math

import numpy as np
import pytest

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
