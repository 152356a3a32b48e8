import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from conftest import single

import pdoconv as pdo
from pdoconv import operators as ops
from pdoconv.filters import PDOFilters, fingerprint, paper, pointwise
from pdoconv.filters.pdo import template_matrix
from pdoconv.groups import MIRROR, rotation
from pdoconv.stencils import finite_difference


def family(operators=None, **options):
    """The authors' schemes and raw coefficients unless told otherwise."""
    options = {"stencils": finite_difference(), "weights": "operators"} | options
    return pdo.filters.pdo(ops.paper() if operators is None else operators, **options)


@pytest.mark.parametrize("angle", ["0", "22.5", "30", "45", "60", "90"])
def test_transformed_stencils_equal_oracle(oracle, angle):
    arrays = oracle("unit_beta_transformed_stencils")
    turn = rotation(math.radians(float(angle)))
    for matrix, key in ((turn, "rot"), (turn @ MIRROR, "refl")):
        ours = family().basis(single(matrix), 5)[0]
        assert np.abs(ours - arrays[f"{key}_{angle}"]).max() < 1e-12


def test_worked_example(oracle):
    arrays = oracle("worked_example_w1to9")
    w = np.arange(1.0, 10.0)
    beta = w @ np.linalg.inv(template_matrix(paper()))
    assert np.abs(beta - [45, 6, -18, 15, 0, 15, -6, 2, 5]).max() < 1e-12
    frames = {"K_22p5": rotation(math.pi / 8), "K_45": rotation(math.pi / 4), "K_60": rotation(math.pi / 3)}
    frames |= {"K_67p5": rotation(3 * math.pi / 8), "K_refl0": MIRROR}
    for key, matrix in frames.items():
        ours = np.einsum("b,bxy->xy", w, paper(0.0).basis(single(matrix), 5)[0])
        assert np.abs(ours - arrays[key]).max() < 1e-12


def test_template_at_angle_zero_is_the_template():
    basis = paper(0.0).basis(pdo.cyclic(1), 5)[0]
    assert np.abs(basis[:, 1:4, 1:4].reshape(9, 9) - np.eye(9)).max() < 1e-12
    assert np.abs(np.linalg.det(template_matrix(paper())) + 1) < 1e-12


def test_the_two_parametrisations_span_the_same():
    D4 = pdo.dihedral(4)
    template, coefficients = paper().basis(D4, 5), paper(weights="operators").basis(D4, 5)
    assert np.abs(np.einsum("tb,gtxy->gbxy", template_matrix(paper()).T, template) - coefficients).max() < 1e-12


def test_offset_multiplies_on_the_right():
    """Reflected frames turn by minus the offset: A R(phi)."""
    D4, phi = pdo.dihedral(4), math.pi / 8
    ours = family(frame_offset=phi).basis(D4, 5)
    right = np.stack([family().basis(single(a @ rotation(phi)), 5)[0] for a in D4.matrices])
    left = np.stack([family().basis(single(rotation(phi) @ a), 5)[0] for a in D4.matrices])
    assert np.abs(ours - right).max() < 1e-12
    assert np.abs(ours - left).max() > 0.1


def test_fingerprint_names_the_basis():
    C8 = pdo.cyclic(8)
    assert fingerprint(paper(), C8, 5) == fingerprint(paper(), pdo.group("p8"), 5)
    others = [fingerprint(paper(0.1), C8, 5), fingerprint(paper(), pdo.dihedral(8), 5), fingerprint(family(), C8, 5)]
    assert len({fingerprint(paper(), C8, 5), *others}) == 4


def test_golden_fingerprint():
    """A checkpoint means the same on every machine: this value must never change."""
    assert fingerprint(paper(), pdo.cyclic(8), 5) == "ad19fedc3182d910"


