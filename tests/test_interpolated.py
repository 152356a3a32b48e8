"""Interpolated filters: rings of 3x3, bilinear rotation, disks, and what layers made of them keep."""

import math
import pickle

import numpy as np
import pytest
import torch
from conftest import relative
from layer_pairs import needs_kernel

import pdoconv as pdo
from pdoconv.filters import InterpolatedFilters, fingerprint, interpolated, rotated

C4, C8, D4, D8 = (pdo.group(name) for name in ("C4", "C8", "D4", "D8"))
GROUPS = {"C4": C4, "C8": C8, "C12": pdo.cyclic(12), "D4": D4, "D8": D8}
COUNTED = np.arange(9.0).reshape(3, 3)


def turned(filters, group, element, taps):
    """A kernel, moved by an element: the sum of its moved taps."""
    return np.einsum("b,bxy->xy", np.ravel(taps), filters.basis(group, len(taps))[element])


# the ring


def test_ring_moves_every_tap_by_one_place():
    assert turned(interpolated(), C8, 0, COUNTED).tolist() == COUNTED.tolist()
    assert turned(interpolated(), C8, 1, COUNTED).tolist() == [[1, 2, 5], [0, 4, 8], [3, 6, 7]]  # counter-clockwise
    mirror = turned(interpolated(), D8, 8, COUNTED)  # y to -y: rows in reverse
    assert mirror.tolist() == COUNTED[::-1].tolist()
    assert turned(interpolated(), D8, 9, COUNTED).tolist() == turned(interpolated(), C8, 1, mirror).tolist()


def test_two_places_of_the_ring_are_a_quarter_turn():
    """Exactly, for every tap and from every element on."""
    basis = interpolated().basis(C8, 3)
    for g in range(8):
        assert np.array_equal(basis[(g + 2) % 8], np.rot90(basis[g], axes=(-2, -1)))
    assert not np.array_equal(basis[2], np.rot90(basis[0], -1, axes=(-2, -1)))  # negative control: clockwise


@pytest.mark.parametrize("group", [C8, D8], ids=str)
def test_ring_permutes_taps_by_a_homomorphism(group):
    """Turning by h, then by g, is turning by g h; interpolation has no such law."""
    moves = interpolated().basis(group, 3).reshape(-1, 9, 9).transpose(0, 2, 1)
    assert set(moves.ravel()) == {0.0, 1.0}
    assert np.array_equal(moves.sum(1), np.ones((group.order, 9)))
    assert np.array_equal(np.einsum("gij,hjk->ghik", moves, moves), moves[group.product])
    bilinear = interpolated(ring=False).basis(group, 3).reshape(-1, 9, 9).transpose(0, 2, 1)
    assert np.abs(bilinear[1] @ bilinear[1] - bilinear[2]).max() > 0.1


@pytest.mark.parametrize("name", GROUPS)
def test_three_ways_to_turn_agree_where_the_lattice_allows_it(name):
    group = GROUPS[name]
    ring, bilinear = interpolated().basis(group, 3), interpolated(ring=False).basis(group, 3)
    for g in range(group.order):
        if g in group.lattice_elements:
            D4_element = D4.index(group.matrices[g])
            assert np.array_equal(ring[g], bilinear[g])
            assert np.array_equal(ring[g], rotated().basis(D4, 3)[D4_element])
        else:
            assert np.abs(ring[g] - bilinear[g]).max() > 0.1


