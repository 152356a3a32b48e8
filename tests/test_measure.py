import pytest
import torch
from torch import nn

import pdoconv as pdo

C8, D4 = pdo.cyclic(8), pdo.dihedral(4)


def test_exact_at_lattice_symmetries():
    layer = pdo.PDOConv2d(D4.trivial(2), D4.regular(2), padding=2).double()
    for rotation in (0, 90, 180, 270, 360, -90):
        for reflection in (False, True):
            assert pdo.equivariance_error(layer, rotation, reflection=reflection, size=12) < 1e-12
    assert pdo.equivariance_error(pdo.PDOConv2d(C8.regular(1), C8.regular(1), padding=2)) < 1e-5


def test_second_order_in_the_frequency():
    """The error of the authors' stencils falls as frequency squared; no floor from interpolation."""
    layer = pdo.PDOConv2d(C8.regular(2), C8.regular(2), padding=2).double()
    errors = [pdo.equivariance_error(layer, 45, size=129, frequency=f) for f in (0.4, 0.2, 0.1)]
    assert errors[0] < 0.05
    assert errors[2] < 2e-3
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_rejects_a_plain_convolution():
    plain = nn.Conv2d(2, 16, 5, padding=2).double()
    options = {"in_type": C8.trivial(2), "out_type": C8.regular(2)}
    assert pdo.equivariance_error(plain, 45, **options) > 0.3
    assert pdo.equivariance_error(plain, 90, **options) > 0.3


def test_whole_invariant_net():
    hidden = C8.regular(4)
    net = pdo.Sequential(
        pdo.PDOConv2d(C8.trivial(1), hidden, padding=2),
        pdo.BatchNorm2d(hidden),
        nn.ReLU(),
        pdo.PDOConv2d(hidden, hidden, padding=2),
        pdo.GroupPool(hidden),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).double()
    net.train()
    curve = pdo.equivariance_curve(net, [0, 30, 45, 90, 123])
    assert curve[0] == 0
    assert curve[90] < 1e-12
    assert curve[45] < 0.05
    assert all(part.training for part in net.modules())  # the modes are restored
    head = nn.Sequential(net[:4], nn.Flatten(), nn.Linear(32 * 33 * 33, 3)).double()
    assert pdo.equivariance_error(head, 90) > 0.3  # an ordinary head is not invariant


def test_even_sides_compare_means():
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(2), padding=2).double()
    assert pdo.equivariance_error(layer, 90, size=32, smooth=True) < 1e-12
    assert pdo.equivariance_error(layer, 45, size=32, frequency=0.3) < 0.02


def test_bad_input():
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(1), padding=2)
    with pytest.raises(ValueError, match="cannot be turned by 30 degrees"):
        pdo.equivariance_error(layer, 30)
    with pytest.raises(ValueError, match="has no field types"):
        pdo.equivariance_error(nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match="finite rotation"):
        pdo.equivariance_error(layer, float("nan"))
    layer.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        pdo.equivariance_error(layer)
    with pytest.raises(ValueError, match="Expected 3 output channels"):
        pdo.equivariance_error(nn.Conv2d(1, 8, 1), in_type=C8.trivial(1), out_type=C8.trivial(3))
    assert torch.is_grad_enabled()
