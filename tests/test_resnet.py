"""Rotated pixels (G-CNN) and pre-activation residual networks for any group and filter family."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import WrongRoll, copies, relative, season
from torch import nn

import pdoconv as pdo
from pdoconv.filters import paper, rotated
from pdoconv.models.resnet import PreActResNet
from pdoconv.models.resnets import gcnn_resnet44_p4m, resnet_1001, wrn_28_10

C1, C4, D4 = pdo.cyclic(1), pdo.cyclic(4), pdo.dihedral(4)


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def conv(in_type, out_type, size=3, *, kind=pdo.GroupConv2d, **options):
    options = {"padding": size // 2, "bias": False} | options
    layer = kind(in_type, out_type, size, filters=rotated(), **options).double()
    if layer.bias is not None:
        layer.bias.data.normal_()
    return layer


def whole_numbers(layer):
    layer.weight.data = torch.randint(-9, 10, layer.weight.shape).double()
    return layer.weight.data.view(*layer.weight.shape[:3], layer.kernel_size, layer.kernel_size).numpy()


# G-CNN layers, against numpy


def moved(taps, g):
    """Element g = 4 s + k: flip upside down if s, then k quarter turns."""
    return np.rot90(taps[::-1] if g >= 4 else taps, g % 4)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_p4_bank_is_rolled_and_turned(size):
    """The sheet's formula: bank[:, s] = rot90(roll(W, s, group axis), s)."""
    layer = conv(C4.regular(2), C4.regular(3), size)
    w = whole_numbers(layer)  # (out, in, r, size, size)
    bank = layer.kernel().detach().numpy().reshape(3, 4, 2, 4, size, size)
    for s in range(4):
        assert np.array_equal(bank[:, s], np.rot90(np.roll(w, s, axis=2), s, (-2, -1)))
        if size > 1 and s % 2:
            assert not np.array_equal(bank[:, s], np.rot90(np.roll(w, -s, axis=2), s, (-2, -1)))
            assert not np.array_equal(bank[:, s], np.rot90(np.roll(w, s, axis=2), -s, (-2, -1)))
    lift = conv(C4.trivial(2), C4.regular(3), size)
    w = whole_numbers(lift)[:, :, 0]
    bank = lift.kernel().detach().numpy().reshape(3, 4, 2, size, size)
    for s in range(4):
        assert np.array_equal(bank[:, s], np.rot90(w, s, (-2, -1)))


@pytest.mark.parametrize("size", [3, 4])
def test_p4m_bank_follows_the_table_of_d4(size):
    """In the layer's own order: (s, k)^-1 (t, l) = (s xor t, (-1)^s (l - k) mod 4)."""
    layer, lift = conv(D4.regular(2), D4.regular(2), size), conv(D4.trivial(1), D4.regular(1), size)
    w, first = whole_numbers(layer), whole_numbers(lift)
    bank = layer.kernel().detach().numpy().reshape(2, 8, 2, 8, size, size)
    for o in range(2):
        for i in range(2):
            for s in range(2):
                for k in range(4):
                    for t in range(2):
                        for n in range(4):
                            r = 4 * (s ^ t) + ((-1) ** s * (n - k)) % 4
                            assert np.array_equal(bank[o, 4 * s + k, i, 4 * t + n], moved(w[o, i, r], 4 * s + k))
    bank = lift.kernel().detach().numpy()[:, 0]
    assert all(np.array_equal(bank[g], moved(first[0, 0, 0], g)) for g in range(8))


@pytest.mark.parametrize(("size", "padding"), [(2, 0), (2, 1), (3, 1), (4, 0), (4, 1), (5, 2)])
@pytest.mark.parametrize("group", [C4, D4], ids=str)
def test_layers_turn_along(group, size, padding):
    """Kernels of even side too: they turn about their centre."""
    hidden = group.regular(2)
    for lifts in (True, False):
        for side in (7, 8):
            layer = conv(group.trivial(2) if lifts else hidden, hidden, size, padding=padding, bias=True)
            x = noise(2, layer.in_type.channels, side, side)
            y = layer(x)
            for g in range(group.order):
                assert relative(layer(layer.in_type.transform(x, g)), hidden.transform(y, g)) < 1e-12
    wrong = conv(hidden, hidden, size, padding=padding, kind=WrongRoll)
    assert relative(wrong(hidden.transform(x, 1)), hidden.transform(wrong(x), 1)) > 0.1