def test_places_between_those_of_the_ring_are_shared():
    basis = interpolated().basis(pdo.cyclic(16), 3)
    assert basis[1, 5].tolist() == [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    third = interpolated().basis(pdo.cyclic(12), 3)  # 30 degrees: two thirds of a place
    assert np.abs(third[1, 5] - [[0, 0, 2 / 3], [0, 0, 1 / 3], [0, 0, 0]]).max() < 1e-9
    for basis in (interpolated().basis(pdo.cyclic(16), 3), third):
        assert np.abs(basis.sum((2, 3)) - 1).max() < 1e-12
        quarter = len(basis) // 4
        assert np.abs(np.roll(basis, -quarter, 0) - np.rot90(basis, axes=(-2, -1))).max() < 1e-12


# bilinear rotation


def loop_turned(taps, angle, sign=1):
    """Pixel by pixel: read the kernel where the inverse rotation leads, zeros outside the frame; x right, y up."""
    size = len(taps)
    middle, out = size // 2, np.zeros((size, size))
    c, s = math.cos(angle), sign * math.sin(angle)
    for row in range(size):
        for column in range(size):
            x, y = column - middle, middle - row
            u, v = c * x + s * y, -s * x + c * y
            a, b = middle - v, middle + u  # row and column, in fractions
            for i in (math.floor(a), math.floor(a) + 1):
                for j in (math.floor(b), math.floor(b) + 1):
                    if 0 <= i < size and 0 <= j < size:
                        out[row, column] += (1 - abs(a - i)) * (1 - abs(b - j)) * taps[i, j]
    return out


def disk_of(size):
    line = np.arange(size) - (size - 1) / 2
    return np.hypot(line[:, None], line) <= size / 2


@pytest.mark.parametrize("size", [5, 9])
@pytest.mark.parametrize("disk", [False, True])
def test_bilinear_rotation_equals_loops(size, disk):
    """RotEqNet: the filter is cut to a disk, then turned."""
    taps = np.random.default_rng(0).normal(size=(size, size))
    cut = taps * disk_of(size) if disk else taps
    for g in (0, 1, 5, 16):
        ours = turned(interpolated(disk=disk), pdo.cyclic(17), g, taps)
        assert np.abs(ours - loop_turned(cut, 2 * math.pi * g / 17)).max() < 1e-12
        if g:
            assert np.abs(ours - loop_turned(cut, 2 * math.pi * g / 17, sign=-1)).max() > 0.1  # negative control


def test_taps_beyond_the_disk_have_no_effect_at_any_angle():
    inside = disk_of(9).ravel()
    assert inside.sum() == 69
    energy = (interpolated(disk=True).basis(pdo.cyclic(17), 9) ** 2).sum((2, 3))
    assert not energy[:, ~inside].any()
    assert energy[:, inside].min() > 0.1
    whole = (interpolated().basis(pdo.cyclic(17), 9) ** 2).sum((2, 3))
    assert whole[:, ~inside].any()
    # no tap leaves the frame: turning keeps the sum of a kernel cut to the disk up to what interpolation does
    sums = interpolated(disk=True).basis(pdo.cyclic(17), 9).sum((2, 3))
    assert np.abs(sums[:, inside].mean(1) - 1).max() < 0.05
    assert np.array_equal(disk_of(3), np.ones((3, 3), dtype=bool))  # a ring lies within its disk
    assert np.array_equal(interpolated(disk=True).basis(C8, 3), interpolated().basis(C8, 3))


def test_weights_of_taps_beyond_the_disk_start_at_zero():
    """Scaled up to the share of the others they would be huge."""
    layer = pdo.GroupConv2d(C8.trivial(1), C8.regular(4), 9, filters=interpolated(disk=True))
    weight = layer.weight.detach().view(4, 81)
    inside = torch.as_tensor(disk_of(9).ravel())
    assert not weight[:, ~inside].any()
    assert 0.05 < weight[:, inside].std() < 0.5


# layers


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("kinds", [("trivial", "regular"), ("regular", "regular"), ("vector", "regular")], ids=str)
@pytest.mark.parametrize("size", [3, 5])
def test_layers_keep_lattice_symmetries(name, kinds, size):
    group = GROUPS[name]
    into, out = (getattr(group, kind)(2) for kind in kinds)
    layer = pdo.GroupConv2d(into, out, size, filters=interpolated(disk=size == 5), padding=1).double()
    x = torch.randn(2, into.channels, 8, 11, dtype=torch.float64)
    for g in group.lattice_elements:
        assert relative(layer(into.transform(x, g)), out.transform(layer(x), g)) < 1e-12


def test_quarter_turn_of_eight_orientations_shifts_them_by_two():
    layer = pdo.GroupConv2d(C8.regular(2), C8.regular(3), 3, filters=interpolated(), padding=1).double()
    x = torch.randn(2, 2, 8, 9, 9, dtype=torch.float64)

    def of(x):
        return layer(x.flatten(1, 2)).unflatten(1, (3, 8))

    moved = of(torch.rot90(x.roll(2, 2), 1, (-2, -1)))
    assert relative(moved, torch.rot90(of(x).roll(2, 2), 1, (-2, -1))) < 1e-12
    assert relative(moved, torch.rot90(of(x).roll(1, 2), 1, (-2, -1))) > 0.1  # negative control


class WrongWay(InterpolatedFilters):
    """Deliberately wrong: the ring turns clockwise."""

    def basis(self, group, size):
        return super().basis(group, size)[group.inverse]


def test_ring_that_turns_the_wrong_way_is_rejected():
    layer = pdo.GroupConv2d(C8.trivial(1), C8.regular(2), 3, filters=WrongWay(), padding=1, method="dense")
    assert pdo.equivariance_error(layer, 90) > 0.1


def test_between_quarter_turns_layers_are_approximate_on_any_grid():
    """Of kernels that take differences: about 0.35 for a ring, above 1 for bilinear ones, on finer maps too."""
    for filters in (interpolated(), interpolated(ring=False)):
        layer = pdo.GroupConv2d(C8.regular(2), C8.regular(2), 3, filters=filters, padding=1).double()
        layer.weight.data -= layer.weight.data.mean(3, keepdim=True)
        assert pdo.equivariance_error(layer, 90) < 1e-12
        coarse = pdo.equivariance_error(layer, 45, frequency=0.4, size=33, samples=4)
        fine = pdo.equivariance_error(layer, 45, frequency=0.1, size=131, samples=4)
        assert coarse > 0.1
        assert fine > 0.5 * coarse


@needs_kernel
@pytest.mark.parametrize("group", [C8, D8], ids=str)
def test_the_fast_way_gives_the_same(group):
    """The ring maps the taps to themselves, so wide layers take the Fourier way; bilinear ones cannot."""
    types = group.regular(3), group.regular(2)
    dense, fast = (
        pdo.GroupConv2d(*types, 3, filters=interpolated(), padding=1, method=method).double()
        for method in ("dense", "fourier")
    )
    fast.load_state_dict(dense.state_dict())
    x = torch.randn(2, types[0].channels, 7, 9, dtype=torch.float64)
    assert relative(fast(x), dense(x)) < 1e-12
    with pytest.raises(ValueError, match="needs filters whose span"):
        pdo.GroupConv2d(*types, 3, filters=interpolated(ring=False), method="fourier")


# values


def test_values():
    assert interpolated() == InterpolatedFilters(True, False)
    assert pickle.loads(pickle.dumps(interpolated(disk=True))) == interpolated(disk=True)
    assert isinstance(interpolated(), pdo.filters.Filters)
    others = [interpolated(), interpolated(ring=False), interpolated(disk=True), interpolated(ring=False, disk=True)]
    assert len(set(others)) == 4
    for filters in others:
        with pytest.raises(ValueError, match="read-only"):
            filters.basis(C8, 3)[0, 0, 0, 0] = 1


def test_golden_fingerprints():
    """A checkpoint means the same on every machine: these values must never change."""
    assert fingerprint(interpolated(), C8, 3) == "32abd8eaed33e70c"
    assert fingerprint(interpolated(disk=True), pdo.cyclic(17), 9) == "dc9c936c452b6428"


def test_bad_input():
    with pytest.raises(ValueError, match="Interpolated filters: expected a group of the plane"):
        interpolated().basis(pdo.octahedral(), 3)
    for size in (4, 0, -1):
        with pytest.raises(ValueError, match=f"Interpolated filters need an odd kernel_size, received {size}"):
            interpolated().basis(C8, size)
