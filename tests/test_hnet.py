"""Harmonic networks: rings on the grid, rotation orders, the law, the published network."""

import cmath
import copy
import math

import numpy as np
import pytest
import torch
from conftest import copies, relative
from torch import nn

import pdoconv as pdo
from pdoconv.fields import FieldType
from pdoconv.filters.circular import ring_angles, ring_basis
from pdoconv.groups import rotation
from pdoconv.models.hnet import declared_parameters, hnet
from pdoconv.nn.harmonic import HarmonicConv2d, harmonic, harmonic_type
from pdoconv.nn.magnitude import MagnitudeBatchNorm2d

SO2 = pdo.so2()
QUARTERS = [g for g in SO2.lattice_elements if g]


def quarter_turned(x, turns=1):
    return torch.rot90(x, turns, (-2, -1))


def random_values(module):
    """Random parameters and statistics, so that nothing is right by being zero or one."""
    for name, values in (*module.named_parameters(), *module.named_buffers()):
        if values.is_floating_point() and "basis" not in name:
            with torch.no_grad():
                values.uniform_(0.5, 1.5) if "running_var" in name else values.normal_()
        return module


def violation(module, shape=(9, 9), in_type=None, out_type=None, dtype=torch.float64):
    """The law at 90, 180 and 270 degrees."""
    module, x = module.to(dtype), torch.randn(2, module.in_type.channels, *shape, dtype=dtype)
    into, out = in_type or module.in_type, out_type or module.out_type
    y = module(x)
    return max(relative(module(into.transform(x, g)), out.transform(y, g)) for g in QUARTERS)


# rings


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("size", [1, 3, 4, 5, 8])
def test_rings_turn_by_a_phase(size, order):
    basis = ring_basis(size, order, 4)
    turned = np.rot90(basis, 1, (1, 2))
    assert np.abs(turned - cmath.exp(-1j * order * math.pi / 2) * basis).max() < 1e-14
    if size > 1 and order % 2:  # negative control: turned the other way
        assert np.abs(turned - cmath.exp(1j * order * math.pi / 2) * basis).max() > 0.05


@pytest.mark.parametrize("order", range(4))
def test_rings_of_101_points_do_not(order):
    """Negative control: the number of points that is not a multiple of 4."""
    basis = ring_basis(5, order, 4, 101)
    error = np.abs(np.rot90(basis, 1, (1, 2)) - cmath.exp(-1j * order * math.pi / 2) * basis).max()
    assert 1e-11 < error < 1e-9


@pytest.mark.parametrize(("size", "order", "rings"), [(5, 0, 4), (5, 1, 4), (4, 2, 2), (3, 1, 1)])
def test_rings_from_the_definition(size, order, rings):
    count, centre = ring_angles(size), (size - 1) / 2
    first = 0.0 if order == 0 else 1.0
    for r in range(rings):
        radius = first + r * (rings - 0.5 - first) / max(rings - 1, 1)
        expected = np.zeros((size, size), dtype=complex)
        for a in range(count):
            angle = 2 * math.pi * a / count
            px, py = radius * math.cos(angle), radius * math.sin(angle)
            share = np.zeros((size, size))
            for row in range(size):
                for column in range(size):
                    share[row, column] = math.exp(-2 * ((px - column + centre) ** 2 + (py + row - centre) ** 2))
            expected += cmath.exp(1j * order * angle) * share / share.sum()
        assert np.abs(ring_basis(size, order, rings)[r] - expected / count).max() < 1e-14


def symbol_errors(order, frequencies):
    """How far the filters' frequency responses are from turning by a phase, at 45 degrees: largest over the rings."""
    basis, (x, y) = ring_basis(5, order, 4), np.meshgrid(np.arange(-2, 3), -np.arange(-2, 3))

    def response(f, t):
        return (basis * np.exp(1j * f * (x * np.cos(t) + y * np.sin(t)))).sum((1, 2))

    eighth = cmath.exp(1j * order * math.pi / 4)
    return [
        (np.abs(response(f, 0.2 + math.pi / 4) - eighth * response(f, 0.2)) / np.abs(response(f, 0.2))).max()
        for f in frequencies
    ]


