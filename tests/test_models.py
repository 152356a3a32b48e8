"""Networks by name: published parameter counts, exact symmetries, what is refused."""

import numpy as np
import pytest
import torch
from conftest import relative, season
from torch import nn

import pdoconv as pdo
from pdoconv.models import create, names

COUNTS = {
    "z2cnn": 21_750,
    "p4cnn": 24_680,
    "sfcnn": 2_692_690,
    "e2cnn": 1_199_858,
    "hnet": 22_826,
    "roteqnet": 104_828,
    "orn8-align": 970_954,
    "ptn-b": 131_959,
    "hexaconv-p6": 336_940,
    "hexaconv-p6m": 338_200,
    "gcnn-resnet44-p4m": 2_622_878,
    "resnet-1001": 10_327_706,
    "wrn-28-10": 36_479_194,
    "z2-resnet26": 369_498,
    "z2-resnet44": 2_636_074,
    "pdo-mnist-small": 26_747,
    "pdo-mnist-large": 649_826,
    "pdo-resnet44-p8": 2_621_693,
    "pdo-resnet26-p6": 362_386,
    "pdo-resnet26-p6m": 372_587,
    "pdo-wrn26-p8": 4_591_630,
    "neural-ode": 208_266,
    "neural-ode-resnet": 576_778,
    "neural-pde": 35_164,
    "pdo-unet": 85_086,
    "pdo-denoiser": 42_444,
}


def turned(net, side=28):
    """Largest change of the logits when noise is turned by 90 degrees, relative to the largest logit."""
    x = torch.randn(2, 1, side, side, dtype=torch.float64)
    with torch.no_grad():
        return relative(net(x.rot90(1, (2, 3))), net(x))


@pytest.mark.parametrize("name", COUNTS)
def test_published_parameter_counts(name):
    assert sum(p.numel() for p in create(name).parameters()) == COUNTS[name]


def test_names():
    assert set(COUNTS) == set(names())
    with pytest.raises(ValueError, match=r"Unknown network 'p4': expected one of z2cnn, p4cnn"):
        create("p4")
    with pytest.raises(
        ValueError, match=r"Network 'sfcnn': got an unexpected keyword argument 'width'; it takes group,"
    ):
        create("sfcnn", width=3)


@pytest.mark.parametrize(
    "net",
    [
        lambda: create("p4cnn"),
        lambda: create("p4cnn", group=pdo.dihedral(4), fields=4),
        lambda: create("sfcnn", widths=(2, 2, 2, 2, 2, 3), hidden=(8,)),
        lambda: create(
            "sfcnn", group=pdo.cyclic(12), widths=(1, 2, 1, 2, 1, 3), hidden=(8, 8), filters=pdo.filters.fourier()
        ),
        lambda: create("e2cnn", widths=(2, 2, 2, 2, 2, 3)),
        lambda: create("e2cnn", widths=(2, 2, 2, 2, 2, 3), fields="quotient"),
        lambda: create("e2cnn", group=pdo.dihedral(8), restrict=pdo.cyclic(8), widths=(1, 2, 1, 2, 1, 3)),
    ],
)
def test_quarter_turns_leave_the_logits_alone(net):
    assert turned(season(net())) < 1e-12


def test_flips_too_where_the_group_has_them():
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    p4m = season(create("p4cnn", group=pdo.dihedral(4), fields=4))
    p4 = season(create("p4cnn"))
    with torch.no_grad():
        assert relative(p4m(x.flip(2)), p4m(x)) < 1e-12
        assert relative(p4(x.flip(2)), p4(x)) > 1e-3


def test_negative_controls():
    """The plain network, filters that do not turn with the group, and a group without quarter turns."""

    class Still(pdo.filters.RotatedFilters):
        def basis(self, group, size):
            return np.repeat(super().basis(group, size)[:1], group.order, 0)

    assert turned(season(create("z2cnn"))) > 1e-3
    assert turned(season(create("p4cnn", filters=Still()))) > 1e-3
    assert turned(season(create("sfcnn", group=pdo.cyclic(6), widths=(2,) * 6))) > 1e-7


def test_z2cnn_is_an_ordinary_network():
    """Kernels of the group of the identity are the weights, one ordinary kernel a pair of channels."""
    net = create("z2cnn").eval()
    plain = pdo.export(net)
    convs = [m for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(c.weight.shape) for c in convs] == [(20, 1, 3, 3)] + [(20, 20, 3, 3)] * 5 + [(10, 20, 4, 4)]
    x = torch.randn(2, 1, 28, 28)
    assert relative(plain(x), net(x)) < 1e-5
    layer = next(m for m in net if isinstance(m, pdo.GroupConv2d) and m.in_type.fields == 20)
    assert torch.equal(layer.kernel(), layer.weight.view(20, 20, 3, 3))


@pytest.mark.parametrize("name", ["p4cnn", "sfcnn", "e2cnn"])
def test_a_step_changes_every_parameter(name):
    config = {} if name == "p4cnn" else {"widths": (2,) * 6, "hidden": (8,)}
    net = create(name, classes=4, **config)
    logits = net(torch.randn(8, 1, 28, 28))
    assert logits.shape == (8, 4)
    nn.functional.cross_entropy(logits, torch.arange(8) % 4).backward()
    still = {n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    assert all(n.endswith("bias") for n in still)  # those before a BatchNorm do nothing in training


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("sfcnn", {"widths": (1, 2)}, "a width for each of 6 convolutions, received 2"),
        ("e2cnn", {"fields": "irreducible"}, "'regular' or 'quotient'"),
        ("e2cnn", {"restrict": pdo.cyclic(5)}, "expected a subgroup of C16"),
        ("p4cnn", {"group": pdo.cyclic(8)}, "expected a group of quarter turns and flips"),
    ],
)
def test_bad_arguments(name, config, message):
    with pytest.raises(ValueError, match=message):
        create(name, **config)


SMALL = {
    "p4cnn": {"fields": 3},
    "sfcnn": {"widths": (2,) * 6},
    "e2cnn": {"widths": (2,) * 6, "fields": "quotient"},
    "roteqnet": {"widths": (2, 3, 4)},
    "orn8-align": {"widths": (2, 3, 4, 5), "padding": 1},
    "hnet": {"widths": (2, 2, 2)},
}


@pytest.mark.parametrize("name", SMALL)
def test_exported_networks_are_ordinary_ones(name):
    net = season(create(name, **SMALL[name]))
    plain = pdo.export(net)
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    assert relative(plain(x), net(x)) < 1e-10
    own = {type(m).__name__ for m in plain.modules() if type(m).__module__.startswith("pdoconv")}
    assert own <= {"SumOfOrders"}  # a sum and a bias of plain tensors
