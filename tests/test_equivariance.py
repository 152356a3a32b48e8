"""The law layer(act(g, x)) == act(g, layer(x)): exact for lattice symmetries, second order for the rest."""

import math

import numpy as np
import pytest
import torch
from conftest import GROUPS, relative
from torch import nn

import pdoconv as pdo
from pdoconv.filters import paper, pointwise


def conv(kind_in, kind_out, **options):
    def make(group):
        in_type, out_type = getattr(group, kind_in)(2), getattr(group, kind_out)(2)
        if "filters" in options:
            layer = pdo.GroupConv2d(in_type, out_type, 1, **options)
        else:
            layer = pdo.PDOConv2d(in_type, out_type, **options)
        layer.bias.data.normal_()
        return layer

    return make


def batch_norm(group):
    layer = pdo.BatchNorm2d(group.regular(2))
    for values in (layer.weight.data, layer.bias.data, layer.running_mean):
        values.normal_()
    return layer


def norm_in_training(group):
    return batch_norm(group).train()


def norm_in_eval(group):
    return batch_norm(group).eval()


LAYERS = {
    "lift": conv("trivial", "regular", padding=2),
    "lift, valid": conv("trivial", "regular"),
    "group": conv("regular", "regular", padding="same"),
    "group, reflect": conv("regular", "regular", padding=2, padding_mode="reflect"),
    "group, replicate": conv("regular", "regular", padding=2, padding_mode="replicate"),
    "group, circular": conv("regular", "regular", padding=2, padding_mode="circular"),
    "group, dilated": conv("regular", "regular", padding=4, dilation=2),
    "project": conv("regular", "trivial", padding=1),
    "scalar": conv("trivial", "trivial", padding=2),
    "1x1": conv("regular", "regular", filters=pointwise()),
    "no offset": lambda group: pdo.PDOConv2d(group.regular(1), group.regular(2), padding=2, filters=paper(0.0)),
    "operators": lambda group: pdo.PDOConv2d(
        group.regular(1), group.regular(1), padding=2, filters=paper(weights="operators")
    ),
    "BatchNorm2d, train": norm_in_training,
    "BatchNorm2d, eval": norm_in_eval,
    "GroupPool, max": lambda group: pdo.GroupPool(group.regular(2)),
    "GroupPool, mean": lambda group: pdo.GroupPool(group.regular(2), "mean"),
    "MaxPool2d": lambda group: pdo.MaxPool2d(group.regular(1), 3, stride=1, padding=1),
    "AvgPool2d": lambda group: pdo.AvgPool2d(group.regular(1), 3, stride=1, padding=1),
    "BlurPool2d": lambda group: pdo.BlurPool2d(group.regular(1), 1),
}
STRIDED = {
    "stride 2": (lambda group: pdo.PDOConv2d(group.regular(1), group.regular(1), stride=2, padding=2), 13),
    "MaxPool2d 2": (lambda group: pdo.MaxPool2d(group.regular(1), 2), 12),
    "AvgPool2d 3, 2": (lambda group: pdo.AvgPool2d(group.regular(1), 3, stride=2), 13),
    "BlurPool2d 2": (lambda group: pdo.BlurPool2d(group.regular(1)), 13),
}


def worst_violation(layer, group, shape, dtype=torch.float64, elements=None):
    layer = layer.to(dtype)
    in_type, out_type = layer.in_type, layer.out_type
    x = torch.randn(2, in_type.channels, *shape, dtype=dtype)
    y = layer(x)
    return max(
        relative(layer(in_type.transform(x, g)), out_type.transform(y, g)) for g in elements or group.lattice_elements
    )


@pytest.mark.parametrize("shape", [(11, 11), (12, 12), (9, 12)], ids=str)
@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("layer", LAYERS)
def test_lattice_symmetries_are_exact(layer, name, shape):
    group = GROUPS[name]
    made = LAYERS[layer](group)
    assert worst_violation(made, group, shape) < 1e-12
    assert worst_violation(made, group, shape, torch.float32) < 1e-5


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("layer", STRIDED)
def test_strided_layers_are_exact_on_good_sides(layer, name):
    make, side = STRIDED[layer]
    assert worst_violation(make(GROUPS[name]), GROUPS[name], (side, side)) < 1e-12


@pytest.mark.parametrize("layer", STRIDED)
def test_strided_layers_are_not_on_others(layer):
    """Negative control of the grid rule; and the layer says so."""
    make, side = STRIDED[layer]
    with pytest.warns(UserWarning, match="breaks the exact symmetry"):
        error = worst_violation(make(GROUPS["C4"]), GROUPS["C4"], (side + 1, side + 1))
    assert error > 0.1


@pytest.mark.parametrize("name", ["C6", "D6"])
def test_groups_with_few_lattice_symmetries(name):
    group = pdo.group(name)
    assert len(group.lattice_elements) > 1
    assert worst_violation(LAYERS["group"](group), group, (8, 11)) < 1e-12


class WrongLayer(pdo.PDOConv2d):
    """Deliberately wrong kernels: the law must reject each."""

    def __init__(self, group, fault):
        super().__init__(group.regular(2), group.regular(2), padding=2)
        self.fault = fault

    def kernel(self):
        group, n = self.in_type.group, self.in_type.group.order
        basis = self.basis
        relative_element = torch.as_tensor(group.relative)
        if self.fault == "shift":
            relative_element = torch.as_tensor(group.product)  # g h: shifted the wrong way
        if self.fault == "y down":
            basis = basis.flip(3)
        if self.fault == "frame":
            basis = basis[torch.as_tensor(group.inverse)]
        w = self.weight[:, :, relative_element]
        dense = torch.einsum("oighb,gbxy->ogihxy", w, basis)
        return dense.reshape(2 * n, 2 * n, 5, 5)