def test_order_of_equivariance():
    """Fourth order in the frequency for filters of order 0, second for order 1, none for order 2 and above."""
    frequencies = (0.2, 0.1, 0.05)
    for order, expected in ((0, 4), (1, 2)):
        errors = symbol_errors(order, frequencies)
        assert abs(np.polyfit(np.log(frequencies), np.log(errors), 1)[0] - expected) < 0.05
        assert errors[0] < 0.02
    for order in (2, 3):  # what the layer's docstring warns of
        assert min(symbol_errors(order, frequencies)) > 0.5


def test_rings_are_kept_and_cannot_be_changed():
    assert ring_basis(5, 1, 4) is ring_basis(5, 1, 4)
    with pytest.raises(ValueError, match="read-only"):
        ring_basis(5, 1, 4)[0, 0, 0] = 1
    assert np.isfinite(ring_basis(3, 1, 60)).all()  # radii at which a Gaussian underflows
    for arguments in ((0, 1, 4), (5, -1, 4), (5, 1, 0), (5, 1, 4, 0)):
        with pytest.raises(ValueError, match=r"ring_basis: expected size, rings and angles of at least 1"):
            ring_basis(*arguments)


# the layer


def stack(max_order, fields=2):
    """Image to complex maps and through every kind of layer between them."""
    image, hidden = SO2.trivial(2), harmonic_type(fields, max_order)
    return random_values(
        pdo.Sequential(
            HarmonicConv2d(image, hidden, 5, rings=4, padding="same"),
            pdo.NormActivation(hidden),
            HarmonicConv2d(hidden, hidden, 3, padding=1),
            MagnitudeBatchNorm2d(hidden),
            HarmonicConv2d(hidden, harmonic_type(3, max_order), 5, phase=False),
        )
    )


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("shape", [(9, 9), (8, 8), (7, 10)])
@pytest.mark.parametrize("max_order", range(4))
def test_quarter_turns_are_exact(max_order, shape, mode):
    net = stack(max_order).train(mode)
    assert violation(net, shape) < 1e-12
    assert violation(net, shape, dtype=torch.float32) < 1e-4


def test_single_layers_are_exact():
    some = SO2.trivial(2) + SO2.irrep(1, 2) + SO2.irrep(3, 2)  # real and complex, orders that skip one
    other = FieldType(SO2, ((harmonic(2), 3), (harmonic(0), 3)))
    for layer, orders in (
        (HarmonicConv2d(some, other, 5, padding=1), (0, 1, 2, 3)),
        (HarmonicConv2d(other, other, 3, stride=2), (0, 2)),
        (HarmonicConv2d(some, other, 4, rings=1, padding=1), (0, 1, 2, 3)),
    ):
        assert layer.orders == orders
        assert violation(layer, (9, 9)) < 1e-12
    assert HarmonicConv2d(SO2.vector(3), other).orders == (1,)  # vectors are of order 1


def test_wrong_laws_are_rejected():
    """Negative controls: another frequency, orders exchanged, the conjugate filters, a sign of the difference."""
    net = stack(1)
    frequency = FieldType(SO2, ((harmonic(0), 3), (harmonic(2), 3)))
    exchanged = FieldType(SO2, ((harmonic(1), 3), (harmonic(0), 3)))
    assert violation(net) < 1e-12
    assert violation(net, out_type=frequency) > 0.1
    assert violation(net, out_type=exchanged) > 0.1

    class Conjugate(HarmonicConv2d):
        def _set_constants(self):
            super()._set_constants()
            self.basis[:, 1] *= -1  # e^{-im phi}

    field = harmonic_type(2)
    assert violation(random_values(HarmonicConv2d(field, field, 5, padding=2))) < 1e-12
    assert violation(random_values(Conjugate(field, field, 5, padding=2))) > 0.1
    layer = random_values(HarmonicConv2d(field, field, 5, padding=2))
    layer._in_orders, layer._out_orders = layer._out_orders[::-1], layer._in_orders[::-1]
    assert violation(layer) > 0.1


