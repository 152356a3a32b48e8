"""Kernels of even side: taps at half-integers about the centre."""

import math

import numpy as np
import pytest
import torch
from conftest import relative, single

import pdoconv as pdo
from pdoconv import operators as ops
from pdoconv.filters import default, paper
from pdoconv.filters.pdo import pdo as family
from pdoconv.groups import rotation
from pdoconv.measure import fitted_order, stencil_error
from pdoconv.stencils import band_limited, discretise, equivariance_order, expansion, finite_difference, gaussian
from pdoconv.stencils import isotropic as round_stencils
from pdoconv.stencils.base import offsets

GROUPS = {1: pdo.reflection(), 2: pdo.dihedral(4), 3: pdo.octahedral(inversion=True)}
SIDES = [(2, 2), (2, 4), (2, 6), (3, 2), (3, 4), (1, 2), (1, 4), (1, 6)]
SCHEMES = {"gaussian": gaussian(), "band-limited": band_limited()}


def test_taps_lie_about_the_centre():
    assert offsets(1, 2).ravel().tolist() == [-0.5, 0.5]
    assert offsets(1, 5).ravel().tolist() == [-2, -1, 0, 1, 2]
    for dim, size in SIDES:
        x = offsets(dim, size)
        assert np.array_equal(np.unique(x), np.arange(size) - (size - 1) / 2)
        assert np.abs(x.sum(0)).max() == 0
    assert offsets(2, 4)[1].tolist() == [-0.5, 1.5]  # second tap of the top row: x right, y up


@pytest.mark.parametrize(("dim", "size"), SIDES)
def test_basis_turns_with_the_lattice_and_is_orthonormal(dim, size):
    group = GROUPS[dim]
    basis = default(dim, size).basis(group, size).copy()
    lattice = torch.as_tensor(basis[:1]).reshape(1, -1, *(size,) * dim)
    for g in group.lattice_elements:
        assert relative(pdo.grid.move(lattice, group.matrices[g])[0], basis[g]) < 1e-13
    if dim == 2:
        turned = np.stack([default(2, size).basis(single(rotation(math.pi * i / 16)), size)[0] for i in range(32)])
        flat = turned.reshape(*turned.shape[:2], -1)
        gram = np.einsum("gbx,gcx->bc", flat, flat) / len(flat)
        assert np.abs(gram - np.eye(len(gram))).max() < 1e-10
        assert np.linalg.matrix_rank(flat.reshape(-1, size**2), 1e-9) == len(gram)  # no turn leads out of the span
    if size == 2:
        return
    wrong = np.roll(basis[:1], 1, -1).reshape(lattice.shape)  # negative control: turned about a pixel
    moved = pdo.grid.move(torch.as_tensor(wrong), group.matrices[group.lattice_elements[-1]])[0]
    assert relative(moved, np.roll(basis[group.lattice_elements[-1]], 1, -1)) > 0.1


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("size", [2, 4, 6])
def test_derivatives_are_those_of_the_operator(name, size):
    """Moments below the order vanish, those of the order are the operator's; so on even sides as on odd ones."""
    for n in range(min(size, 5)):
        for m in range(n % 2, n + 1, 2):
            for h in ops.adapted(m, n):
                found = dict(expansion(discretise(h, SCHEMES[name], size), n).terms)
                wanted = dict(h.terms)
                assert all(abs(found.get(e, 0) - wanted.get(e, 0)) < 1e-9 for e in {*found, *wanted})


@pytest.mark.parametrize("name", SCHEMES)
def test_orders_of_equivariance(name):
    """A side k carries orders up to k - 1; fourth order as on the next odd sides but for what a side just carries."""
    fourth = {2: [(0, 0)], 4: [(0, 0), (1, 1), (0, 2), (2, 2)], 6: [(1, 3), (3, 3), (0, 4), (2, 4), (4, 4)]}
    second = {2: [(1, 1)], 4: [(1, 3), (3, 3)], 6: []}
    for size in (2, 4, 6):
        for order, terms in ((4, fourth[size]), (2, second[size])):
            for m, n in terms:
                assert equivariance_order(ops.adapted(m, n)[0], SCHEMES[name], size) == order
        with pytest.raises(ValueError, match=f"use kernel_size={size + 2} or operators of lower order"):
            SCHEMES[name].weights((size, 0), size)
    errors = stencil_error(ops.adapted(2, 2), SCHEMES[name], 4, (0.2, 0.1, 0.05), rotation=37.0)
    assert abs(fitted_order(errors) - 4) < 0.15
    for m, n in fourth[4]:  # as good as on 5x5, at 0.4 and 1.2 radians per pixel
        four, five = (stencil_error(ops.adapted(m, n), SCHEMES[name], k, (0.4, 1.2), rotation=37.0) for k in (4, 5))
        assert all(four[k] < max(6 * five[k], 1e-4) for k in four)
    for m, n in second[4]:
        assert 0.005 < stencil_error(ops.adapted(m, n), SCHEMES[name], 4, [0.4], rotation=37.0)[0.4] < 0.03