@pytest.mark.parametrize("name", ["C4", "C8", "D4"])
def test_negative_controls_of_the_convolution(name):
    group = GROUPS[name]
    right = WrongLayer(group, None)
    assert torch.allclose(right.kernel(), pdo.PDOConv2d.kernel(right), atol=1e-6)
    assert worst_violation(right, group, (9, 9)) < 1e-12
    for fault in ("shift", "y down", "frame"):
        assert worst_violation(WrongLayer(group, fault), group, (9, 9)) > 0.1, fault


def typed(module, field):
    module.in_type = module.out_type = field
    return module


def test_negative_controls_of_bias_and_norm():
    group = GROUPS["C4"]
    field = group.regular(2)
    norm = typed(nn.BatchNorm2d(8), field)
    assert worst_violation(norm, group, (6, 6)) < 1e-12  # fresh batch statistics are permuted along
    nn.init.normal_(norm.weight)
    assert worst_violation(norm, group, (6, 6)) > 0.1
    norm = typed(nn.BatchNorm2d(8).eval(), field)
    norm.running_mean.normal_()
    assert worst_violation(norm, group, (6, 6)) > 0.1

    class BiasPerChannel(nn.Module):
        def forward(self, x):
            return x + torch.arange(8, dtype=x.dtype)[:, None, None]

    assert worst_violation(typed(BiasPerChannel(), field), group, (6, 6)) > 0.1
    assert worst_violation(typed(nn.Conv2d(8, 8, 5, padding=2), field), group, (6, 6)) > 0.1


ORDERS = np.array([0, 1, 1, 2, 2, 2, 3, 3, 4])


def lifting_error(arrays, n, offset, spacing, reflections=False, moves_group_axis=True):
    """Error of Psi for the rotation by 360 / n of a sum of Gaussians, both sides computed without interpolation.

    The function and the coefficients, fixed in physical units, are the oracle's.
    """
    group = pdo.dihedral(n) if reflections else pdo.cyclic(n)
    line = np.arange(-1, 1 + spacing / 2, spacing)
    x, y = np.meshgrid(line, -line)
    filters = pdo.filters.paper(offset, weights="operators")
    layer = pdo.PDOConv2d(group.trivial(1), group.regular(2), filters=filters, bias=False, dtype=torch.float64)
    layer.weight.data = torch.as_tensor(arrays["beta"] / spacing**ORDERS).view(2, 1, 1, 9)
    kernel = layer.kernel().detach().numpy()[:, 0]
    c, s = math.cos(2 * math.pi / n), math.sin(2 * math.pi / n)

    def function(px, py):
        bumps = zip(arrays["amp"], arrays["cen"], arrays["sig"], strict=True)
        return sum(a * np.exp(-((px - u) ** 2 + (py - v) ** 2) / (2 * w * w)) for a, (u, v), w in bumps)

    def apply(function, px, py):
        offsets = (np.arange(5) - 2) * spacing
        total = 0.0
        for row, dy in enumerate(offsets):
            for column, dx in enumerate(offsets):
                total = total + kernel[:, row, column, None, None] * function(px + dx, py - dy)
        return total.reshape(2, group.order, *px.shape)

    turned = apply(lambda px, py: function(c * px + s * py, -s * px + c * py), x, y)
    plain = apply(function, c * x + s * y, -s * x + c * y)
    if moves_group_axis:
        plain = plain[:, group.relative[1]]
    return np.linalg.norm(turned - plain) / np.linalg.norm(plain)


@pytest.mark.parametrize("offset", [0.0, math.pi / 8])
@pytest.mark.parametrize(("n", "reflections"), [(8, False), (6, False), (12, False), (8, True)])
def test_lifting_layer_is_second_order(oracle, n, reflections, offset):
    """Shen et al. (2020): the discretised layer is equivariant to second order in the grid spacing."""
    arrays = oracle("lifting_equivariance_convergence")
    spacings = np.array([1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])
    errors = np.array([lifting_error(arrays, n, offset, h, reflections) for h in spacings])
    order = np.polyfit(np.log(spacings), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.1, errors
    assert abs(np.log2(errors[-2] / errors[-1]) - 2) < 0.01
    wrong = lifting_error(arrays, n, offset, 1 / 64, reflections, moves_group_axis=False)
    assert wrong > 0.1  # negative control


def test_convergence_table_of_the_oracle(oracle):
    """Errors equal those of an independent program, up to how each takes the norm."""
    arrays = oracle("lifting_equivariance_convergence")
    for n, offset, points, spacing, expected in arrays["table"]:
        if points < 200:
            assert abs(lifting_error(arrays, int(n), offset, spacing) / expected - 1) < 2e-3


def test_whole_network_keeps_quarter_turns():
    """The authors' net keeps C4 up to its classifier (28 pixels, pooling on 24)."""
    net = pdo.models.mnist_small().double().eval()
    for part in net:
        if isinstance(part, pdo.BatchNorm2d):
            part.running_mean.normal_()
            part.weight.data.normal_()
    features = net[:-2]
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    field = pdo.cyclic(8).regular(7)
    for turn in (2, 4, 6):
        moved = features(pdo.cyclic(8).trivial(1).transform(x, turn))
        assert relative(moved, field.transform(features(x), turn)) < 1e-12
