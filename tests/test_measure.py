import numpy as np
import pytest
import torch
from torch import nn

import pdoconv as pdo
from pdoconv import measure
from pdoconv.operators import adapted
from pdoconv.stencils import finite_difference, gaussian, isotropic

C8, D4 = pdo.cyclic(8), pdo.dihedral(4)


def test_exact_at_lattice_symmetries():
    layer = pdo.PDOConv2d(D4.trivial(2), D4.regular(2), padding=2).double()
    for rotation in (0, 90, 180, 270, 360, -90):
        for reflection in (False, True):
            assert pdo.equivariance_error(layer, rotation, reflection=reflection, size=12) < 1e-12
    assert pdo.equivariance_error(pdo.PDOConv2d(C8.regular(1), C8.regular(1), padding=2)) < 1e-5


def test_second_order_in_the_frequency():
    """The error of the authors' stencils falls as frequency squared; no floor from interpolation."""
    layer = pdo.PDOConv2d(C8.regular(2), C8.regular(2), filters=pdo.filters.paper(), padding=2).double()
    errors = [pdo.equivariance_error(layer, 45, size=129, frequency=f, samples=4) for f in (0.4, 0.2, 0.1)]
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


def test_even_sides():
    """Where the output has no central pixel, the picture is turned about a pixel that there is."""
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(2), padding=2).double()
    assert pdo.equivariance_error(layer, 90, size=32, smooth=True) < 1e-12
    odd, even = (pdo.equivariance_error(layer, 45, size=size) for size in (33, 32))
    assert 0.2 < even / odd < 5
    hidden = C8.regular(2)
    steps = [pdo.nn.Sequential(layer, pdo.AvgPool2d(hidden, s), pdo.GroupPool(hidden)).double() for s in (2, 4)]
    for net, size in zip(steps, (32, 48), strict=True):
        assert pdo.equivariance_error(net, 45, size=size) < 0.1


def test_equal_sums_do_not_pass():
    """A plain convolution whose taps have equal sums looked equivariant when means over space were compared."""
    plain = nn.Conv2d(1, 8, 5, padding=2, bias=False).double()
    plain.weight.data /= plain.weight.data.sum((2, 3), keepdim=True)
    for size in (32, 33):
        assert pdo.equivariance_error(plain, 45, size=size, in_type=C8.trivial(1), out_type=C8.regular(1)) > 0.1


def test_images_as_functions():
    digits = torch.zeros(2, 1, 21, 21)
    digits[0, 0, 5:15, 8], digits[1, 0, 10, 4:16] = 1, 1
    for scheme, bound in ((gaussian(), 0.05), (finite_difference(), 0.1)):
        layer = pdo.PDOConv2d(
            C8.trivial(1), C8.regular(2), filters=pdo.filters.pdo(stencils=scheme), padding=2
        ).double()
        assert pdo.equivariance_error(layer, 90, images=digits) < 1e-10
        assert pdo.equivariance_error(layer, 45, images=digits) < bound
    plain = nn.Conv2d(1, 16, 5, padding=2).double()
    assert pdo.equivariance_error(plain, 45, images=digits, in_type=C8.trivial(1), out_type=C8.regular(2)) > 0.1
    with pytest.raises(ValueError, match="all sides alike"):
        pdo.equivariance_error(layer, 45, images=torch.zeros(1, 1, 8, 9))


def test_in_space_and_on_the_line():
    cube, line = pdo.octahedral(), pdo.reflection()
    layer = pdo.PDOConv3d(cube.trivial(1), cube.regular(1), padding=2).double()
    assert pdo.equivariance_error(layer, cube.matrices[5], size=7, samples=2) < 1e-12
    assert pdo.equivariance_error(layer, 90, size=7, samples=2) < 1e-12  # about z
    ico = pdo.icosahedral()
    fifth = ico.matrices[
        int(np.argmax(np.isclose(np.trace(ico.matrices, axis1=1, axis2=2), 2.236 / 2 + 0.5, atol=1e-3)))
    ]
    layer = pdo.PDOConv3d(ico.trivial(1), ico.regular(1), padding=2).double()
    error = pdo.equivariance_error(layer, fifth, size=9, samples=2)
    assert 1e-6 < error < 5e-3
    wrong = pdo.PDOConv3d(ico.trivial(1), ico.regular(1), padding=2).double()
    wrong.basis = wrong.basis.flip(0)  # negative control: filters of other elements
    wrong._set_constants = lambda: None
    assert pdo.equivariance_error(wrong, fifth, size=9, samples=2) > 0.05
    mirror = pdo.PDOConv1d(line.trivial(1), line.regular(2), padding=2).double()
    assert pdo.equivariance_error(mirror, reflection=True) < 1e-12
    with pytest.raises(ValueError, match="reflection=True"):
        pdo.equivariance_error(mirror)