def reference(layer, x, in_orders, out_orders):
    """The layer in complex numbers, from the definition, pixel by pixel of the filter."""
    weight, size = layer.weight.detach().double().numpy(), layer.kernel_size
    beta = np.zeros(weight.shape[::2]) if layer.phase is None else layer.phase.detach().double().numpy()
    p, x = layer.padding, x.double().numpy()
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    fields, outs = weight.shape[2:]
    real = x.shape[1] == fields
    z = x.reshape(len(x), len(in_orders), fields, *([] if real else [2]), *x.shape[2:])
    z = z if real else z[:, :, :, 0] + 1j * z[:, :, :, 1]
    height, width = (n - size + 1 for n in x.shape[2:])
    y = np.zeros((len(x), len(out_orders), outs, height, width), dtype=complex)
    for a, n in enumerate(out_orders):
        for b, m in enumerate(in_orders):
            place = layer.orders.index(abs(n - m))
            for o in range(outs):
                for i in range(fields):
                    filters = ring_basis(size, abs(n - m), layer.rings)
                    w = sum(weight[place, r, i, o] * filters[r] for r in range(layer.rings))
                    if layer.phase is not None:
                        w = w * cmath.exp(1j * beta[place, i, o])
                    w = w.conj() if n < m else w
                    for row in range(size):
                        for column in range(size):
                            patch = z[:, b, i, row : row + height, column : column + width]
                            y[:, a, o] += w[row, column] * patch
    return torch.from_numpy(np.stack([y.real, y.imag], axis=3).reshape(len(x), -1, height, width))


@pytest.mark.parametrize("phase", [True, False])
@pytest.mark.parametrize("max_order", [0, 1, 2])
def test_equals_the_definition(max_order, phase):
    hidden = harmonic_type(2, max_order)
    orders = range(max_order + 1)
    for in_type, in_orders in ((SO2.trivial(2), [0]), (hidden, orders)):
        out = harmonic_type(3, max_order)
        layer = HarmonicConv2d(in_type, out, 3, rings=2, padding=1, phase=phase, dtype=torch.float64)
        x = torch.randn(2, in_type.channels, 5, 6, dtype=torch.float64)
        assert layer.kernel().shape == (out.channels, in_type.channels, 3, 3)
        assert relative(layer(x), reference(layer, x, in_orders, orders)) < 1e-12
        assert max_order == 0 or relative(layer(x), reference(layer, x, in_orders, orders[::-1])) > 0.1


def complex_maps(y, channels):
    """By order: `(batch, orders, channels, height, width)`, complex."""
    return torch.view_as_complex(y.unflatten(1, (-1, channels, 2)).movedim(3, -1).contiguous())


def test_orders_pick_up_their_phase():
    """When the image turns by a quarter, a map of order m turns and is multiplied by i^m."""
    net = stack(3, fields=2).double().eval()
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64)
    plain, turned = complex_maps(net(x), 3), complex_maps(net(quarter_turned(x)), 3)
    for m in range(4):
        size, moved = plain[:, m].abs().max(), quarter_turned(plain[:, m])
        assert (turned[:, m] - 1j**m * moved).abs().max() < 1e-12 * size
        assert (turned[:, m] - 1j ** (m + 1) * moved).abs().max() > 0.1 * size


def test_sets_are_shared():
    """Orders 0 -> 1 and 1 -> 0 have conjugate filters; 0 -> 0 and 1 -> 1 the same."""
    layer = HarmonicConv2d(harmonic_type(2), harmonic_type(3), 5, dtype=torch.float64)
    assert layer.weight.shape == (2, 2, 2, 3)
    assert layer.phase.shape == (2, 2, 3)
    blocks = layer.kernel().unflatten(0, (2, 3, 2)).unflatten(3, (2, 2, 2))  # (n, out, part, p, in, part, 5, 5)
    w = torch.complex(blocks[:, :, 0, :, :, 0], blocks[:, :, 1, :, :, 0])  # (n, out, p, in, 5, 5)
    assert torch.equal(w[0, :, 0], w[1, :, 1])
    assert torch.equal(w[1, :, 0], w[0, :, 1].conj())
    assert w[1, :, 0].imag.abs().max() > 0.1 * w[1, :, 0].real.abs().max()
    assert torch.equal(blocks[:, :, 0, :, :, 1], -blocks[:, :, 1, :, :, 0])
    assert torch.equal(blocks[:, :, 1, :, :, 1], blocks[:, :, 0, :, :, 0])


