"""Circular harmonics: the filters of escnn, turned by a phase."""

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
import torch
from conftest import ORACLES, relative, single, variances
from layer_pairs import difference, pair

import pdoconv as pdo
from pdoconv.filters import HarmonicFilters, fingerprint, harmonics
from pdoconv.groups import MIRROR, rotation
from pdoconv.kernels import ops, portable
from pdoconv.kernels.geometry import Geometry
from pdoconv.kernels.plan import fourier_plan
from pdoconv.kernels.steerable import count, space

C8 = pdo.cyclic(8)
with np.load(ORACLES / "escnn_r2conv.npz") as file:
    ESCNN = {key: file[key] for key in file.files}
META = json.loads(str(ESCNN["meta"]))
CASES = [place for place, weights in META["weights"].items() if weights]


def labels(size, filters=None):
    """Ring and frequency of every atom."""
    rings = (filters or harmonics()).rings(size)
    return [(i, k) for i, ring in enumerate(rings) for k in range(ring[2] + 1) for _ in range(2 if k else 1)]


# escnn


def field(group, kind, fields):
    if kind[-1].isdigit():
        return group.irrep(int(kind[-1]), fields, pseudo=kind.startswith("pseudo"))
    return getattr(group, kind)(fields)


def layer_of(place, filters=None):
    """Our layer of a case of the oracle."""
    name, kind_in, kind_out, size = place.split("/")
    n_in, n_out = META["fields"][place]
    types = field(pdo.group(name), kind_in, n_in), field(pdo.group(name), kind_out, n_out)
    return pdo.GroupConv2d(*types, int(size), filters=filters or harmonics(), dtype=torch.float64, method="dense")


def fit(parameter, output, target):
    """Fill a parameter so that an output linear in it is closest to the target; return what is left, relative."""
    with torch.no_grad():
        every, target = [], torch.as_tensor(target)
        for unit in torch.eye(parameter.numel(), dtype=parameter.dtype):
            parameter.copy_(unit.view_as(parameter))
            every.append(output().flatten())
        solution = torch.linalg.lstsq(torch.stack(every, 1), target.flatten()[:, None]).solution
        parameter.copy_(solution.view_as(parameter))
        return float((output() - target).norm() / target.norm())


@pytest.mark.parametrize("place", CASES)
def test_layers_of_escnn(place):
    """Their expanded filters are ours, for some weight; as many weights; the same bias and output."""
    kernel, bias, x, y = (ESCNN[f"{place}/{key}"] for key in ("filter", "bias", "x", "y"))
    layer = layer_of(place)
    assert layer.weight.numel() == META["weights"][place]
    assert fit(layer.weight, layer.kernel, kernel) < 1e-6  # escnn samples in single precision
    if layer.bias is None:
        assert not bias.any()
    else:
        assert fit(layer.bias, layer.dense_bias, bias) < 1e-6
    assert relative(layer(torch.as_tensor(x)), y) < 1e-6


def test_layers_that_escnn_has_not():
    none = [place for place, weights in META["weights"].items() if not weights]
    assert len(none) == 2  # between scalars and pseudoscalars
    for place in none:
        with pytest.raises(ValueError, match="no map from"):
            layer_of(place)


@pytest.mark.parametrize("place", ["C4/trivial/regular/7", "C8/regular/regular/5", "D4/regular/regular/5"])
def test_negative_controls_of_escnn(place):
    """The group axis rolled the other way, rows upward, other widths or frequencies: not their filters."""
    kernel, group = ESCNN[f"{place}/filter"], pdo.group(place.split("/")[0])
    by_element = kernel.reshape(-1, group.order, *kernel.shape[1:])
    wrong = {"rolled": by_element[:, group.inverse].reshape(kernel.shape), "y down": kernel[:, :, ::-1].copy()}
    for fault, other in wrong.items():
        layer = layer_of(place)
        assert fit(layer.weight, layer.kernel, other) > 0.1, fault
    rings = int(place[-1]) // 2 + 1
    for options in ({"sigmas": (0.005, *(0.5,) * (rings - 1))}, {"frequencies": (0, *(1,) * (rings - 1))}):
        layer = layer_of(place, harmonics(**options))
        assert fit(layer.weight, layer.kernel, kernel) > 0.02, options
    exact = (0.005, *(0.6,) * (rings - 2), 0.4)  # escnn's, the centre included
    layer = layer_of(place, harmonics(sigmas=exact))
    assert fit(layer.weight, layer.kernel, kernel) < 1e-6


