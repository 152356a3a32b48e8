"""Residual networks by name: parameters to the unit, the ordinary ones against torch's functions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import relative, season

import pdoconv as pdo
from pdoconv.filters import paper, rotated
from pdoconv.models import create
from pdoconv.models.resnet import PreActResNet
from pdoconv.models.resnets import gcnn_resnet44_p4m, resnet_1001, wrn_28_10


def plain(widths, units, **options):
    return PreActResNet(
        pdo.cyclic(1), widths=widths, units=units, filters=rotated(), kernel_size=3, eps=1e-5, **options
    )


def parameters(net):
    return sum(p.numel() for p in net.parameters())


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
}
PDO = {  # for 10 and for 100 classes
    "pdo-resnet44-p8": (2_621_693, 2_654_183),
    "pdo-resnet26-p6": (362_386, 376_516),
    "pdo-resnet26-p6m": (372_587, 392_117),
    "pdo-wrn26-p8": (4_591_630, 4_649_320),
    "z2-resnet26": (369_498, 375_348),
    "z2-resnet44": (2_636_074, 2_647_684),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(name):
    make, count = NETWORKS[name]
    assert parameters(make()) == count


@pytest.mark.parametrize("name", PDO)
def test_parameters_for_both_data_sets(name):
    assert tuple(parameters(create(name, classes=classes)) for classes in (10, 100)) == PDO[name]


def formula(widths, order, units, classes):
    """Of the facts: 3x3 templates, one for all orientations in the first layer, no biases but the classifier's."""
    total, incoming = 27 * widths[0], widths[0]
    for stage, width in enumerate(widths):
        for number in range(units):
            shortcut = incoming != width or (stage > 0 and number == 0)
            total += 2 * incoming + 9 * incoming * order * width + 2 * width + 9 * width**2 * order
            total += incoming * order * width if shortcut else 0
            incoming = width
    return total + 2 * incoming + incoming * order * classes + classes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("layout", ["authors", "symmetric"])
def test_parameters_follow_the_formula(seed, layout):
    rng = np.random.default_rng(seed)
    widths = tuple(int(w) for w in rng.integers(1, 6, rng.integers(1, 5)))
    units, classes = int(rng.integers(1, 4)), int(rng.integers(2, 101))
    group = pdo.group(("p1", "p4", "p6", "p8", "p6m", "p4m")[seed])
    net = PreActResNet(group, widths=widths, units=units, classes=classes, filters=paper(), layout=layout)
    expected = formula(widths, group.order, units, classes)
    if layout == "symmetric":  # its classifier reads one number a field
        expected -= widths[-1] * (group.order - 1) * classes
    assert parameters(net) == expected


def test_formula_gives_the_published_numbers():
    assert formula((11, 23, 45), 8, 7, 10) == PDO["pdo-resnet44-p8"][0]
    assert formula((7, 13, 26), 6, 4, 10) == 368_827  # the other widths that were considered
    assert formula((5, 9, 18), 12, 4, 10) != PDO["pdo-resnet26-p6m"][0]


def test_named_networks_take_other_arguments():
    net = create("pdo-resnet26-p6", group=pdo.cyclic(4), widths=(2, 3), units=1, classes=7, in_channels=1)
    assert net.in_type == pdo.cyclic(4).trivial(1)
    assert net(torch.randn(2, 1, 9, 9)).shape == (2, 7)
    for name in ("pdo-wrn26-p8", "z2-resnet44", "hexaconv-p6"):
        with pytest.raises(
            ValueError, match=f"Network '{name}': .* got an unexpected keyword argument 'width'; it takes "
        ):
            create(name, width=3)


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


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


NAMED = (("gcnn-resnet", 44, "-p4m"), ("pdo-resnet", 44, "-p8"), ("pdo-resnet", 26, "-p6"), ("pdo-wrn", 26, "-p8"))


def test_depth_of_the_named_networks():
    """Convolutions on the longest way, and the linear layer."""
    nets = [(wrn_28_10(widths=(16, 32, 64)), 26), (resnet_1001(units=18), 164)]
    nets += [(create(f"{name}{depth}{group}"), depth) for name, depth, group in NAMED]
    for net, depth in nets:
        names = [name for name, part in net.named_modules() if isinstance(part, pdo.GroupConv2d)]
        assert sum("shortcut" not in name for name in names) + 1 == depth