def test_between_quarter_turns():
    """One layer from an image, maps of orders 0 and 1, smooth pictures: small, and smaller for smoother ones."""
    layer = HarmonicConv2d(SO2.trivial(1), harmonic_type(4), 5, rings=4, padding=2, dtype=torch.float64)
    errors = [pdo.equivariance_error(layer, 45, frequency=f, size=s) for f, s in ((0.4, 33), (0.2, 65), (0.1, 129))]
    assert errors[0] < 0.03
    assert errors[2] < errors[1] / 2 < errors[0] / 4
    wrong = FieldType(SO2, ((harmonic(0), 4), (harmonic(2), 4)))
    assert pdo.equivariance_error(layer, 45, out_type=wrong) > 0.1
    assert pdo.equivariance_error(layer, 45, out_type=layer.in_type.group.trivial(16)) > 0.1


def test_warns_off_the_grid():
    layer = HarmonicConv2d(SO2.trivial(1), harmonic_type(1), 3, stride=2)
    layer(torch.zeros(1, 1, 9, 9))
    with pytest.warns(UserWarning, match="side 8 with kernel 3, stride 2"):
        layer(torch.zeros(1, 1, 8, 8))


def test_initialisation():
    layer = HarmonicConv2d(harmonic_type(32), harmonic_type(32), 5, rings=4)
    theirs = layer.weight / math.ceil(math.pi * 5)  # their rings are sums
    assert abs(theirs.std() / (0.4 * math.sqrt(2 / 4096)) - 1) < 0.05
    assert 0 <= layer.phase.min() < 0.01 < 2 * math.pi - 0.01 < layer.phase.max() <= 2 * math.pi


# normalisation of moduli


def test_magnitude_norm_from_the_definition():
    field = harmonic_type(2, 1)
    layer = random_values(MagnitudeBatchNorm2d(field, eps=1e-3, momentum=0.2)).double()
    x = torch.randn(3, 8, 4, 5, dtype=torch.float64)
    z = complex_maps(x, 2).flatten(1, 2)
    size = (z.abs().square() + 1e-5).sqrt()
    mean, var = size.mean((0, 2, 3)), size.var((0, 2, 3), correction=0)
    kept = copy.deepcopy(layer.norm)
    for mode in (True, False):
        y = complex_maps(layer.train(mode)(x), 2).flatten(1, 2)
        m, v = (mean, var) if mode else (layer.norm.running_mean, layer.norm.running_var)
        unit = [t.view(-1, 1, 1) for t in (m, v, layer.norm.weight, layer.norm.bias)]
        expected = ((size - unit[0]) / (unit[1] + 1e-3).sqrt() * unit[2] + unit[3]).relu() * z / size
        assert (y - expected).abs().max() < 1e-12
        assert (y == 0).any()
        assert (y != 0).any()
    assert relative(layer.norm.running_mean, 0.8 * kept.running_mean + 0.2 * mean) < 1e-12


@pytest.mark.parametrize("mode", [True, False])
def test_magnitude_norm_at_any_angle(mode):
    """Its channels mix, its pixels stay; negative control: batch normalisation of the parts."""
    field = harmonic_type(2, 2) + pdo.so2().trivial(1)
    layer = random_values(MagnitudeBatchNorm2d(field)).double().train(mode)
    x = torch.randn(3, field.channels, 4, 5, dtype=torch.float64)
    parts = random_values(nn.BatchNorm2d(field.channels)).double().train(mode)
    for t in (0.3, 1.0, 4.0):
        assert relative(layer(field.mix(x, rotation(t))), field.mix(layer(x), rotation(t))) < 1e-12
        assert relative(parts(field.mix(x, rotation(t))), field.mix(parts(x), rotation(t))) > 0.01


def test_zero_fields_have_gradients():
    field = harmonic_type(2)
    for layer in (MagnitudeBatchNorm2d(field), pdo.NormActivation(field), pdo.NormPool(field)):
        x = torch.randn(2, 8, 3, 3)
        x[0] = 0
        x.requires_grad_()
        layer(x).pow(2).sum().backward()
        assert torch.isfinite(x.grad).all()
    zero = torch.zeros(1, 1, 8, 8, requires_grad=True)
    net = hnet(widths=(2,))
    net(zero).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (zero, *net.parameters()))


