"""Fourier series: all kernels of a side, turned by their formula, weighted by how well they turn."""

import importlib
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from conftest import relative, single, variances
from layer_pairs import difference, pair

import pdoconv as pdo
from pdoconv.filters import FourierFilters, fingerprint, fourier, harmonics
from pdoconv.groups import MIRROR, rotation

MODULE = importlib.import_module("pdoconv.filters.fourier")
C8 = pdo.cyclic(8)


class Unweighted:
    """The same functions, orthonormal on the average over all rotations; for comparison."""

    def __hash__(self):
        return 0

    def basis(self, group, size):
        every = MODULE._series(pdo.cyclic(32), size).reshape(32, size * size, -1)
        energy, axes = np.linalg.eigh(np.einsum("gbx,gcx->bc", every, every) / 32)
        return np.einsum("bc,gcyx->gbyx", axes / np.sqrt(energy) @ axes.T, MODULE._series(group, size))


def layer(size=5, filters=None, group=C8, kind_in="regular", seed=0, **options):
    torch.manual_seed(seed)
    types = getattr(group, kind_in)(2), group.regular(3)
    options = {"filters": filters or fourier(), "bias": False, "dtype": torch.float64} | options
    return pdo.GroupConv2d(*types, size, **options)


def series(size, matrix):
    """A loop over the taps and frequencies, from the formula; in no particular order."""
    half, found = size // 2, np.zeros((size * size, size, size))
    inverse = np.linalg.inv(matrix)
    for row, column in itertools.product(range(size), repeat=2):
        x, y = inverse @ (column - half, half - row)
        taper = math.exp(-max((x * x + y * y) / half**2 - 1, 0) / 0.2)
        found[0, row, column], place = taper, 1
        for k, m in itertools.product(range(-half, half + 1), repeat=2):
            if (k, m) > (0, 0):
                phase = 2 * math.pi * (k * x + m * y) / size
                found[place : place + 2, row, column] = taper * math.cos(phase), taper * math.sin(phase)
                place += 2
    assert place == size * size
    return found


@pytest.mark.parametrize("size", [3, 5, 7, 9])
def test_every_kernel_is_there(size):
    """At the identity the basis spans all kernels of the side, and well enough for single precision."""
    basis = fourier().basis(single(np.eye(2)), size)[0].reshape(size * size, -1)
    assert np.linalg.matrix_rank(basis) == size * size
    assert np.linalg.cond(basis) < 1e4
    atoms = harmonics().basis(single(np.eye(2)), size)[0].reshape(-1, size * size)
    assert np.linalg.matrix_rank(atoms) < size * size  # negative control


@pytest.mark.parametrize("size", [3, 5, 7])
def test_turned_series_equal_the_formula(size):
    """One matrix, the same for every frame, makes the basis of the series at turned points."""
    plain = series(size, np.eye(2)).reshape(size * size, -1)
    mixture = fourier().basis(single(np.eye(2)), size)[0].reshape(size * size, -1) @ np.linalg.inv(plain)
    for t, flip in itertools.product((0.3, math.pi / 4, -2.0), (np.eye(2), MIRROR)):
        matrix = rotation(t) @ flip
        expected = np.einsum("bc,cyx->byx", mixture, series(size, matrix))
        basis = fourier().basis(single(matrix), size)[0].copy()
        assert relative(basis, expected) < 1e-10
        wrong = np.einsum("bc,cyx->byx", mixture, series(size, np.linalg.inv(rotation(t)) @ flip))
        assert relative(basis, wrong) > 0.1  # negative control: turned the other way


@pytest.mark.parametrize("size", [3, 5, 7])
def test_quarter_turns_and_flips_only_move_pixels(size):
    basis = fourier().basis(pdo.dihedral(4), size)
    scale = np.abs(basis).max()
    for g in range(4):
        assert np.abs(basis[g] - np.rot90(basis[0], g, (1, 2))).max() < 1e-12 * scale
        assert np.abs(basis[4 + g] - np.rot90(basis[0, :, ::-1], g, (1, 2))).max() < 1e-12 * scale
    assert np.abs(basis[1] - np.rot90(basis[0], -1, (1, 2))).max() > 0.1 * scale


@pytest.mark.parametrize("kind", ["trivial", "regular"])
@pytest.mark.parametrize("name", ["C4", "C8", "C12", "D4"])
def test_layers_are_exact_for_lattice_symmetries(name, kind):
    group = pdo.group(name)
    made = layer(group=group, kind_in=kind, padding=2)
    x = torch.randn(1, made.in_type.channels, 8, 9, dtype=torch.float64)
    y = made(x)
    for g in group.lattice_elements:
        assert relative(made(made.in_type.transform(x, g)), made.out_type.transform(y, g)) < 1e-12
    turn = group.index(rotation(math.pi / 2))
    wrong = made.out_type.transform(y, int(group.inverse[turn]))
    assert relative(made(made.in_type.transform(x, turn)), wrong) > 0.1  # negative control


