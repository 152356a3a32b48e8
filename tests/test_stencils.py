import math

import numpy as np
import pytest

import pdoconv as pdo
from pdoconv import operators as ops
from pdoconv.measure import fitted_order, stencil_error
from pdoconv.stencils import (
    band_limited,
    centred,
    discretise,
    equivariance_order,
    expansion,
    finite_difference,
    gaussian,
    isotropic,
    symbol,
    truncation_constant,
)

TERMS = [(1, 1), (0, 2), (2, 2), (1, 3), (3, 3), (0, 4)]  # what a 5x5 kernel can carry to fourth order
BEYOND = [(2, 4), (4, 4)]
FINE = (0.2, 0.1, 0.05)
ROUND = {"isotropic": isotropic(), "smooth": isotropic(0.25), "gaussian": gaussian(), "band-limited": band_limited()}


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


@pytest.mark.parametrize(("m", "n"), TERMS + BEYOND)
@pytest.mark.parametrize(("accuracy", "size"), [(2, 5), (4, 7), (6, 9)])
def test_order_of_finite_differences(m, n, accuracy, size):
    """From the Taylor series, and fitted from the symbol."""
    scheme, terms = finite_difference(accuracy), ops.adapted(m, n)
    assert {equivariance_order(h, scheme, size) for h in terms} == {accuracy}
    frequencies = FINE if accuracy < 6 else (0.4, 0.3, 0.2)
    assert abs(fitted_order(stencil_error(terms, scheme, size, frequencies)) - accuracy) < 0.15


@pytest.mark.parametrize("name", ROUND)
@pytest.mark.parametrize(("m", "n"), TERMS)
def test_fourth_order_on_five_by_five(name, m, n):
    terms = ops.adapted(m, n)
    assert {equivariance_order(h, ROUND[name], 5) for h in terms} == {4}
    slope = fitted_order(stencil_error(terms, ROUND[name], 5, FINE, rotation=37.0))
    assert abs(slope - 4) < 0.15
    at, theirs = (stencil_error(terms, scheme, 5, [0.4])[0.4] for scheme in (ROUND[name], finite_difference()))
    assert at < theirs / 10


@pytest.mark.parametrize("name", ROUND)
@pytest.mark.parametrize(("m", "n"), BEYOND)
def test_second_order_where_five_points_end(name, m, n):
    """The real and the imaginary part would need two values of c at once; 45 degrees do not mix those of (4, 4)."""
    assert equivariance_order(ops.adapted(m, n)[0], ROUND[name], 5) == 2
    assert abs(fitted_order(stencil_error(ops.adapted(m, n), ROUND[name], 5, FINE, rotation=37.0)) - 2) < 0.15
    assert equivariance_order(ops.adapted(m, n)[0], ROUND[name], 7) == 4


def test_nine_parameters_all_of_fourth_order():
    """(u^2 + v^2)^2 in the place of u^2 v^2: no turned copy needs D(4, 4)."""
    nine, paper = ops.paper_biharmonic(), ops.paper()
    assert len(nine) == 9
    assert all(equivariance_order(h, isotropic(), 5) >= 4 for h in nine)
    assert [equivariance_order(h, isotropic(), 5) for h in paper[-1:]] == [2]
    filters = pdo.filters.pdo(nine, isotropic(), weights="operators")
    assert filters.basis(pdo.cyclic(8), 5).shape == (8, 9, 5, 5)


def test_forced_constants():
    """D(3,3) (1 + h^2 Laplacian / 4), Laplacian^2 (1 + h^2 Laplacian / 6) on 5x5."""
    laplacian = ops.adapted(0, 2)[0]
    for (m, n), c in {(1, 1): 0.0, (2, 2): 0.0, (1, 3): 1 / 4, (3, 3): 1 / 4, (0, 4): 1 / 6}.items():
        for h in ops.adapted(m, n):
            series = expansion(discretise(h, isotropic(), 5), n + 3)
            wanted = dict((h + h * laplacian * c).terms)
            found = dict(series.terms)
            assert all(abs(found.get(e, 0) - wanted.get(e, 0)) < 1e-12 for e in {*found, *wanted})


def test_three_by_three():
    """The nine-point Laplacian (1, 4, 1; 4, -20, 4; 1, 4, 1) / 6 is the fourth-order equivariant one."""
    u, v = ops.derivatives(2)
    nine = discretise(u**2 + v**2, isotropic(), 3)
    assert np.abs(nine * 6 - [[1, 4, 1], [4, -20, 4], [1, 4, 1]]).max() < 1e-12
    assert equivariance_order(u**2 + v**2, isotropic(), 3) == equivariance_order(u, isotropic(), 3) == 4
    assert equivariance_order(u**2 + v**2, finite_difference(), 3) == equivariance_order(u, finite_difference(), 3) == 2
    assert equivariance_order(u * v, isotropic(), 3) == 2


@pytest.mark.parametrize("name", ROUND)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (0, 2), (2, 2), (1, 3), (3, 3)])
def test_fourth_order_in_space(name, m, n):
    for h in ops.adapted(m, n, 3)[:: max(1, m)]:
        assert equivariance_order(h, ROUND[name], 5, reach=4) == 4
    assert equivariance_order(ops.adapted(m, n, 3)[0], finite_difference(), 5, reach=4) == 2