# the network


def test_parameters():
    net = hnet()
    count = sum(p.numel() for p in net.parameters())
    convolutions = [m for m in net if isinstance(m, HarmonicConv2d)]
    assert [c.weight.shape[2:] for c in convolutions] == [
        (1, 8),
        (8, 8),
        (8, 16),
        (16, 16),
        (16, 32),
        (32, 32),
        (32, 10),
    ]
    assert sum(m.bias.numel() for m in net if isinstance(m, pdo.NormActivation)) == 112
    assert sum(p.numel() for m in net if isinstance(m, MagnitudeBatchNorm2d) for p in m.parameters()) == 224
    assert (count, declared_parameters(net)) == (22_826, 34_066)
    assert all((m.bias == 0).all() for m in net if isinstance(m, pdo.NormActivation))
    round_only = hnet(max_order=0)
    assert declared_parameters(round_only) == sum(p.numel() for p in round_only.parameters())
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("max_order", [0, 1, 2])
def test_logits_do_not_change_under_quarter_turns(max_order, mode):
    net = random_values(hnet(widths=(4, 6, 8), max_order=max_order)).double().train(mode)
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    y = net(x)
    assert (y[0] - y[1]).abs().max() > 1e-3 * y.abs().max()
    for turns in (1, 2, 3):
        assert relative(net(quarter_turned(x, turns)), y) < 1e-12
    net[5] = nn.Conv2d(net[5].in_type.channels, net[5].out_type.channels, 5, padding=2).double()
    assert relative(net(quarter_turned(x)), y) > 1e-3  # negative control: one ordinary convolution


def test_published_size_keeps_quarter_turns():
    net = random_values(hnet()).double().eval()
    x = torch.randn(1, 1, 28, 28, dtype=torch.float64)
    assert relative(net(quarter_turned(x)), net(x)) < 1e-12


def test_order_zero_is_a_net_of_round_filters():
    net = random_values(hnet(widths=(3, 3), max_order=0)).double().eval()
    for layer in net:
        if isinstance(layer, HarmonicConv2d):
            kernel = layer.kernel()
            for moved in (quarter_turned(kernel), kernel.flip(-1), kernel.transpose(-1, -2)):
                assert relative(moved, kernel) < 1e-12
    x = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    assert relative(net(x.flip(-1)), net(x)) < 1e-12  # so it cannot tell a picture from its mirror image
    assert relative(quarter_turned(stack(1)[0].kernel()), stack(1)[0].kernel()) > 0.1
    handed = random_values(hnet(widths=(3, 3))).double().eval()
    assert relative(handed(x.flip(-1)), handed(x)) > 1e-3


# numbers and tools


def test_gradients():
    layer = random_values(HarmonicConv2d(harmonic_type(1), harmonic_type(2), 3, padding=1)).double()
    norm = random_values(MagnitudeBatchNorm2d(layer.out_type)).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    def call(x, weight, phase):
        return torch.func.functional_call(layer, {"weight": weight, "phase": phase}, (x,))

    inputs = (x, layer.weight.detach().requires_grad_(), layer.phase.detach().requires_grad_())
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)
    y = layer(x).detach().requires_grad_()
    assert torch.autograd.gradcheck(norm, (y,))


def test_copies_conversions_and_states():
    net = hnet(widths=(2,), classes=3).eval()
    x = torch.randn(2, 1, 10, 10)
    assert not [name for name in net.state_dict() if "basis" in name]
    for other in copies(net):
        assert torch.equal(other(x), net(x))
    wide, there_and_back = copy.deepcopy(net).double(), copy.deepcopy(net).half().double()
    for layer, same in zip(wide, there_and_back, strict=True):
        if isinstance(layer, HarmonicConv2d):
            exact = torch.from_numpy(ring_basis(5, 1, 4).imag.reshape(4, 25).copy())
            assert torch.equal(layer.basis[1, 1], exact)  # never rounded on the way
            assert torch.equal(same.basis, layer.basis)
    assert relative(net(x), wide(x.double())) < 1e-4
    with torch.device("meta"):
        empty = hnet(widths=(2,), classes=3)
    empty = empty.to_empty(device="cpu").eval()
    empty.load_state_dict(net.state_dict())
    assert torch.equal(empty(x), net(x))
    assigned = hnet(widths=(2,), classes=3).eval()
    assigned.load_state_dict(wide.state_dict(), assign=True)
    assert relative(assigned(x.double()), wide(x.double())) < 1e-12