def test_p4m_without_mirrored_weights_is_two_streams_of_p4():
    layer = conv(D4.regular(2), D4.regular(3))
    layer.weight.data[:, :, 4:] = 0
    p4 = conv(C4.regular(2), C4.regular(3))
    p4.weight.data = layer.weight.data[:, :, :4].clone()
    x = noise(1, 16, 6, 6)

    def stream(maps, s):
        return maps.unflatten(1, (-1, 2, 4))[:, :, s].flatten(1, 2)

    y = layer(x)
    assert relative(stream(y, 0), p4(stream(x, 0))) < 1e-12
    mirrored = D4.regular(2).transform(x, 4)  # the mirror exchanges the streams
    assert relative(stream(D4.regular(3).transform(y, 4), 0), p4(stream(mirrored, 0))) < 1e-12
    other = x.unflatten(1, (-1, 2, 4)).clone()
    other[:, :, 1] += 1
    assert torch.equal(stream(layer(other.flatten(1, 3)), 0), stream(y, 0))
    nn.init.normal_(layer.weight)  # negative control
    assert relative(stream(layer(other.flatten(1, 3)), 0), stream(layer(x), 0)) > 0.1


def test_p4_with_the_same_weights_for_all_turns_is_an_ordinary_convolution():
    layer = conv(C4.regular(2), C4.regular(3))
    taps = noise(3, 2, 3, 3)
    layer.weight.data = taps.view(3, 2, 1, 9).repeat(1, 1, 4, 1)
    x = noise(1, 8, 6, 6)
    summed, y = x.unflatten(1, (2, 4)).sum(2), layer(x).unflatten(1, (3, 4))
    symmetric = sum(taps.rot90(k, (-2, -1)) for k in range(4))
    assert relative(y.sum(2), F.conv2d(summed, symmetric, padding=1)) < 1e-12
    for k in range(4):
        assert relative(y[:, :, k], F.conv2d(summed, taps.rot90(k, (-2, -1)), padding=1)) < 1e-12
    layer.weight.data[0, 0, 1] += 1
    assert relative(layer(x).unflatten(1, (3, 4)).sum(2), F.conv2d(summed, symmetric, padding=1)) > 0.1


# the networks


def plain(widths, units, **options):
    return PreActResNet(C1, widths=widths, units=units, filters=rotated(), kernel_size=3, eps=1e-5, **options)