def test_frequencies_of_escnn():
    frequencies = [[k for _, _, k in harmonics().rings(size)] for size in (1, 3, 5, 7, 9, 11)]
    assert frequencies == [[0], [0, 2], [0, 2, 2], [0, 2, 3, 2], [0, 2, 3, 6, 2], [0, 2, 3, 6, 7, 2]]
    assert [harmonics().basis(C8, size).shape[1] for size in (1, 3, 5, 7, 9)] == [1, 6, 11, 18, 31]
    assert [k for _, _, k in harmonics(radii=(0, 1.7, 2.9, 3.3)).rings(9)] == [0, 2, 3, 6]


# The atoms


FRAMES = [rotation(t) for t in (0.0, 0.3, math.pi / 4, 2.0, -1.1)]
FRAMES += [f @ MIRROR for f in FRAMES]


@pytest.mark.parametrize("size", [3, 5, 7])
def test_atoms_at_turned_points(size):
    """A loop over the pixels, from the formula: Gaussian ring times cosine and sine at A^-1 p."""
    half = size // 2
    for matrix in FRAMES:
        basis = harmonics().basis(single(matrix), size)[0]
        expected = np.zeros((len(basis), size, size))
        for row, column in itertools.product(range(size), repeat=2):
            x, y = np.linalg.inv(matrix) @ (column - half, half - row)
            r, phi, atom = math.hypot(x, y), math.atan2(y, x), 0
            for radius, highest in enumerate({3: (0, 2), 5: (0, 2, 2), 7: (0, 2, 3, 2)}[size]):
                width = 0.4 if radius == half else 0.6
                ring = float(r < 0.5) if radius == 0 else math.exp(-((r - radius) ** 2) / (2 * width**2))
                for k in range(highest + 1):
                    for wave in (math.cos, math.sin) if k else (math.cos,):
                        expected[atom, row, column] = ring * wave(k * phi) if k == 0 or r > 0.5 else 0.0
                        atom += 1
        scale = (basis * expected).sum((1, 2)) / (expected**2).sum((1, 2))
        assert (scale > 0).all()
        assert np.abs(basis - scale[:, None, None] * expected).max() < 1e-12


@pytest.mark.parametrize("size", [5, 9])
def test_turning_is_a_phase(size):
    """The turned pair (cosine, sine) of frequency k is the pair itself turned by -k t; reflections negate its sine."""
    plain = harmonics().basis(single(np.eye(2)), size)[0]

    def by_phase(t, flip):
        turned, every = plain.copy(), labels(size)
        for atom, (_, k) in enumerate(every):
            if k and every[atom] != every[atom - 1]:  # a cosine: its sine comes next
                phase = np.diag([1, flip]) @ rotation(-k * t)
                turned[atom : atom + 2] = np.einsum("ab,bxy->axy", phase, plain[atom : atom + 2])
        return turned

    for matrix in FRAMES:
        t, flip = math.atan2(matrix[1, 0], matrix[0, 0]), round(np.linalg.det(matrix))
        basis = harmonics().basis(single(matrix), size)[0]
        assert np.abs(basis - by_phase(t, flip)).max() < 1e-12
        if t:
            assert np.abs(basis - by_phase(-t, flip)).max() > 0.1  # negative control
        assert np.abs(basis - by_phase(t, -flip)).max() > 0.1


@pytest.mark.parametrize("size", [3, 5, 7, 9])
def test_quarter_turns_and_flips_only_move_pixels(size):
    basis = harmonics().basis(pdo.dihedral(4), size)
    for g in range(4):
        assert np.abs(basis[g] - np.rot90(basis[0], g, (1, 2))).max() < 1e-12
        assert np.abs(basis[4 + g] - np.rot90(basis[0, :, ::-1], g, (1, 2))).max() < 1e-12
    assert np.abs(basis[1] - np.rot90(basis[0], -1, (1, 2))).max() > 0.1