def test_half_precision():
    net = hnet(widths=(4,)).eval()
    x = torch.randn(2, 1, 12, 12)
    expected = net(x)
    assert relative(copy.deepcopy(net).bfloat16()(x.bfloat16()), expected) < 0.1
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(net(x), expected) < 0.1
        net.train()(x).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.filterwarnings("default")  # these tools warn about themselves
def test_compile_and_export():
    net = random_values(hnet(widths=(2,), classes=3)).eval()
    x = torch.randn(2, 1, 8, 8)
    torch._dynamo.reset()
    assert relative(torch.compile(net, fullgraph=True, backend="aot_eager")(x), net(x)) < 1e-5
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert relative(program.module()(x), net(x)) < 1e-5


def test_exported_network_is_plain():
    net = random_values(hnet(widths=(2, 3), classes=3)).eval()
    x = torch.randn(2, 1, 12, 12)
    plain = pdo.export(net)
    assert relative(plain(x), net(x)) < 1e-5
    assert sum(isinstance(m, nn.Conv2d) for m in plain) == 5
    assert not any(isinstance(m, HarmonicConv2d | MagnitudeBatchNorm2d) for m in plain.modules())


LIFT = (SO2.trivial(1), harmonic_type(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HarmonicConv2d(8, harmonic_type(2)), "expected a field type"),
        (lambda: HarmonicConv2d(*LIFT, 0), "kernel_size must be one whole number >= 1, received 0"),
        (lambda: HarmonicConv2d(*LIFT, rings=0), "rings must be one whole number >= 1, received 0"),
        (lambda: HarmonicConv2d(*LIFT, padding="full"), "padding must be"),
        (lambda: HarmonicConv2d(SO2.trivial(1), SO2.trivial(2)), "the output is complex, received"),
        (lambda: HarmonicConv2d(pdo.cyclic(8).trivial(1), harmonic_type(2)), "expected as many fields of each"),
        (lambda: HarmonicConv2d(SO2.trivial(1), harmonic_type(2) + SO2.irrep(2, 3)), "expected as many fields of each"),
        (lambda: HarmonicConv2d(*LIFT)(torch.zeros(1, 2, 8, 8)), r"HarmonicConv2d: expected \(batch, 1, height"),
        (lambda: HarmonicConv2d(*LIFT)(torch.zeros(1, 1, 8, 8).double()), "expected torch.float32"),
        (lambda: MagnitudeBatchNorm2d(3), "expected a field type"),
        (lambda: MagnitudeBatchNorm2d(pdo.octahedral().vector(1)), "expected a group of dimension 2"),
        (lambda: MagnitudeBatchNorm2d(harmonic_type(2))(torch.zeros(1, 4, 8, 8)), r"expected \(batch, 8, height"),
        (lambda: MagnitudeBatchNorm2d(harmonic_type(2))(torch.zeros(1, 8, 8, 8).double()), "expected torch.float32"),
        (lambda: harmonic(25), "0 to 24, received 25"),
        (lambda: harmonic(-1), "0 to 24, received -1"),
        (lambda: harmonic_type(0), "at least 1, received 0"),
        (lambda: harmonic_type(2, -1), "at least one block"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_printing():
    layer = HarmonicConv2d(SO2.trivial(1), harmonic_type(8), 5, rings=4, padding=2, phase=False)
    types = "SO2: 1 trivial -> SO2: 8 complex + 8 irrep(1)"
    assert repr(layer) == f"HarmonicConv2d({types}, kernel_size=5, rings=4, padding=2, phase=False)"
    assert "SO2: 8 complex" in repr(MagnitudeBatchNorm2d(harmonic_type(8)))