def test_the_weighting_is_what_it_says():
    """$W^{-2} = M + 1000 E$ with both matrices summed up filter by filter, for random weights."""
    size, rng = 3, np.random.default_rng(0)
    turns = [2 * math.pi * k / 32 for k in range(32)]
    frames = [MODULE._series(single(rotation(t)), size)[0] for t in turns]
    form = np.linalg.inv(MODULE._weighting(size))
    assert np.abs(form - form.T).max() < 1e-9 * np.abs(form).max()
    for a in rng.standard_normal((3, size * size)):
        energy = np.mean([((a @ f.reshape(9, -1)) ** 2).sum() for f in frames])
        spread = []
        for radius, direction in itertools.product((0, math.pi / 8, math.pi / 4), turns):
            responses = []
            for t, f in zip(turns, frames, strict=True):
                u, v = radius * math.cos(direction + t), radius * math.sin(direction + t)
                wave = np.exp(1j * (u * np.arange(-1, 2) + v * np.arange(1, -2, -1)[:, None]))
                responses.append((np.einsum("b,byx->yx", a, f) * wave).sum())
            spread.append(np.mean(np.abs(np.array(responses) - np.mean(responses)) ** 2))
        assert a @ form @ form @ a == pytest.approx(energy + 1000 * np.mean(spread), rel=1e-9)


@pytest.mark.parametrize(
    ("size", "frequency", "bound", "without"),
    [(3, 0.4, 0.2, 1.0), (5, 0.2, 0.08, 0.5), (5, 0.4, 0.08, 0.5), (7, 0.4, 0.08, 0.25)],
)
def test_other_angles(size, frequency, bound, without):
    """Errors at 45 degrees: small with the weighting, large without, though not as small as those of harmonics."""
    weighted, plain, best = (
        pdo.equivariance_error(layer(size, filters), 45, frequency=frequency, samples=8)
        for filters in (fourier(), Unweighted(), harmonics())
    )
    assert 0.01 < weighted < bound
    assert plain > without
    assert best < 0.01


def test_series_lose_their_sums():
    """Why they are not equivariant: turned, a wave that is cut does not keep its sum, which a constant map shows."""
    sums = MODULE._series(C8, 5).sum((2, 3))
    assert np.abs(sums[2] - sums[0]).max() < 1e-12
    assert np.abs(sums[1] - sums[0]).max() > 1
    weighted = fourier().basis(C8, 5)
    change = np.abs(weighted.sum((2, 3)) - weighted.sum((2, 3))[:1]).max()
    assert change < 0.2 * np.abs(weighted[0].sum((1, 2))).max()


@pytest.mark.parametrize("name", ["C8", "D4"])
def test_unit_variance(name):
    """Through ten layers with ReLU, mean over three draws."""
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        found.append(variances(pdo.group(name), fourier(), 12))
    each = np.log(found)
    assert np.abs(each).max() < np.log(3), np.exp(each)
    assert np.abs(each.mean(0)).max() < np.log(1.5), np.exp(each.mean(0))


def test_other_fields():
    """Vectors and frequencies, of a finite group and of all rotations: exact at 90 degrees."""
    for group in (pdo.dihedral(4), pdo.so2()):
        types = group.trivial(1) + group.vector(1), group.irrep(1, 1) + group.irrep(2, 1)
        made = pdo.GroupConv2d(*types, 5, filters=fourier(), padding=2, dtype=torch.float64)
        assert pdo.equivariance_error(made, 90, size=9) < 1e-9
        assert pdo.equivariance_error(made, 90, size=9, out_type=group.trivial(made.out_type.channels)) > 0.1


@pytest.mark.parametrize("name", ["C4", "D4"])
@pytest.mark.parametrize("method", ["fourier", "derivatives"])
def test_fast_paths(name, method):
    assert difference(*pair(pdo.group(name), filters=fourier(), method=method, padding=2), (9, 8)) < 1e-10


def test_no_fast_path_where_the_group_leads_out_of_the_span():
    with pytest.raises(ValueError, match="whose span C8 maps to itself"):
        layer(method="fourier")
    assert difference(*pair(C8, filters=fourier(), method="auto", padding=2), (9, 8)) < 1e-10
    assert difference(*pair(C8, filters=fourier(), method="derivatives", padding=2), (9, 8)) < 1e-10


def test_values():
    assert pickle.loads(pickle.dumps(fourier())) == fourier() == FourierFilters()
    assert isinstance(fourier(), pdo.filters.Filters)
    assert np.abs(fourier().basis(C8, 5)[::2] - fourier().basis(pdo.cyclic(4), 5)).max() < 1e-12
    with pytest.raises(ValueError, match="read-only"):
        fourier().basis(C8, 5)[0, 0, 0, 0] = 1


def test_golden_fingerprint():
    """A checkpoint means the same on every machine: these values must never change."""
    found = [fingerprint(fourier(), group, size) for group, size in ((C8, 5), (pdo.dihedral(4), 7))]
    assert found == ["53dc8ac8e8ee01e0", "3bab5f2bb2037426"]


def test_bad_input():
    for size in (1, 4):
        with pytest.raises(ValueError, match=f"odd kernel_size of at least 3, received {size}"):
            fourier().basis(C8, size)
    with pytest.raises(ValueError, match="expected a group of the plane"):
        fourier().basis(pdo.octahedral(), 5)
