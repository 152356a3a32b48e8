import numpy as np
import pytest

from pdoconv import operators as ops
from pdoconv.stencils import centred, discretise, finite_difference, truncation_constant


def test_fifteen_stencils_equal_oracle(oracle):
    arrays = oracle("stencils")
    exponents = [tuple(map(int, e)) for e in arrays["exp15"]]
    assert exponents == ops.monomials(2, 4)
    ours = np.stack([finite_difference().weights(e, 5) for e in exponents])
    assert np.abs(ours - arrays["stencils"]).max() < 1e-12
    assert np.abs(ours - oracle("authors_constants_p8")["partial_dict"]).max() < 1e-12
    assert np.abs(ours[:, ::-1] - arrays["stencils"]).max() > 0.4  # negative control: y pointing down


def test_truncation_constants(oracle):
    assert np.abs([truncation_constant(n) for n in range(5)] - oracle("stencils")["trunc_c"]).max() < 1e-12


@pytest.mark.parametrize("accuracy", [2, 4, 6])
@pytest.mark.parametrize("n", range(5))
def test_exact_on_polynomials_and_order(n, accuracy):
    w = centred(n, accuracy)
    x = np.arange(len(w)) - len(w) // 2
    for degree in range(n + accuracy):
        derivative = np.prod(np.arange(degree - n + 1, degree + 1)) * (degree == n)  # at x = 0
        assert abs((w * x.astype(float) ** degree).sum() - derivative) < 1e-10
    if n:  # fitted order of the error on exp(x), and the stated constant
        errors = []
        for h in (0.2, 0.1, 0.05):
            errors.append((w * np.exp(h * x)).sum() / h**n - 1)
        assert abs(np.log2(errors[0] / errors[1]) - accuracy) < 0.1
        assert abs(errors[1] / (truncation_constant(n, accuracy) * 0.1**accuracy) - 1) < 0.05


def test_derivatives_of_a_plane():
    """d/dx of x is 1 and d/dy of y is 1, with y up."""
    u, v = ops.derivatives(2)
    x, y = np.meshgrid(np.arange(-2, 3), -np.arange(-2, 3))
    assert (discretise(u, finite_difference(), 5) * x).sum() == 1
    assert (discretise(v, finite_difference(), 5) * y).sum() == 1
    assert (discretise(v, finite_difference(), 5) * x).sum() == 0


def test_three_dimensions():
    u, v, w = ops.derivatives(3)
    stencil = discretise(u**2 + v**2 + w**2, finite_difference(), 3)
    assert stencil.shape == (3, 3, 3)
    assert stencil[1, 1, 1] == -6
    assert stencil[0, 1, 1] == stencil[1, 0, 1] == stencil[1, 1, 0] == 1


def test_bad_input():
    with pytest.raises(ValueError, match="kernel_size=5"):
        finite_difference().weights((3, 0), 3)
    for accuracy in (0, 1, 3):
        with pytest.raises(ValueError, match="even accuracy"):
            finite_difference(accuracy)