def test_a_cut_gaussian_does_not_converge():
    """Low frequencies leak into high orders: the error does not vanish on fine grids."""
    assert [equivariance_order(ops.adapted(m, n)[0], gaussian(corrected=False), 5) for m, n in ((3, 3), (4, 4))] == [
        -2,
        -4,
    ]
    errors = stencil_error(ops.adapted(3, 3), gaussian(corrected=False), 5, (0.2, 0.1))
    assert errors[0.1] > errors[0.2] > 0.1
    assert stencil_error(ops.adapted(3, 3), gaussian(), 5, [0.1])[0.1] < 1e-4


def test_correction_keeps_near_the_gaussian():
    u, v = ops.derivatives(2)
    for h in (u**0, u, v, u * v, u**2 + v**2):
        raw, corrected = (discretise(h, gaussian(corrected=c), 5) for c in (False, True))
        assert np.linalg.norm(corrected - raw) < 0.5 * np.linalg.norm(raw)
    assert abs(discretise(u**0, gaussian(), 5).sum() - 1) < 1e-12
    assert discretise(u**0, gaussian(), 5).min() > 0


def mean_square_error(scheme, cutoff=1.6):
    """Octave by octave, the part of the symbol of D(2, 2) that does not go as exp(2 i angle)."""
    angles, total = 2 * np.pi * (np.arange(16) + 0.5) / 16, 0.0
    real, imaginary = (discretise(h, scheme, 5) for h in ops.adapted(2, 2))
    for k in np.geomspace(0.01, cutoff, 200):
        waves = symbol(real + 1j * imaginary, k * np.column_stack([np.cos(angles), np.sin(angles)]))
        total += np.linalg.norm(waves - (waves * np.exp(-2j * angles)).mean() * np.exp(2j * angles)) ** 2
    return total


def test_band_limited_minimises_the_error_in_its_band():
    """Each condition and each pull towards the Gaussian costs; a stencil of fewer conditions is never worse."""
    free, fourth = (band_limited(1.6, order=order, strength=1e9) for order in (2, 4))
    others = [isotropic(), isotropic(0.25), gaussian(), gaussian(0.8), band_limited(1.6), finite_difference()]
    assert mean_square_error(free) < mean_square_error(fourth)
    assert mean_square_error(fourth) < min(map(mean_square_error, others))
    errors = [mean_square_error(band_limited(1.6, strength=s)) for s in (0, 1e2, 1e4, 1e6)]
    assert errors == sorted(errors, reverse=True)
    assert np.array_equal(band_limited(1.2, strength=0).weights((2, 1), 5), gaussian().weights((2, 1), 5))


@pytest.mark.parametrize("scheme", [finite_difference(), *ROUND.values(), gaussian(corrected=False)], ids=str)
def test_lattice_symmetries_are_exact(scheme):
    """A quarter turn of the operator turns the weights, to the last bits; so do flips."""
    u, v = ops.derivatives(2)
    for h in (u, u * v, u**2 * v, u**3, u**4, u**2 * v**2, u**3 * v):
        weights = discretise(h, scheme, 5)
        turned = discretise(h.in_frame(np.array([[0.0, -1.0], [1.0, 0.0]])), scheme, 5)
        assert np.abs(turned - np.rot90(weights)).max() < 1e-14 * np.abs(weights).max()
        mirrored = discretise(h.in_frame(np.diag([1.0, -1.0])), scheme, 5)
        assert np.abs(mirrored - weights[::-1]).max() < 1e-14 * np.abs(weights).max()


def test_symbol_of_a_derivative():
    u, v = ops.derivatives(2)
    k = np.array([[0.1, 0.05]])
    assert abs(symbol(discretise(u * v, finite_difference(4), 7), k)[0] - (1j * 0.1) * (1j * 0.05)) < 1e-6


def test_families_say_what_they_cannot_do():
    for scheme in ROUND.values():
        with pytest.raises(ValueError, match="use kernel_size=5"):
            scheme.weights((3, 0), 3)
        with pytest.raises(ValueError, match="use kernel_size=7"):
            scheme.weights((3, 3), 5)
    for make in (lambda: gaussian(0.0), lambda: gaussian(math.inf), lambda: band_limited(1.0, sigma=-1)):
        with pytest.raises(ValueError, match="finite width"):
            make()
    for cutoff in (0.0, 4.0):
        with pytest.raises(ValueError, match="radians per pixel"):
            band_limited(cutoff)
    with pytest.raises(ValueError, match="must be 2 or 4"):
        band_limited(order=3)
    with pytest.raises(ValueError, match="strength >= 0"):
        band_limited(strength=-1)
    with pytest.raises(ValueError, match="smoothing >= 0"):
        isotropic(-0.1)


def test_sampled_functions_agree_with_symbols():
    """Orders fitted from outputs on sampled pictures, one operator at a time."""
    C8 = pdo.cyclic(8)
    for scheme, order in ((finite_difference(), 2), (isotropic(), 4)):
        for m, n in TERMS:
            filters = pdo.filters.pdo(ops.adapted(m, n), scheme, weights="operators")
            layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(1), filters=filters, padding=2, bias=False).double()
            errors = pdo.measure.error_over_size(layer, (65, 129), waves=4 / 3, samples=8)
            assert abs(fitted_order(errors) - order) < (0.1 if order == 2 else 0.15), (m, n, errors)
