"""Pre-activation residual networks for any group and filter family."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import copies, relative, season
from torch import nn

import pdoconv as pdo
from pdoconv.filters import paper, rotated
from pdoconv.models import create
from pdoconv.models.resnet import PreActResNet, PreActUnit, halved
from pdoconv.models.resnets import gcnn_resnet44_p4m, resnet_1001

C4, D4 = pdo.cyclic(4), pdo.dihedral(4)


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


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


SIDES = [(32, 32), (33, 33), (30, 30), (31, 31), (31, 32), (26, 33)]


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("name", ["p4", "p4m", "p8", "p6", "p6m"])
def test_symmetric_networks_do_not_see_lattice_symmetries(name, sides):
    """End to end, three stages, on any side: turns and flips of the pixels leave the logits alone."""
    group = pdo.group(name)
    options = {"widths": (2, 3, 4), "units": 1, "layout": "symmetric"}
    if name in ("p4", "p4m"):
        options |= {"filters": rotated(), "kernel_size": 3, "bias": True}
    net, x = season(PreActResNet(group, **options)), noise(2, 3, *sides)
    step = 1 if group.order % 4 == 0 and name != "p6m" else 2  # p6 and p6m have half turns
    images = [x.rot90(k, (2, 3)) for k in range(0, 4, step)]
    images += [image.flip(2) for image in images] if name.endswith("m") else []
    with torch.no_grad():
        y = net(x)
        assert max(relative(net(image), y) for image in images) < 1e-11
        others = [x.roll(3, -1)]  # the logits do depend on the image
        others += [] if name.endswith("m") else [x.flip(2)]
        others += [x.rot90(1, (2, 3))] if step == 2 else []
        assert min(relative(net(image), y) for image in others) > 1e-5


@pytest.mark.parametrize("layout", ["authors", "symmetric"])
def test_head_widens_what_the_classifier_reads(layout):
    """A 1x1 group convolution, BatchNorm, ReLU: 4 of 3 fields of p4, by hand; symmetric networks stay symmetric."""
    options = {"widths": (2, 3), "units": 1, "layout": layout}
    net, bare = season(PreActResNet(C4, head=7, **options)), PreActResNet(C4, **options)
    assert net.classifier.in_features == (7 if layout == "symmetric" else 28)
    added = sum(p.numel() for p in net.features.parameters()) - sum(p.numel() for p in bare.features.parameters())
    assert added == 3 * 7 * 4 + 2 * 7
    x = noise(2, 3, 9, 9)
    with torch.no_grad():
        error = relative(net(x.rot90(1, (2, 3))), net(x))
    assert error < 1e-11 if layout == "symmetric" else error > 1e-3


@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_features_of_symmetric_networks_turn_along(sides):
    """Before orientations are pooled."""
    unit = PreActUnit(D4.regular(2), D4.regular(3), 5, filters=paper(), stride=2, means=True).double().train()
    x = noise(2, 16, *sides)
    y = unit(x)
    assert y.shape[2:] == tuple(-(-side // 2) for side in sides)
    for g in range(8):
        assert relative(unit(unit.in_type.transform(x, g)), unit.out_type.transform(y, g)) < 1e-11
    strided = PreActUnit(D4.regular(2), D4.regular(3), 5, filters=paper(), stride=2).double().train()
    if any(side % 2 == 0 for side in sides):  # negative control
        with pytest.warns(UserWarning, match="breaks the exact symmetry"):
            y = strided(x)
        assert relative(strided(unit.in_type.transform(x, 2)), unit.out_type.transform(y, 2)) > 0.1


def test_halved():
    """Means of 2 pixels along even sides, of 3 along odd ones, of those within the image at the border."""
    x = noise(2, 3, 6, 7)
    y, wide = halved(x), F.pad(x, (1, 1), value=torch.nan)
    assert y.shape == (2, 3, 3, 4)
    for row in range(3):
        for column in range(4):
            window = wide[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 3]
            assert relative(y[:, :, row, column], window.nanmean((2, 3))) < 1e-14
    for shape in ((6, 6), (7, 7), (6, 7), (1, 2), (1, 1)):
        x = noise(1, 1, *shape)
        for move in (lambda t: t.rot90(1, (2, 3)), lambda t: t.flip(2), lambda t: t.mT):
            assert relative(halved(move(x)), move(halved(x))) < 1e-14
    corner = x[:, :, ::2, ::2]
    assert corner.shape == halved(x).shape
    even = noise(1, 1, 6, 6)  # negative control
    assert relative(even.flip(2)[:, :, ::2, ::2], even[:, :, ::2, ::2].flip(2)) > 0.1


def blobs(turn, side=32):
    """Smooth images `(8, 3, side, side)` within a disk, turned counter-clockwise: sums of Gaussians, of 3 pixels."""
    rng = np.random.default_rng(0)
    places, heights = rng.normal(size=(8, 3, 6, 2)) * side / 10, rng.normal(size=(8, 3, 6))
    c, s = np.cos(turn), np.sin(turn)
    places = places @ np.array([[c, s], [-s, c]])
    line = np.arange(side) - (side - 1) / 2
    squares = (line - places[..., 0, None, None]) ** 2 + (-line[:, None] - places[..., 1, None, None]) ** 2
    return torch.tensor((heights[..., None, None] * np.exp(-squares / 18)).sum(2))


@pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
def test_turns_between_the_quarters_change_least_in_the_symmetric_layout():
    """45 degrees, random weights, statistics of the images: p8 symmetric < p8 as published < ordinary."""

    def change(name, seed, **options):
        torch.manual_seed(seed)
        net = create(name, units=1, **options).double()
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d | pdo.BatchNorm2d):
                part.momentum = 1.0
        x, turned = blobs(0.0), blobs(np.pi / 4)
        with torch.no_grad():
            net.train()(torch.cat([x, turned]))
            y, moved = net.eval()(x), net(turned)
        return float((moved - y).norm() / (y - y.mean(0)).norm())

    widths = {"widths": (3, 6, 8)}
    found = [
        np.mean([change(name, seed, **options) for seed in range(3)])
        for name, options in (
            ("pdo-resnet44-p8", widths | {"layout": "symmetric"}),
            ("pdo-resnet44-p8", widths),
            ("z2-resnet26", {"widths": (8, 16, 24)}),
        )
    ]
    assert found[0] < 0.5 * found[1]
    assert found[0] < 0.5 * found[2]


def test_bottlenecks_are_symmetric_too():
    net = season(resnet_1001(group=D4, widths=(4, 8, 8), units=2, first=2, layout="symmetric"))
    assert max(turn_errors(net, noise(1, 3, 17, 17)).values()) < 1e-11


def test_published_side_breaks_the_symmetry():
    """As published, strides start at the corner of 32 pixels. 33: features are exact, but not what reads them."""
    net = season(gcnn_resnet44_p4m(widths=(2, 3, 4), units=2))
    with pytest.warns(UserWarning, match="breaks the exact symmetry under D4") as said:
        errors = turn_errors(net, noise(1, 3, 32, 32), features=True)
    assert ["side 32" in str(w.message) for w in said] == [True, True, False, False]  # convolution and shortcut, twice
    assert sorted(error > 0.1 for error in errors.values()) == [False] * 2 + [True] * 6  # the diagonal flip is kept
    x = noise(1, 3, 33, 33)
    assert max(turn_errors(net, x, features=True).values()) < 1e-11
    assert turn_errors(net, x)[1] > 1e-3


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
        unit = PreActResNet(C4, widths=(8,), units=1, dropout=0.3, **options).features[1]
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
        ({"widths": ()}, r"at least 1 stage and 1 unit and head >= 0, received widths=\(\), units=7, head=0"),
        ({"units": 0}, "at least 1 stage and 1 unit"),
        ({"bottleneck": True}, r"widths of bottlenecks are multiples of 4, received \(11, 23, 45\)"),
        ({"kernel_size": 4}, "expected an odd kernel_size, which keeps the side, received 4"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), received 1.0"),
        ({"layout": "mixed"}, r"layout must be one of \('authors', 'symmetric'\), received 'mixed'"),
        ({"domain": np.ones((33, 37), bool)}, r"sides 1 above a multiple of 8, .* received \(33, 37\): add false"),
        ({"head": -1}, r"head >= 0"),
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