def layer_error(group, side, fields=(2, 3), **options):
    """Largest relative error of the law over the lattice symmetries of a group."""
    dim = group.dim
    layer = pdo.nn.GroupConv(group.regular(fields[0]), group.regular(fields[1]), **options).double()
    x = torch.randn(1, layer.in_type.channels, *(side,) * dim, dtype=torch.float64)
    y = layer(x)
    turned = [
        relative(layer(layer.in_type.transform(x, g)), layer.out_type.transform(y, g)) for g in group.lattice_elements
    ]
    return max(turned)


@pytest.mark.parametrize(
    ("group", "side"), [(pdo.dihedral(8), 8), (pdo.cyclic(4), 10), (pdo.octahedral(), 6), (pdo.reflection(), 8)]
)
def test_strided_layers_keep_the_law_on_even_sides(group, side):
    for size in (2, 4):
        options = {"kernel_size": size, "filters": default(group.dim, size), "stride": 2, "padding": size // 2 - 1}
        if group.dim == 3:
            options["bias"] = False
        fields = (1, 1) if group.dim == 3 else (2, 3)
        assert layer_error(group, side, fields, **options) < 1e-12
        with pytest.warns(UserWarning, match="breaks the exact symmetry"):  # negative control
            assert layer_error(group, side + 1, fields, **options) > 0.1


@pytest.mark.parametrize("method", ["dense", "derivatives", "fourier"])
def test_every_method_gives_the_same(method):
    group = pdo.cyclic(8)
    layer = pdo.PDOConv2d(group.regular(2), group.regular(2), 4, padding=1, stride=1, method="dense").double()
    other = pdo.PDOConv2d(group.regular(2), group.regular(2), 4, padding=1, stride=1, method=method).double()
    other.load_state_dict(layer.state_dict())
    x = torch.randn(1, 16, 9, 8, dtype=torch.float64)
    assert relative(other(x), layer(x)) < 1e-12
    assert layer(x).shape[2:] == (8, 7)


def test_other_fields_and_angles():
    """Irreducible fields of SO(2), and the order at 45 degrees of a layer on smooth maps."""
    group = pdo.so2()
    kind = group.trivial(1) + group.irrep(1, 2) + group.irrep(2, 1)
    layer = pdo.PDOConv2d(kind, kind, 4, stride=2, padding=1).double()
    x = torch.randn(1, kind.channels, 8, 8, dtype=torch.float64)
    quarter = rotation(math.pi / 2)
    moved = pdo.grid.move(kind.mix(x, quarter), quarter)
    assert relative(layer(moved), pdo.grid.move(kind.mix(layer(x), quarter), quarter)) < 1e-12
    C8, errors = pdo.cyclic(8), {}
    for size in (3, 4, 5):
        single_layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(2), size, bias=False).double()
        errors[size] = pdo.equivariance_error(single_layer, 45, size=33)
    assert errors[4] < errors[3] < 0.1
    assert errors[4] < 10 * errors[5]


def test_families_that_need_a_centre_refuse():
    C4 = pdo.cyclic(4)
    for filters, who in (
        (paper(), "Finite differences need an odd kernel_size, received 4"),
        (family(stencils=finite_difference()), "Finite differences need an odd kernel_size, received 4"),
        (family(stencils=round_stencils()), "Isotropic stencils need an odd kernel_size, received 4"),
    ):
        with pytest.raises(ValueError, match=who):
            filters.basis(C4, 4)
    with pytest.raises(ValueError, match="kernel_size of at least 1, received 0"):
        default(2, 2).basis(C4, 0)
    with pytest.raises(ValueError, match="cannot carry an operator of order 4: use kernel_size=6"):
        default(2, 5).basis(C4, 4)
    with pytest.raises(ValueError, match="padding='same' needs an odd kernel_size, received 4"):
        pdo.PDOConv2d(C4.regular(1), C4.regular(1), 4, padding="same")