def test_bad_input():
    C8 = pdo.cyclic(8)
    with pytest.raises(ValueError, match="kernel_size=5"):
        paper().basis(C8, 3)
    with pytest.raises(ValueError, match="odd"):
        paper().basis(C8, 4)
    with pytest.raises(ValueError, match="kernel_size 1"):
        pointwise().basis(C8, 3)
    with pytest.raises(ValueError, match="finite"):
        paper(math.nan)
    with pytest.raises(ValueError, match="one dimension"):
        PDOFilters((ops.derivatives(2)[0], ops.derivatives(3)[0]), finite_difference())
    with pytest.raises(ValueError, match="one of \\('orthonormal', 'operators', 'template'\\)"):
        paper(weights="raw")
    with pytest.raises(ValueError, match="as many operators as taps"):
        template_matrix(family(ops.paper()[:5]))
    with pytest.raises(ValueError, match="not independent"):
        template_matrix(family((ops.paper()[0],) * 9))
    with pytest.raises(ValueError, match="2 dimensions"):
        family(ops.derivatives(3)).basis(C8, 5)


def test_small_kernels_where_the_operators_fit():
    u, v = ops.derivatives(2)
    assert family((u, v, u**2 + v**2)).basis(pdo.cyclic(8), 3).shape == (8, 3, 3, 3)


def test_values():
    assert pickle.loads(pickle.dumps(paper())) == paper()
    assert isinstance(paper(), pdo.filters.Filters)
    with pytest.raises(ValueError, match="read-only"):
        paper().basis(pdo.cyclic(8), 5)[0, 0, 0, 0] = 1


@pytest.mark.parametrize("name", pdo.filters.FAMILIES)
def test_orthonormal_on_the_average_over_rotations(name):
    """Orthonormal, the same for a group and its subgroups, and the span of the operators' stencils."""
    chosen = pdo.filters.family(name)
    if name == "paper":
        chosen = replace(chosen, weights="orthonormal", frame_offset=0.0)
    basis = chosen.basis(pdo.cyclic(32), 5)
    flat = basis.reshape(*basis.shape[:2], -1)
    assert np.abs(np.einsum("gbx,gcx->bc", flat, flat) / 32 - np.eye(basis.shape[1])).max() < 1e-9
    assert np.abs(chosen.basis(pdo.cyclic(8), 5) - basis[::4]).max() < 1e-12
    raw = replace(chosen, weights="operators").basis(pdo.cyclic(8), 5)[3].reshape(basis.shape[1], -1)
    assert np.linalg.matrix_rank(np.concatenate([raw, flat[12]]), tol=1e-8) == len(raw)


def test_orthonormal_in_space():
    basis = pdo.filters.default(3).basis(pdo.icosahedral(), 5)
    flat = basis.reshape(60, 10, -1)
    assert np.abs(np.einsum("gbx,gcx->bc", flat, flat) / 60 - np.eye(10)).max() < 1e-9


def test_angular_frequencies_stay_apart():
    """Gram-Schmidt mixes D(1, 3) with D(1, 1) alone."""
    chosen = pdo.filters.pdo()
    raw = replace(chosen, weights="operators").basis(pdo.cyclic(1), 5)[0].reshape(13, 25)
    mixture = chosen.basis(pdo.cyclic(1), 5)[0].reshape(13, 25) @ np.linalg.pinv(raw)
    frequencies = np.array([0, 1, 1, 0, 2, 2, 1, 1, 3, 3, 0, 4, 4])
    assert np.abs(mixture[frequencies[:, None] != frequencies]).max() < 1e-9
    assert np.abs(mixture[6, 1]) > 1e-3


def test_more_than_the_kernel_holds():
    with pytest.raises(ValueError, match="not independent on a kernel of 3"):
        pdo.filters.pdo((*ops.derivatives(2), ops.derivatives(2)[0] * 2.0)).basis(pdo.cyclic(8), 3)


def test_family_names():
    with pytest.raises(ValueError, match="expected one of paper"):
        pdo.filters.family("best")


def test_golden_fingerprint_of_the_default():
    """Solved by least squares, yet the same to nine digits on every machine."""
    assert fingerprint(pdo.filters.default(2), pdo.cyclic(8), 5) == "aa37f9c5d296c90a"