@pytest.mark.parametrize("size", [3, 5, 7, 9])
def test_gram_matrix(size):
    """Unit energy on the average; below the band limit different frequencies are nearly orthogonal.

    On neighbouring rings equal frequencies are not: their Gaussians overlap by up to 0.62.
    """
    basis = harmonics().basis(pdo.cyclic(64), size).reshape(64, -1, size * size)
    assert np.abs((basis**2).sum(2).mean(0) - 1).max() < 1e-12
    ring, frequency = np.array(labels(size)).T

    def overlap(filters):
        atoms = filters.basis(single(np.eye(2)), size)[0].reshape(-1, size * size)
        atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
        return np.abs(atoms @ atoms.T)

    gram = overlap(harmonics())
    worst = {3: 1e-12, 5: 1e-12, 7: 0.036, 9: 0.051}[size]
    assert gram[frequency[:, None] != frequency].max() < worst
    assert gram[ring[:, None] != ring].max() < 0.62
    assert np.linalg.matrix_rank(basis[0], tol=0.1) == len(ring)
    above = harmonics(frequencies=(0, *(6,) * (size // 2)))
    frequency = np.array([k for _, k in labels(size, above)])
    assert overlap(above)[frequency[:, None] != frequency].max() > 0.5  # negative control: aliases


# Layers


@pytest.mark.parametrize("n", [4, 8, 12])
def test_quarter_turns_shift_the_slots(n):
    """Written with torch alone: turning by 90 degrees shifts the group axis by n / 4 places."""
    group = pdo.cyclic(n)
    types = [group.trivial(2), group.regular(3), group.regular(2)]
    layers = [
        pdo.GroupConv2d(a, b, size, filters=harmonics(), padding=2, dtype=torch.float64)
        for (a, b), size in zip(itertools.pairwise(types), (7, 5), strict=True)
    ]
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64)

    def run(x):
        return layers[1](layers[0](x).relu()).unflatten(1, (2, n))

    turned = run(torch.rot90(x, 1, (2, 3)))
    plain = torch.rot90(run(x), 1, (3, 4))
    assert relative(turned, plain.roll(n // 4, 2)) < 1e-12
    assert relative(turned, plain.roll(-n // 4, 2)) > 0.1  # negative control


@pytest.mark.parametrize(("size", "worst"), [(5, 0.003), (7, 0.006)])
def test_other_angles(size, worst):
    """One layer at 45 degrees and 0.4 radians per pixel; filters that are not turned are far from it."""
    layer = pdo.GroupConv2d(C8.regular(2), C8.regular(4), size, filters=harmonics(), dtype=torch.float64)
    assert 1e-6 < pdo.equivariance_error(layer, 45) < worst
    basis = layer.basis.clone()
    layer = pdo.GroupConv2d(
        C8.regular(2), C8.regular(4), size, filters=harmonics(), dtype=torch.float64, method="dense"
    )
    layer.basis[:] = basis[:1]
    assert pdo.equivariance_error(layer, 45) > 0.1


@pytest.mark.parametrize("name", ["C4", "C8", "D4"])
def test_unit_variance(name):
    """Of a lifting layer, and through ten layers with ReLU: single draws, and the mean over four."""
    found = []
    for seed in range(4):
        torch.manual_seed(seed)
        found.append(variances(pdo.group(name), harmonics(), 16))
    each = np.log(found)
    assert np.abs(each[:, 0]).max() < np.log(1.5), np.exp(each)
    assert np.abs(each).max() < np.log(5), np.exp(each)
    assert np.abs(each.mean(0)).max() < np.log(2.3), np.exp(each.mean(0))


def test_unit_variance_of_irreducible_fields():
    """Every channel, from uncorrelated maps of unit variance."""
    SO2 = pdo.so2()
    types = SO2.irrep(1, 8) + SO2.irrep(2, 8), SO2.trivial(16) + SO2.irrep(1, 16) + SO2.irrep(3, 16)
    layer = pdo.GroupConv2d(*types, 7, filters=harmonics(), bias=False)
    with torch.no_grad():
        y = layer(torch.randn(4, 32, 30, 30))
    for part in torch.split(y, [16, 32, 32], 1):
        assert 0.8 < float(part.var()) < 1.25


@pytest.mark.parametrize(("name", "size"), [("SO2", 5), ("SO2", 9), ("O2", 7)])
def test_spaces_of_irreducible_fields(name, size):
    """From frequency n to m the angular parts have frequencies |n - m| and n + m, those that a ring carries."""
    group = pdo.group(name)
    for n, m in itertools.product(range(4), repeat=2):
        expected = 0
        for _, _, highest in harmonics().rings(size):
            for frequency in {n + m, abs(n - m)}:
                expected += (2 if max(n, m) else 1) * (frequency <= highest)  # cosine and sine, or a constant
        expected //= 2 if name == "O2" and max(n, m) else 1  # one of the two changes its sign in reflections
        out, into = (group.irrep(k).blocks[0][0] for k in (m, n))
        assert count(harmonics(), size, out, into) == (1, expected), (n, m)
        if not expected:
            continue
        angle = _spectrum(space(harmonics(), size, out, into).basis, size)
        assert set(np.flatnonzero(angle > 1e-9)) <= {abs(n - m), n + m}


def _spectrum(kernels, size):
    """Energy of each angular frequency in kernels made of the atoms."""
    atoms = harmonics().basis(single(np.eye(2)), size)[0].reshape(-1, size * size)
    found = np.linalg.lstsq(atoms.T, kernels.reshape(-1, size * size).T, rcond=None)[0]
    assert np.abs(atoms.T @ found - kernels.reshape(-1, size * size).T).max() < 1e-9
    return np.bincount([k for _, k in labels(size)], weights=(found**2).sum(1))


@pytest.mark.parametrize("name", ["SO2", "O2"])
def test_irreducible_fields(name):
    """The law for all rotations: exact at 90 degrees and for flips, close at others."""
    group = pdo.group(name)
    types = group.trivial(1) + group.irrep(1, 2) + group.irrep(2, 1), group.vector(1) + group.irrep(3, 1)
    layer = pdo.GroupConv2d(*types, 5, filters=harmonics(), padding=2, dtype=torch.float64)
    assert pdo.equivariance_error(layer, 90, size=9) < 1e-12
    assert pdo.equivariance_error(layer, 33) < 0.01
    if name == "O2":
        assert pdo.equivariance_error(layer, 90, reflection=True, size=9) < 1e-12
        assert pdo.equivariance_error(layer, 33, reflection=True) < 0.01
    wrong = group.irrep(2, 2)  # negative control: taken for fields that turn twice
    assert pdo.equivariance_error(layer, 90, size=9, out_type=wrong) > 0.1
    assert pdo.equivariance_error(layer, 33, out_type=wrong) > 0.1


@pytest.mark.parametrize("name", ["C4", "C8", "C12", "D4"])
@pytest.mark.parametrize("method", ["fourier", "derivatives"])
@pytest.mark.parametrize("size", [5, 7])
def test_fast_paths(name, method, size):
    layers = pair(pdo.group(name), filters=harmonics(), size=size, method=method, padding=2)
    assert difference(*layers, (9, 8)) < 1e-10


def test_negative_control_of_the_fast_path():
    plan = fourier_plan(harmonics(), C8, 5, "regular", "regular")
    assert len(plan.stencils) == 11
    wrong = copy.deepcopy(plan)
    wrong.couple.coefficients[3] *= -1
    x, w = torch.randn(1, 16, 6, 6), torch.randn(2, 2, 8, 11)
    geometry = Geometry(2, 2, 1, 2, 1)
    y, other = (portable.forward(p, x, ops.blocks(w, ops.name_of(p)), geometry) for p in (plan, wrong))
    assert relative(other, y) > 1e-3


# Values and errors


def test_values():
    assert pickle.loads(pickle.dumps(harmonics())) == harmonics() == HarmonicFilters()
    assert isinstance(harmonics(), pdo.filters.Filters)
    assert harmonics(radii=[0, 1, 2]) == harmonics(radii=(0.0, 1.0, 2.0))
    assert np.array_equal(harmonics(radii=[0, 1, 2]).basis(C8, 5), harmonics().basis(C8, 5))
    with pytest.raises(ValueError, match="read-only"):
        harmonics().basis(C8, 5)[0, 0, 0, 0] = 1


def test_golden_fingerprint():
    """A checkpoint means the same on every machine: these values must never change."""
    found = [fingerprint(harmonics(), group, size) for group, size in ((C8, 5), (pdo.dihedral(8), 7))]
    assert found == ["abac157cdcf566a9", "13ff5de9c910dd53"]
    assert fingerprint(harmonics(sigmas=(0.6, 0.6, 0.5)), C8, 5) not in found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radii": ()}, "expected finite radii"),
        ({"radii": (-1.0, 1.0)}, "expected finite radii"),
        ({"radii": (math.nan,)}, "expected finite radii"),
        ({"sigmas": (0.0, 0.6, 0.4)}, "sigmas > 0"),
        ({"sigmas": (math.inf, 0.6, 0.4)}, "sigmas > 0"),
        ({"frequencies": (0, 2, -1)}, "whole frequencies >= 0"),
        ({"frequencies": (0, 2.5, 2)}, "whole frequencies >= 0"),
        ({"radii": (0.0, 1.0), "frequencies": (0, 2, 2)}, r"one entry a ring in each argument, received \[2, 3\]"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        harmonics(**options)


def test_bad_sizes_and_groups():
    with pytest.raises(ValueError, match="odd kernel_size, received 4"):
        harmonics().basis(C8, 4)
    with pytest.raises(ValueError, match="expected a group of the plane"):
        harmonics().basis(pdo.octahedral(), 5)
    with pytest.raises(ValueError, match=r"radius 3.0 does not fit on a kernel of 5"):
        harmonics(frequencies=(0, 1, 1, 1)).basis(C8, 5)
    with pytest.raises(ValueError, match="no pixel for frequency 1"):
        harmonics(frequencies=(1, 2, 2)).basis(C8, 5)
    with pytest.raises(ValueError, match="no pixel for frequency 0"):
        harmonics(radii=(1.2,), sigmas=(0.01,)).basis(C8, 5)
