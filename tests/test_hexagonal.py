"""The hexagonal lattice: its filters, resampling of images, domains, and networks on it (Hoogeboom et al., 2018)."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import WrongRoll, copies, relative, season
from scipy import ndimage
from torch import nn

import pdoconv as pdo
from pdoconv.filters import hexagonal, pointwise
from pdoconv.filters.hexagonal import LATTICE, axial, hexagon
from pdoconv.models.hexaconv import hexaconv_p6, hexaconv_p6m
from pdoconv.models.resnet import PreActResNet
from pdoconv.nn.domain import Domain, DomainBatchNorm2d
from pdoconv.nn.hexagonal import HexagonalResample, turn

GROUPS = {name: pdo.group(name) for name in ("C6", "C3", "D6")}
HEX = hexagon(6)


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def conv(in_type, out_type, size=3, **options):
    layer = pdo.GroupConv2d(in_type, out_type, size, filters=hexagonal(), padding=size // 2, **options).double()
    if layer.bias is not None:
        layer.bias.data.normal_()
    return layer


# the lattice


def turned_cell(u, v, g, n=6):
    """The cell to which element g = 6 s + k of D6 carries (u, v), from the turn and the mirror alone."""
    if g >= n:
        u, v = u + v, -v
    for _ in range(g % n):
        u, v = u + v, -u
    return u, v


def test_turn_by_60_degrees_has_order_6_and_keeps_lengths():
    matrix = axial(pdo.cyclic(6))[1]
    assert matrix.tolist() == [[1, 1], [-1, 0]]
    powers = [np.linalg.matrix_power(matrix, k) for k in range(7)]
    assert [np.array_equal(p, np.eye(2)) for p in powers] == [True] + [False] * 5 + [True]
    for g, whole in enumerate(axial(pdo.dihedral(6))):
        assert tuple(whole @ (3, -1)) == turned_cell(3, -1, g)
        assert np.allclose(LATTICE @ whole, pdo.dihedral(6).matrices[g] @ LATTICE, atol=1e-12)
    assert np.allclose(np.hypot(*LATTICE[:, :2]), 1)


@pytest.mark.parametrize(("radius", "taps"), [(1, 7), (2, 19), (3, 37)])
def test_turns_and_mirrors_keep_the_mask(radius, taps):
    cells = {(u - radius, v - radius) for v, u in zip(*np.nonzero(hexagon(radius)), strict=True)}
    assert len(cells) == taps == hexagonal().basis(pdo.cyclic(6), 2 * radius + 1).shape[1]
    everything = {(u - radius, v - radius) for v, u in np.ndindex((2 * radius + 1,) * 2)}
    for g in range(12):
        assert {turned_cell(u, v, g) for u, v in cells} == cells
    assert {turned_cell(u, v, 1) for u, v in everything} != everything


def test_turning_maps_is_an_action():
    field = GROUPS["D6"].trivial(1) + GROUPS["D6"].regular(1) + GROUPS["D6"].irrep(1, 1)
    x = noise(2, field.channels, 13, 13) * torch.tensor(HEX)
    for g in range(12):
        for h in range(12):
            product = int(field.group.product[h, g])
            assert relative(turn(turn(x, field, g), field, h), turn(x, field, product)) < 1e-12
        assert not turn(x, field, g)[:, :, ~torch.tensor(HEX)].any()
    assert torch.equal(turn(x, field, 0), x)
    assert relative(turn(turn(x, field, 1), field, 6), turn(x, field, int(field.group.product[1, 6]))) > 0.1


def test_turning_moves_one_cell_to_where_it_lies():
    """Counter-clockwise as displayed, y up; regular channels go along."""
    group = pdo.dihedral(6)
    x = torch.zeros(1, 12, 9, 11)
    x[0, 4, 4 - 1, 5 + 3] = 1.0  # u = 3, v = -1
    place = LATTICE @ (3, -1)
    for g in range(12):
        to_u, to_v = turned_cell(3, -1, g)
        assert np.allclose(LATTICE @ (to_u, to_v), group.matrices[g] @ place)
        y = turn(x, group.regular(1), g)
        if abs(to_u) <= 5 and abs(to_v) <= 4:
            assert y[0, int(group.product[g, 4]), 4 + to_v, 5 + to_u] == 1
        assert y.sum() == float(abs(to_u) <= 5 and abs(to_v) <= 4)


# layers


def test_kernels_of_one_cell_and_of_one_element():
    C6, x = pdo.cyclic(6), noise(2, 12, 7, 7)
    single, plain = (
        pdo.GroupConv2d(C6.regular(2), C6.regular(3), 1, filters=f).double() for f in (hexagonal(), pointwise())
    )
    plain.load_state_dict(single.state_dict())
    assert torch.equal(single(x), plain(x))
    C1 = pdo.cyclic(1)
    layer = conv(C1.regular(12), C1.regular(2))
    kernel = torch.zeros(2, 12, 3, 3, dtype=torch.float64)
    kernel[..., torch.tensor(hexagon(1))] = layer.weight.data[:, :, 0]
    assert relative(layer(x), F.conv2d(x, kernel, layer.bias, padding=1)) < 1e-12


@pytest.mark.parametrize("lifts", [True, False], ids=["lift", "group"])
@pytest.mark.parametrize("name", ["C6", "D6"])
def test_layers_equal_loops_over_cells(name, lifts):
    """Written from the turn of a cell alone: the weight of r = g^-1 h at cell c is read at g c."""
    group = GROUPS[name]
    layer = conv(group.trivial(1) if lifts else group.regular(1), group.regular(1), bias=False)
    nn.init.normal_(layer.weight)
    x, weight = noise(1, layer.in_type.channels, 5, 5), layer.weight.data[0, 0].numpy()
    offsets = [(u, v) for v in (-1, 0, 1) for u in (-1, 0, 1) if abs(u + v) <= 1]

    def element(probe):
        """Find an element by what it does to two cells."""
        return next(g for g in range(group.order) if [turned_cell(*c, g) for c in ((1, 0), (0, 1))] == probe)

    def inverse(g):
        return element([next(c for c in offsets if turned_cell(*c, g) == unit) for unit in ((1, 0), (0, 1))])

    def after(g, h):
        return element([turned_cell(*turned_cell(*c, h), g) for c in ((1, 0), (0, 1))])

    expected = np.zeros((group.order, 5, 5))
    for g in range(group.order):
        for h in range(1 if lifts else group.order):
            r = 0 if lifts else after(inverse(g), h)
            for b, cell in enumerate(offsets):
                du, dv = turned_cell(*cell, g)
                for row in range(5):
                    for column in range(5):
                        if 0 <= row + dv < 5 and 0 <= column + du < 5:
                            expected[g, row, column] += weight[r, b] * float(x[0, h, row + dv, column + du])
    assert relative(layer(x)[0], torch.as_tensor(expected)) < 1e-12


def two_layers_error(group, size, *, masked=True, wrong=False, stride=1, radius=6):
    """Largest violation of the law by a lifting and a group convolution, on the cells of a hexagon."""
    kind = WrongRoll if wrong else pdo.GroupConv2d
    hidden, inside = group.regular(2), hexagon(radius)
    lift = conv(group.trivial(1), hidden, size, stride=stride)
    layer = kind(hidden, hidden, size, filters=hexagonal(), padding=size // 2).double()
    layer.bias.data.normal_()
    fine, coarse = Domain(inside), Domain(inside[::stride, ::stride])

    def output(x):
        y = lift(fine(x))
        return coarse(layer(coarse(y) if masked else y))

    x = noise(2, 1, *inside.shape)
    y = output(x)
    if y.shape[2] % 2 == 0:  # there is no centre to turn about: compare what turns do not change
        pool = pdo.GroupPool(hidden)
        return max(
            relative(pool(output(turn(x, lift.in_type, g))).sum((2, 3)), pool(y).sum((2, 3)))
            for g in range(group.order)
        )
    return max(relative(output(turn(x, lift.in_type, g)), turn(y, hidden, g)) for g in range(group.order))


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("name", GROUPS)
def test_layers_are_exact_on_a_hexagon(name, size):
    group = GROUPS[name]
    assert two_layers_error(group, size) < 1e-12
    assert two_layers_error(group, size, masked=False) > 0.1
    assert two_layers_error(group, size, wrong=True) > 0.1


def test_strides_need_the_centre_cell():
    """The grid rule of this lattice: odd sides are enough for half turns, 60 degrees ask for a centre that is kept."""
    group = GROUPS["D6"]
    assert two_layers_error(group, 3, stride=2, radius=8) < 1e-12
    assert two_layers_error(group, 3, stride=2, radius=7) > 0.01
    assert two_layers_error(pdo.cyclic(2), 3, stride=2, radius=7) < 1e-12


# domains


def test_norm_counts_the_cells_of_the_domain_only():
    field = pdo.cyclic(6).regular(3)
    norm = DomainBatchNorm2d(field, HEX).double()
    norm.norm.weight.data.uniform_(0.5, 1.5)
    norm.norm.bias.data.normal_()
    inside = torch.tensor(HEX)
    x = 3 * noise(4, 18, 13, 13) + 1
    y = norm(x)
    values = x[:, :, inside].view(4, 3, -1).transpose(0, 1).flatten(1)  # (fields, values)
    mean, var = values.mean(1), values.var(1, correction=0)
    scale, shift = norm.norm.weight / (var + 1e-5).sqrt(), norm.norm.bias
    expected = (x.view(4, 3, 6, 13, 13) - mean[:, None, None, None]) * scale[:, None, None, None]
    expected = (expected + shift[:, None, None, None]).view_as(x)
    assert relative(y[:, :, inside], expected[:, :, inside]) < 1e-12
    assert not y[:, :, ~inside].any()
    assert torch.allclose(norm.norm.running_mean, 0.1 * mean)
    garbage = torch.where(inside, x, torch.full_like(x, 1e6))
    assert torch.equal(norm(garbage), y)
    ordinary = pdo.BatchNorm2d(field).double()
    ordinary.load_state_dict(norm.norm.state_dict())
    assert relative((ordinary(x * inside) * inside)[:, :, inside], expected[:, :, inside]) > 0.05
    norm.eval()
    assert torch.equal(norm(x), torch.where(inside, norm.norm(x), 0.0))


def test_norm_passes_no_gradient_outside():
    x = noise(2, 6, 13, 13).requires_grad_()
    DomainBatchNorm2d(pdo.cyclic(6).regular(1), HEX).double()(x).square().mul(noise(13, 13)).sum().backward()
    assert x.grad[:, :, torch.tensor(HEX)].abs().min() > 0
    assert not x.grad[:, :, ~torch.tensor(HEX)].any()


def test_constants_survive_moves():
    resample = HexagonalResample(9)
    for layer in (resample, Domain(HEX), DomainBatchNorm2d(pdo.cyclic(6).regular(1), HEX)):
        constants = {name: b.clone() for name, b in layer.named_buffers() if name in ("rows", "columns", "mask")}
        constants |= {"cells": layer.cells.clone()} if hasattr(layer, "cells") else {}
        assert constants
        for moved in (layer.half(), layer.double(), layer.to("meta").to_empty(device="cpu")):
            for name, values in constants.items():
                assert torch.equal(getattr(moved, name), values)
                assert getattr(moved, name).dtype == values.dtype
        assert not set(constants) & set(layer.state_dict())


# resampling


def cells(resample):
    """Positions of the cells in pixels from the centre, x to the right and y up."""
    rows, columns = resample.domain.shape
    v, u = np.indices((rows, columns)) - np.array([rows // 2, columns // 2])[:, None, None]
    x, y = resample.spacing * (u + v / 2), -resample.spacing * math.sqrt(0.75) * v
    return x, y


def sampled(function, size):
    line = np.arange(size) - (size - 1) / 2
    return torch.as_tensor(function(*np.meshgrid(line, -line)))[None, None]


def resample_error(function, size, *, border=0.0, **options):
    """Largest error on cells that lie in the image, at least a border away from its edge."""
    resample = HexagonalResample(size, **options)
    x, y = cells(resample)
    inside = resample.domain & (np.maximum(abs(x), abs(y)) <= (size - 1) / 2 - border + 1e-9)
    got = resample(sampled(function, size))[0, 0].numpy()
    assert inside.any()
    assert not got[~resample.domain].any()
    expected = function(x, y)
    return abs(got - expected)[inside].max() / abs(expected[inside]).max()


OPTIONS = [{}, {"domain": "hexagon"}, {"domain": "hexagon", "radius": 11, "spacing": 0.8}, {"spacing": 1.3}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_resampling_reproduces_polynomials_of_degree_5(options):
    """Away from the edge: what a mirror there changes decays as 0.43 a pixel."""

    def quintic(x, y):
        return 1 + 2 * x - y + x * y - x**3 + y**4 * x**5 - 2 * x**2 * y**5

    assert resample_error(quintic, 100, border=43, **options) < 1e-10
    assert resample_error(lambda x, y: x**6 + 0 * y, 100, border=43, **options) > 1e-7  # negative control


def test_resampling_hits_smooth_functions():
    def wave(x, y):
        return np.cos(0.5 * x + 0.2 * y) * np.exp(-(x**2 + (y - 1) ** 2) / 50)

    for options in OPTIONS:
        assert resample_error(wave, 32, **options) < 2e-3
        assert resample_error(lambda x, y: x + 0 * y, 32, border=6, **options) < 1e-3
        assert resample_error(lambda x, y: y + 0 * x, 32, border=6, **options) < 1e-3
    order = [resample_error(lambda x, y, s=s: np.cos(x / s) * np.sin(y / s), 64, border=24) for s in (2, 4)]
    assert abs(math.log2(order[0] / order[1]) - 6) < 0.5


def test_resampling_has_mirrors_at_the_edge():
    """An independent sum: the mirrored image, long enough, as a periodic sequence whose coefficients the FFT gives."""
    image = np.random.default_rng(0).normal(size=(9, 9))
    mirrored = np.block([[image[:, :], image[:, -2:0:-1]], [image[-2:0:-1, :], image[-2:0:-1, -2:0:-1]]])
    filtered = np.zeros(16)
    filtered[[0, 1, 2, -1, -2]] = np.array([66, 26, 1, 26, 1]) / 120
    response = np.fft.fft(filtered).real
    coefficients = np.fft.ifft2(np.fft.fft2(mirrored) / response / response[:, None]).real

    def quintic(t):
        t = abs(t)
        inner = 11 / 20 - t**2 / 2 + t**4 / 4 - t**5 / 12
        middle = 17 / 40 + 5 * t / 8 - 7 * t**2 / 4 + 5 * t**3 / 4 - 3 * t**4 / 8 + t**5 / 24
        return inner if t < 1 else middle if t < 2 else max(3 - t, 0) ** 5 / 120

    resample = HexagonalResample(9, spacing=0.9)
    got = resample(torch.as_tensor(image)[None, None])[0, 0].numpy()
    x, y = cells(resample)
    for row, column in zip(*np.nonzero(resample.domain), strict=True):
        at_row, at_column = 4 - y[row, column], 4 + x[row, column]
        expected = sum(
            coefficients[i % 16, j % 16] * quintic(at_row - i) * quintic(at_column - j)
            for i in range(math.floor(at_row) - 2, math.floor(at_row) + 4)
            for j in range(math.floor(at_column) - 2, math.floor(at_column) + 4)
        )
        assert abs(got[row, column] - expected) < 1e-12


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_resampling_equals_scipy(options):
    resample, image = HexagonalResample(21, **options), noise(1, 1, 21, 21)
    x, y = cells(resample)
    theirs = ndimage.map_coordinates(image[0, 0].numpy(), [10 - y, 10 + x], order=5, mode="constant")
    assert relative(resample(image)[0, 0], theirs * resample.domain) < 1e-10


@pytest.mark.parametrize("size", [31, 32])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_resampling_commutes_with_half_turns_and_flips(options, size):
    field, resample, x = GROUPS["D6"].trivial(2), HexagonalResample(size, **options), noise(1, 2, size, size)
    y = resample(x)
    for g in range(12):
        if g in field.group.lattice_elements:
            assert relative(resample(field.transform(x, g)), turn(y, field, g)) < 1e-12
    assert sorted(field.group.lattice_elements) == [0, 3, 6, 9]
    assert relative(resample(field.transform(x, 3)), turn(y, field, 6)) > 0.1  # half turn against a flip


def test_resampling_commutes_with_60_degrees_where_the_image_is_smooth():
    group = pdo.cyclic(6)
    c, s = 0.5, math.sqrt(0.75)

    def blobs(x, y):
        return np.exp(-((x - 4) ** 2 + y**2) / 12) - np.exp(-((x + 2) ** 2 + (y - 3) ** 2) / 9)

    resample = HexagonalResample(32, domain="hexagon")
    plain = resample(sampled(blobs, 32))
    turned = resample(sampled(lambda x, y: blobs(c * x + s * y, -s * x + c * y), 32))
    assert relative(turned, turn(plain, group.trivial(1), 1)) < 1e-4
    assert relative(turned, turn(plain, group.trivial(1), 5)) > 0.1


def test_cells_of_the_domains():
    resample = HexagonalResample(32)
    x, y = cells(resample)
    assert np.array_equal(resample.domain, (abs(x) <= 15.5) & (abs(y) <= 15.5))
    assert [side % 8 for side in resample.domain.shape] == [1, 1]
    for size, radius in ((32, 16), (28, 12), (33, 16), (5, 4)):
        assert np.array_equal(HexagonalResample(size, domain="hexagon").domain, hexagon(radius))
    assert HexagonalResample(32, domain="hexagon", spacing=0.5).domain.shape == (65, 65)
    assert HexagonalResample(32, domain="hexagon", radius=3).domain.sum() == 37


def test_precisions_of_resampling():
    resample, x = HexagonalResample(12).half(), noise(2, 3, 12, 12)
    y = resample(x)
    assert y.dtype == torch.float64
    assert relative(resample(x.float()), y) < 1e-6
    assert relative(resample(x.bfloat16()), y) < 2e-2
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(resample(x.float()), y) < 1e-6
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resample(x[:1, :1]), x)


# networks


def moved_logits(net, x, in_type):
    return [net(turn(x, in_type, g)) for g in range(in_type.group.order)]


@pytest.mark.parametrize("name", ["C6", "C3", "D6"])
def test_hexagon_networks_do_not_see_turns(name):
    """From the axial map to the logits, two strides included; 817 cells."""
    make = hexaconv_p6m if name == "D6" else hexaconv_p6
    options = {} if name == "D6" else {"group": GROUPS[name]}
    net = season(make(domain="hexagon", layout="symmetric", units=1, **options))
    x, inner = noise(2, 3, 33, 33), net[1]
    with torch.no_grad():
        y = inner(x)
        assert max(relative(z, y) for z in moved_logits(inner, x, inner.in_type)) < 1e-11
        assert relative(inner(x.flip(-1)), y) > 1e-3  # of the array, no symmetry of the lattice
        whole = season(PreActResNet(GROUPS[name], filters=hexagonal(), kernel_size=3, units=1, layout="symmetric"))
        assert max(relative(z, whole(x)) for z in moved_logits(whole, x, inner.in_type)) > 1e-3  # no domain


def test_features_of_a_hexagon_turn_along():
    net = season(hexaconv_p6m(domain="hexagon", units=1))[1]
    x, field = noise(1, 3, 33, 33), GROUPS["D6"].regular(20)
    with torch.no_grad():
        features, logits = net.features(x), net(x)
        assert features.shape == (1, 240, 9, 9)
        inside = torch.tensor(hexagon(4))
        assert not features[:, :, ~inside].any()
        assert relative(logits, net.classifier(features[:, :, inside].mean(2))) < 1e-12
        for g in (1, 7):
            moved = turn(x, net.in_type, g)
            assert relative(net.features(moved), turn(features, field, g)) < 1e-11
            assert relative(net(moved), logits) > 1e-3  # the classifier reads all orientations


def test_values_outside_the_domain_do_not_count():
    net = season(hexaconv_p6(units=1))[1]
    inside = torch.tensor(HexagonalResample(32).domain)
    x = noise(1, 3, 41, 49)
    with torch.no_grad():
        assert torch.equal(net(x), net(torch.where(inside, x, 9.0)))
        assert relative(net(x + torch.where(inside, 0.1, 0.0)), net(x)) > 1e-3


def test_every_convolution_reads_zeros_outside():
    """So that masks behind the convolutions too, as the authors have them, change nothing."""
    net = season(hexaconv_p6(units=1))[1]
    inside, x = torch.tensor(HexagonalResample(32).domain), noise(1, 3, 41, 49)
    masks = {domain.shape[0]: domain for domain in (inside, inside[::2, ::2], inside[::4, ::4])}
    outside = []

    def mask(layer, inputs, output):
        outside.append(float(inputs[0][:, :, ~masks[inputs[0].shape[2]]].abs().max()))
        return output * masks[output.shape[2]]

    with torch.no_grad():
        expected = net(x)
        for part in net.modules():
            if isinstance(part, pdo.GroupConv2d):
                part.register_forward_hook(mask)
        assert torch.equal(net(x), expected)
    assert outside == [0.0] * 9


def test_published_networks_keep_half_turns_and_flips_of_the_image():
    """With the orientations pooled; from the image itself."""
    x = noise(1, 3, 32, 32)
    with torch.no_grad():
        net = season(hexaconv_p6m(layout="symmetric", units=1))
        for moved in (x.flip(-1), x.flip(-2), x.flip(-1, -2)):
            assert relative(net(moved), net(x)) < 1e-11
        assert relative(net(x.rot90(1, (-2, -1))), net(x)) > 1e-3
        net = season(hexaconv_p6(layout="symmetric", units=1))
        assert relative(net(x.flip(-1, -2)), net(x)) < 1e-11
        assert relative(net(x.flip(-1)), net(x)) > 1e-3


@pytest.mark.parametrize(("make", "count"), [(hexaconv_p6, 336_940), (hexaconv_p6m, 338_200)])
def test_parameters(make, count):
    for options in ({}, {"domain": "hexagon"}, {"size": 28}):
        assert sum(p.numel() for p in make(**options).parameters()) == count
    assert make(classes=7, in_channels=1, size=12, units=1)(torch.zeros(2, 1, 12, 12)).shape == (2, 7)


def small():
    return hexaconv_p6(widths=(2, 3), units=1, size=12)


@pytest.mark.filterwarnings("default")  # the compiler warns about itself
def test_compile_and_export():
    net, x = season(small()).float(), torch.randn(2, 3, 12, 12)
    torch._dynamo.reset()
    with torch.no_grad():
        expected = net(x)
        assert relative(torch.compile(net, fullgraph=True, backend="aot_eager")(x), expected) < 1e-5
        program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
        assert relative(program.module()(torch.cat([x, x])), torch.cat([expected] * 2)) < 1e-5
        assert relative(pdo.export(net)(x), expected) < 1e-4


def test_copies_and_state():
    net, x = season(small()), noise(2, 3, 12, 12)
    expected = net(x)
    for twin in copies(net):
        assert torch.equal(twin(x), expected)
    assert relative(net.float()(x.float()), expected) < 1e-4
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert {name.split(".")[-1] for name in net.state_dict()} == {"weight", "bias"} | statistics


def test_a_step_of_training():
    net, x, labels = small(), torch.randn(8, 3, 12, 12), torch.arange(8)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(p.grad.isfinite().all() for p in net.parameters())


# errors


def test_bad_arguments():
    for size in (1, True, 2.5):
        with pytest.raises(ValueError, match="HexagonalResample: size must be one whole number >= 2"):
            HexagonalResample(size)
    for spacing in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="spacing must be above 0 pixels"):
            HexagonalResample(8, spacing=spacing)
    with pytest.raises(ValueError, match="domain must be 'square' or 'hexagon', received 'disk'"):
        HexagonalResample(8, domain="disk")
    for options in ({"radius": 3}, {"radius": 0, "domain": "hexagon"}):
        with pytest.raises(ValueError, match="radius must be at least 1, for domain='hexagon'"):
            HexagonalResample(8, **options)
    with pytest.raises(ValueError, match=r"expected images of 8 x 8, received \(1, 3, 8, 9\)"):
        HexagonalResample(8)(torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match="HexagonalResample: expected floating-point maps"):
        HexagonalResample(8)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_bad_domains():
    for bad in ([True], [[1, 0]], [[False]]):
        with pytest.raises(ValueError, match=r"Domain: expected a domain of booleans \(height, width\)"):
            Domain(bad)
    with pytest.raises(ValueError, match="DomainBatchNorm2d: expected a domain of booleans"):
        DomainBatchNorm2d(pdo.cyclic(6).regular(1), np.zeros((3, 3), bool))
    with pytest.raises(ValueError, match=r"Domain: expected \(batch, channels, 13, 13\) .* received \(1, 1, 13, 12\)"):
        Domain(HEX)(torch.zeros(1, 1, 13, 12))
    with pytest.raises(ValueError, match=r"DomainBatchNorm2d: expected \(batch, channels, 13, 13\)"):
        DomainBatchNorm2d(pdo.cyclic(6).regular(1), HEX)(torch.zeros(1, 6, 12, 13))
    with pytest.raises(ValueError, match=r"DomainBatchNorm2d: expected \(batch, 6, height, width\)"):
        DomainBatchNorm2d(pdo.cyclic(6).regular(1), HEX)(torch.zeros(1, 5, 13, 13))


def test_bad_turns():
    with pytest.raises(ValueError, match=r"turn: expected axial maps of odd sides.*received \(13, 12\)"):
        turn(torch.zeros(1, 1, 13, 12), pdo.cyclic(6).trivial(1), 1)
    with pytest.raises(ValueError, match="expected a group of turns by 60 degrees and flips"):
        turn(torch.zeros(1, 1, 13, 13), pdo.cyclic(4).trivial(1), 1)
    with pytest.raises(ValueError, match="elements 0 to 5, received 6"):
        turn(torch.zeros(1, 1, 13, 13), pdo.cyclic(6).trivial(1), 6)
    with pytest.raises(ValueError, match=r"turn: expected \(batch, 1, height, width\)"):
        turn(torch.zeros(1, 2, 13, 13), pdo.cyclic(6).trivial(1), 1)