@pytest.mark.parametrize(("stencils", "order"), [(finite_difference(), 2), (isotropic(), 4), (gaussian(), 4)], ids=str)
def test_order_in_space(stencils, order):
    """Icosahedral group, one layer: the order of the scheme, from the symbols."""
    ico = pdo.icosahedral()
    turn = ico.matrices[int(np.argmax(np.isclose(np.trace(ico.matrices, axis1=1, axis2=2), 1.618, atol=1e-3)))]
    for m, n in ((1, 1), (2, 2)):
        filters = pdo.filters.pdo(adapted(m, n, 3), stencils, weights="operators")
        for first, last in ((ico.trivial(1), ico.regular(1)), (ico.regular(1), ico.trivial(1))):
            layer = pdo.PDOConv3d(first, last, filters=filters).double()
            errors = measure.layer_error(layer, (0.2, 0.1, 0.05), rotation=turn)
            assert abs(measure.fitted_order(errors) - order) < 0.15


def test_layer_error_is_that_of_the_stencils():
    """A layer of one operator has the error of its stencil; lattice symmetries have none."""
    filters = pdo.filters.pdo(adapted(3, 3), finite_difference(), weights="operators")
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(1), filters=filters).double()
    layer.weight.data[:] = torch.tensor([1.0, 0.0])
    by_layer = measure.layer_error(layer, [0.4])[0.4]
    by_stencil = measure.stencil_error(adapted(3, 3), finite_difference(), 5, [0.4])[0.4]
    assert abs(by_layer / by_stencil - 1) < 0.05
    assert measure.layer_error(layer, [0.4, 3.0], rotation=90)[3.0] < 1e-12
    sampled = pdo.equivariance_error(layer, 45, size=129, frequency=0.4, samples=8)
    assert 0.1 < sampled / by_layer < 1.5  # frequencies up to 0.4
    plain = nn.Conv2d(1, 8, 5)
    assert measure.layer_error(plain, [0.4], in_type=C8.trivial(1), out_type=C8.regular(1))[0.4] > 0.1
    with pytest.raises(ValueError, match="has no field types"):
        measure.layer_error(plain, [0.4])
    with pytest.raises(ValueError, match="Expected a dense kernel"):
        measure.layer_error(nn.ReLU(), [0.4], in_type=C8.trivial(1), out_type=C8.regular(1))


def test_over_depth():
    hidden = C8.regular(2)
    net = nn.Sequential(
        pdo.PDOConv2d(C8.trivial(1), hidden, padding=2), nn.ELU(), pdo.PDOConv2d(hidden, hidden, padding=2), nn.ELU()
    ).double()
    errors = measure.error_over_depth(net, 45)
    assert list(errors) == ["0", "2"]
    assert errors["0"] == pdo.equivariance_error(net[0], 45)
    assert errors["2"] == pdo.equivariance_error(net[:3], 45)
    assert errors["2"] > errors["0"]


def test_over_size():
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(2), padding=2).double()
    errors = measure.error_over_size(layer, (17, 33))
    assert list(errors) == [17, 33]
    assert errors[33] < errors[17] / 8
    with pytest.raises(ValueError, match="at least two errors"):
        measure.fitted_order({0.1: 1.0})


def test_bad_input():
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(1), padding=2)
    with pytest.raises(ValueError, match="no element of the group"):
        pdo.equivariance_error(layer, 30)
    with pytest.raises(ValueError, match="has no field types"):
        pdo.equivariance_error(nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match="finite angle"):
        pdo.equivariance_error(layer, float("nan"))
    for frequency in (0.0, 4.0):
        with pytest.raises(ValueError, match="radians per pixel"):
            pdo.equivariance_error(layer, frequency=frequency)
    with pytest.raises(ValueError, match="no submodule of that name"):
        pdo.equivariance_error(layer, at="nothing")
    with pytest.raises(ValueError, match="orthogonal 2 x 2 matrix"):
        pdo.equivariance_error(layer, np.eye(3))
    layer.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        pdo.equivariance_error(layer)
    with pytest.raises(ValueError, match="Expected 3 output channels"):
        pdo.equivariance_error(nn.Conv2d(1, 8, 1), in_type=C8.trivial(1), out_type=C8.trivial(3))
    assert torch.is_grad_enabled()


def test_multiply_adds_equal_a_count_by_hand():
    """P4CNN: taps times input and output channels at every output pixel; whichever way a layer computes."""
    channels, sides = [1, 40, 40, 40, 40, 40, 40], [26, 24, 10, 8, 6, 4]
    by_hand = sum(9 * a * b * side**2 for a, b, side in zip(channels, channels[1:], sides, strict=False))
    assert pdo.measure.multiply_adds(pdo.models.create("p4cnn"), (1, 28, 28)) == by_hand + 16 * 40 * 40
    C8 = pdo.cyclic(8)
    for method in ("dense", "fourier"):
        layer = pdo.PDOConv2d(C8.regular(2), C8.regular(3), padding=2, method=method)
        assert pdo.measure.multiply_adds(layer, (16, 9, 9)) == 25 * 16 * 24 * 81
    grouped = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 5))
    assert pdo.measure.multiply_adds(grouped.train(), (4, 7, 7)) == 8 * 2 * 9 * 9 + 72 * 5
    assert grouped.training