NETWORKS = {  # published, or counted in the authors' graphs
    "G-CNN ResNet-44 p4m": (gcnn_resnet44_p4m, 2_622_878),
    "G-CNN ResNet-44 Z2": (lambda: plain((32, 64, 128), 7, bias=True), 2_639_434),
    "G-CNN ResNet-26 p4m": (lambda: gcnn_resnet44_p4m(widths=(25, 50, 100), units=4), 7_173_110),
    "G-CNN ResNet-26 Z2": (lambda: plain((71, 142, 284), 4, bias=True), 7_236_046),
    "HexaConv Z2": (lambda: plain((15, 31, 61), 4, bias=True), 338_456),
    "WRN-28-10": (wrn_28_10, 36_479_194),
    "WRN-28-10, 100 classes": (lambda: wrn_28_10(classes=100), 36_536_884),
    "WRN-40-4": (lambda: wrn_28_10(widths=(64, 128, 256), units=6), 8_949_210),
    "ResNet-1001": (resnet_1001, 10_327_706),
    "ResNet-164": (lambda: resnet_1001(units=18), 1_703_258),
    "PDO-eConv ResNet-44": (lambda: PreActResNet(pdo.cyclic(8), filters=paper()), 2_621_693),
    "PDO-eConv ResNet-44, 100 classes": (lambda: PreActResNet(pdo.cyclic(8), filters=paper(), classes=100), 2_654_183),
    "PDO-eConv WRN-26": (
        lambda: PreActResNet(pdo.cyclic(8), filters=paper(), widths=(20, 40, 80), units=4),
        4_591_630,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(name):
    make, count = NETWORKS[name]
    assert sum(p.numel() for p in make().parameters()) == count


def by_hand(net, x, widths, units, *, bottleneck=False, raw_shortcut=False):
    """The ordinary network, written with torch's functions from the weights in their order."""
    values = iter([p.detach() for p in net.parameters()])
    statistics = iter([b for name, b in net.named_buffers() if "running" in name])

    def norm(x):
        weight, bias = next(values), next(values)
        mean, var = next(statistics), next(statistics)
        y = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return (y * weight[:, None, None] + bias[:, None, None]).relu()

    def convolution(x, stride=1):
        w, bias = next(values), next(values)
        size = round(w.shape[3] ** 0.5)
        return F.conv2d(x, w.view(*w.shape[:2], size, size), bias, stride, size // 2)

    x = convolution(x)
    for stage, width in enumerate(widths):
        for number in range(units):
            stride = 2 if stage and number == 0 else 1
            active = norm(x)
            y = convolution(active, stride)
            for _ in range(2 if bottleneck else 1):
                y = convolution(norm(y))
            if x.shape[1] != width or stride == 2:
                x = convolution(x if raw_shortcut else active, stride)
            x = x + y
    return norm(x).mean((2, 3)) @ next(values).T + next(values)


@pytest.mark.parametrize("options", [{"bottleneck": False}, {"bottleneck": True}, {"bottleneck": False, "first": 3}])
def test_ordinary_networks_equal_torch(options):
    net = season(plain((4, 8, 12), 2, bias=True, **options))
    x, options = noise(2, 3, 11, 12), {"bottleneck": options["bottleneck"]}
    assert relative(net(x), by_hand(net, x, (4, 8, 12), 2, **options)) < 1e-12
    assert relative(net(x), by_hand(net, x, (4, 8, 12), 2, raw_shortcut=True, **options)) > 1e-3  # negative control


def test_depth_of_the_named_networks():
    """Convolutions on the longest way, and the linear layer."""
    for net, depth in ((gcnn_resnet44_p4m(), 44), (wrn_28_10(widths=(16, 32, 64)), 26), (resnet_1001(units=18), 164)):
        names = [name for name, part in net.named_modules() if isinstance(part, pdo.GroupConv2d)]
        assert sum("shortcut" not in name for name in names) + 1 == depth


def turn_errors(net, x, *, features=False, elements=None):
    group, last = net.in_type.group, None
    if features:
        last = next(part for part in reversed(list(net.features)) if hasattr(part, "out_type")).out_type
    with torch.no_grad():
        run = net.features if features else net
        y = run(x)
        return {
            g: relative(run(net.in_type.transform(x, g)), last.transform(y, g) if features else y)
            for g in elements or group.lattice_elements
        }


@pytest.mark.parametrize("side", [33, 29])
@pytest.mark.parametrize("name", ["p4", "p4m", "PDO C8"])
def test_symmetric_networks_do_not_see_lattice_symmetries(name, side):
    """End to end, three stages, on sides 1 mod 4."""
    options = {"widths": (2, 3, 4), "units": 1, "layout": "symmetric"}
    if name == "PDO C8":
        net = PreActResNet(pdo.cyclic(8), **options)
    else:
        net = PreActResNet(pdo.group(name), filters=rotated(), kernel_size=3, bias=True, bottleneck=False, **options)
    x = noise(2, 3, side, side)
    assert max(turn_errors(season(net), x).values()) < 1e-11
    assert relative(net(x.roll(3, -1)), net(x)) > 1e-3  # the logits do depend on the image


def test_bottlenecks_are_symmetric_too():
    net = season(resnet_1001(group=D4, widths=(4, 8, 8), units=2, first=2, layout="symmetric"))
    assert max(turn_errors(net, noise(1, 3, 17, 17)).values()) < 1e-11


@pytest.mark.parametrize("layout", ["authors", "symmetric"])
def test_published_side_breaks_the_symmetry(layout):
    """32 pixels: strides start at the corner. 33: features are exact, whatever reads them."""
    net = season(gcnn_resnet44_p4m(widths=(2, 3, 4), units=2, layout=layout))
    with pytest.warns(UserWarning, match="breaks the exact symmetry under D4") as said:
        errors = turn_errors(net, noise(1, 3, 32, 32), features=True)
    assert ["side 32" in str(w.message) for w in said] == [True, True, False, False]  # convolution and shortcut, twice
    assert sorted(error > 0.1 for error in errors.values()) == [False] * 2 + [True] * 6  # the diagonal flip is kept
    x = noise(1, 3, 33, 33)
    assert max(turn_errors(net, x, features=True).values()) < 1e-11
    assert (turn_errors(net, x)[1] < 1e-11) == (layout == "symmetric")  # the other classifier reads orientations


def test_pooling_over_orientations_is_what_makes_logits_invariant():
    net = season(gcnn_resnet44_p4m(widths=(2, 3, 4), units=1))
    assert min(error for g, error in turn_errors(net, noise(1, 3, 33, 33)).items() if g) > 1e-3


@pytest.mark.parametrize("layout", ["authors", "symmetric"])
def test_dropout_by_field_keeps_the_symmetry_in_training(layout):
    net = gcnn_resnet44_p4m(widths=(4, 4, 4), units=1, layout=layout, dropout=0.5).double().train()
    drops = [part for part in net.modules() if isinstance(part, nn.Dropout | pdo.FieldDropout)]
    assert len(drops) == 3
    assert all(isinstance(part, pdo.FieldDropout) == (layout == "symmetric") for part in drops)
    x, field = noise(2, 3, 33, 33), D4.regular(4)

    def features(x):
        torch.manual_seed(1)
        return net.features[:4](x)

    error = relative(features(D4.trivial(3).transform(x, 3)), field.transform(features(x), 3))
    assert error < 1e-11 if layout == "symmetric" else error > 0.1
    assert relative(net(x), net(x)) > 1e-3  # masks are drawn anew
    net.eval()
    assert torch.equal(net(x), net(x))


def test_dropout_comes_before_the_last_convolution():
    for options in ({}, {"bottleneck": True}):
        unit = plain((8,), 1, dropout=0.3, **options).features[1]
        kinds = [type(part) for part in unit.residual]
        assert kinds[-4:] == [pdo.BatchNorm2d, nn.ReLU, nn.Dropout, pdo.GroupConv2d]
        assert kinds.count(nn.Dropout) == 1
        assert unit.residual[-2].p == 0.3


def test_domain_of_all_cells_changes_nothing():
    options = {"widths": (2, 3, 4), "units": 1, "filters": rotated(), "kernel_size": 3}
    net, same = season(PreActResNet(C4, **options)), PreActResNet(C4, domain=np.ones((17, 17), bool), **options)
    state = iter(net.state_dict().values())
    same.load_state_dict({name: next(state) for name in same.state_dict()})
    same, x = same.double().eval(), noise(2, 3, 17, 17)
    assert relative(same(x), net(x)) < 1e-12
    assert relative(same.train()(x), net.train()(x)) < 1e-12


def test_disk_as_a_domain():
    """Of any lattice: a disk in a square array, quarter turns and flips."""
    line = np.arange(-8, 9)
    disk = line**2 + line[:, None] ** 2 <= 60
    net = PreActResNet(D4, widths=(2, 3), units=1, filters=rotated(), kernel_size=3, layout="symmetric", domain=disk)
    x = noise(2, 3, 17, 17)
    assert max(turn_errors(season(net), x).values()) < 1e-11
    assert torch.equal(net(x), net(torch.where(torch.tensor(disk), x, 7.0)))


def test_a_small_network_learns_orientations():
    """Bars along x or y: the published head can tell them apart, the symmetric one must not, whatever it learns."""
    x, labels = torch.zeros(8, 1, 9, 9), torch.arange(8) % 2
    for number, image in enumerate(x):
        (image.mT if number % 2 else image)[0, number // 2] = 1.0
    for layout in ("authors", "symmetric"):
        options = {"widths": (4, 4), "units": 1, "in_channels": 1, "classes": 2, "layout": layout}
        net = PreActResNet(C4, filters=rotated(), kernel_size=3, **options)
        optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(12):
            optimiser.zero_grad()
            loss = F.cross_entropy(net(x), labels)
            loss.backward()
            optimiser.step()
        assert all(p.grad.isfinite().all() for p in net.parameters())
        assert loss < 0.1 if layout == "authors" else loss > np.log(2) - 1e-3


# torch's own tools


def small(**options):
    return gcnn_resnet44_p4m(widths=(2, 3), units=1, **options)


@pytest.mark.filterwarnings("default")  # the compiler warns about itself
def test_compile():
    net, x = season(small(layout="symmetric")).float(), torch.randn(2, 3, 9, 9)
    torch._dynamo.reset()
    with torch.no_grad():
        expected = net(x)
        assert relative(torch.compile(net, fullgraph=True, backend="aot_eager")(x), expected) < 1e-5
    training = torch.compile(net.train(), fullgraph=True, backend="aot_eager")
    training(x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("layout", ["authors", "symmetric"])
def test_ordinary_layers(layout):
    net, x = season(small(layout=layout, dropout=0.2)).float(), torch.randn(2, 3, 9, 9)
    plain = pdo.export(net)
    assert relative(plain(x), net(x)) < 1e-4
    assert not any(isinstance(part, pdo.GroupConv2d | pdo.BatchNorm2d) for part in plain.modules())
    left = sum(isinstance(part, nn.BatchNorm2d) for part in plain.modules())
    assert left == 3  # before each unit and at the end: what they read is added to the shortcut


def test_copies_precisions_and_state():
    net, x = season(small(layout="symmetric", dropout=0.2)), noise(2, 3, 9, 9)
    expected = net(x)
    for twin in copies(net):
        assert torch.equal(twin(x), expected)
    assert relative(net.float()(x.float()), expected) < 1e-4
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(net(x.float()), expected) < 0.1
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert {name.split(".")[-1] for name in net.state_dict()} == {"weight", "bias"} | statistics
    fresh = small(layout="symmetric", dropout=0.2).double().eval()
    fresh.load_state_dict(net.double().state_dict())
    assert torch.equal(fresh(x), net(x))


def test_equivariance_error_of_a_network():
    net = season(small(layout="symmetric"))
    assert pdo.equivariance_error(net, 90, size=33) < 1e-11
    assert pdo.equivariance_error(net, 0, reflection=True, size=33) < 1e-11
    assert pdo.equivariance_error(season(small()), 90, size=33) > 1e-3


# errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": ()}, r"at least 1 stage and 1 unit, received widths=\(\), units=7"),
        ({"units": 0}, "at least 1 stage and 1 unit"),
        ({"bottleneck": True}, r"widths of bottlenecks are multiples of 4, received \(11, 23, 45\)"),
        ({"kernel_size": 4}, "expected an odd kernel_size, which keeps the side, received 4"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), received 1.0"),
        ({"layout": "mixed"}, r"layout must be one of \('authors', 'symmetric'\), received 'mixed'"),
        ({"domain": np.ones((33, 37), bool)}, r"sides 1 above a multiple of 8, .* received \(33, 37\): add false"),
        ({"domain": np.ones((33, 33))}, r"PreActResNet: expected a domain of booleans \(height, width\)"),
        ({"widths": (2, 0, 3)}, "number of fields must be a whole number of at least 1, received 0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        PreActResNet(C4, **options)


def test_bad_input():
    with pytest.raises(ValueError, match=r"GroupConv2d: expected \(batch, 3, height, width\)"):
        small()(torch.zeros(1, 1, 9, 9))
    net = small(domain=np.ones((9, 9), bool))
    with pytest.raises(ValueError, match=r"Domain: expected \(batch, channels, 9, 9\) .* received \(1, 3, 9, 11\)"):
        net(torch.zeros(1, 3, 9, 11))
    with pytest.raises(ValueError, match="expected a group of dimension 2"):
        PreActResNet(pdo.group("O"), units=1)
