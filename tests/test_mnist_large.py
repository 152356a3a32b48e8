"""The larger MNIST-rot network: about 0.65 million parameters, exact quarter turns, mirrors up to the last layer."""

from itertools import pairwise

import pytest
import torch
from conftest import relative, season
from torch import nn

import pdoconv as pdo
from pdoconv.models import create
from pdoconv.recipes import MnistRotLarge

SMALL = {"widths": (1, 2, 1, 2, 1, 3), "hidden": (8,)}
MIRRORED = {"group": pdo.dihedral(16), "restrict": pdo.cyclic(16)}


def images(n=2, side=28):
    return torch.randn(n, 1, side, side, dtype=torch.float64)


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_parameters():
    """By hand: 13 operators, one set of weights for all orientations at first, a bias and two numbers of BatchNorm."""
    widths = (8, 16, 20, 24, 32, 44)
    count = 13 * widths[0] + sum(13 * 16 * a * b for a, b in pairwise(widths)) + 3 * sum(widths)
    count += 44 * 64 + 64 + 2 * 64 + 64 * 10 + 10
    assert parameters(create("pdo-mnist-large")) == count == 649_826
    assert parameters(create("pdo-mnist-large", classes=2)) == count - 8 * 65


def test_recipes_have_about_the_published_number():
    for mirror in (False, True):
        net = MnistRotLarge(mirror=mirror).network()
        assert abs(parameters(net) / 650_000 - 1) < 0.02
        groups = [part.in_type.group.name for part in net if isinstance(part, pdo.GroupConv2d)]
        assert groups == (["D16"] * 5 + ["C16"] if mirror else ["C16"] * 6)
    with pytest.raises(ValueError, match="dropout in"):
        MnistRotLarge(dropout=1.0)
    with pytest.raises(ValueError, match="Unknown filter family"):
        MnistRotLarge(filters="best")


def test_sides_of_the_maps():
    """No layer warns of the grid rule: warnings are errors here."""
    net, sides = season(create("pdo-mnist-large", **SMALL)), []
    for part in net:
        if isinstance(part, pdo.GroupConv2d):
            part.register_forward_hook(lambda layer, x, y: sides.append(y.shape[-1]))
    with torch.no_grad():
        assert net(images()).shape == (2, 10)
        assert sides == [24, 24, 12, 12, 6, 2]
        with pytest.warns(UserWarning, match="breaks the exact symmetry"):  # negative control
            net(images(side=29))


@pytest.mark.parametrize("options", [{}, MIRRORED, {"group": pdo.dihedral(16)}], ids=["C16", "D16 to C16", "D16"])
def test_quarter_turns_leave_the_logits_alone(options):
    net, x = season(create("pdo-mnist-large", **SMALL, **options)), images()
    with torch.no_grad():
        y = net(x)
        for k in (1, 2, 3):
            assert relative(net(x.rot90(k, (2, 3))), y) < 1e-11
        flipped = relative(net(x.flip(3)), y)
        assert flipped < 1e-11 if "group" in options and "restrict" not in options else flipped > 1e-3
        assert relative(net(x.roll(5, 3)), y) > 1e-3


def test_group_without_quarter_turns():
    net, x = season(create("pdo-mnist-large", group=pdo.cyclic(6), **SMALL)), images()
    with torch.no_grad():
        assert relative(net(x.rot90(2, (2, 3))), net(x)) < 1e-11
        assert relative(net(x.rot90(1, (2, 3))), net(x)) > 1e-7


def test_mirrors_hold_up_to_the_restriction():
    net = season(create("pdo-mnist-large", **SMALL, **MIRRORED))
    place = next(i for i, part in enumerate(net) if isinstance(part, pdo.nn.Restrict))
    whole, restricted = net[:place], net[: place + 1]
    x, mirror = images(), 16
    first, last = net[0].in_type, restricted[-1].out_type
    assert net[place].in_type.group == pdo.dihedral(16)
    assert last == pdo.cyclic(16).regular(2)
    with torch.no_grad():
        turned = net[place].in_type.transform(whole(x), mirror)
        assert relative(whole(first.transform(x, mirror)), turned) < 1e-11
        quarter = last.transform(restricted(x), 4)
        assert relative(restricted(x.rot90(1, (2, 3))), quarter) < 1e-11


def test_a_step_changes_every_parameter_and_lowers_the_loss():
    net = create("pdo-mnist-large", **SMALL, dropout=0.0)
    x, labels = torch.randn(12, 1, 28, 28), torch.arange(12) % 10
    before = [p.detach().clone() for p in net.parameters()]
    optimiser, losses = torch.optim.AdamW(net.parameters(), lr=5e-3), []
    for _ in range(8):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    named = [name for name, _ in net.named_parameters()]
    still = [n for n, p, old in zip(named, net.parameters(), before, strict=True) if torch.equal(p, old)]
    assert all(name.endswith("bias") for name in still)  # those before a BatchNorm may do nothing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (1, 2)}, "mnist_large: expected a width for each of 6 layers, received 2"),
        ({"restrict": pdo.cyclic(5)}, "expected a subgroup of C16"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        create("pdo-mnist-large", **options)
