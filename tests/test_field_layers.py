"""Layers for fields of any representation: the law, its negative controls, statistics, and numbers that stay finite."""

import copy
import math

import numpy as np
import pytest
import torch
from conftest import relative
from torch import nn
from torch.nn import functional as F

import pdoconv as pdo
from pdoconv.groups import rotation
from pdoconv.nn.blocks import blocks, by_channel

C4, C8, D4, D8, SO2, O2, CUBE = (pdo.group(name) for name in ("C4", "C8", "D4", "D8", "SO2", "O2", "O"))
LINE = pdo.reflection()
FIELDS = {
    "C4": C4.trivial(2) + C4.irrep(1, 2) + C4.regular(1) + C4.irrep(2, 2),
    "C8": C8.irrep(1, 2) + C8.regular(1) + C8.irrep(3) + C8.trivial() + C8.irrep(4, 2),
    "D4": D4.irrep(0, 2, pseudo=True) + D4.irrep(1, 2) + D4.trivial() + D4.irrep(2, pseudo=True) + D4.vector(),
    "D8 quotient": D8.quotient(pdo.dihedral(1), 2),
    "D8": D8.quotient(pdo.cyclic(2)) + D8.irrep(3, 2) + D8.irrep(1, pseudo=True) + D8.irrep(4),
    "SO2": SO2.trivial(2) + SO2.irrep(1, 2) + SO2.irrep(3),
    "O2": O2.trivial() + O2.irrep(0, pseudo=True) + O2.vector(2) + O2.irrep(2),
    "O": CUBE.irrep(2)
    + CUBE.trivial()
    + CUBE.vector(2)
    + CUBE.quotient(pdo.cyclic(4, dim=3))
    + CUBE.irrep(4)
    + CUBE.irrep(1, 2),
    "line": LINE.irrep(1, 2) + LINE.regular(2) + LINE.trivial(),
}
SIDES = {1: (9,), 2: (7, 10), 3: (3, 4, 2)}
SMALLER = {"C4": pdo.cyclic(2), "C8": C4, "D4": pdo.dihedral(2), "D8 quotient": C8, "D8": D4, "SO2": C8, "O2": D8}
SMALLER |= {"O": pdo.tetrahedral(), "line": pdo.cyclic(1, dim=1)}


def random_values(layer):
    """Random parameters and statistics, so that each field has its own."""
    for name, values in (*layer.named_parameters(), *layer.named_buffers()):
        if values.is_floating_point():
            with torch.no_grad():
                values.uniform_(0.5, 1.5) if name == "running_var" else values.normal_()
    return layer


def norm_in(mode):
    return lambda field: random_values(pdo.nn.BatchNorm(field)).train(mode == "train")


def gated(field):
    return pdo.GatedActivation(field)


LAYERS = {
    "BatchNorm, train": norm_in("train"),
    "BatchNorm, eval": norm_in("eval"),
    "FieldDropout": lambda field: pdo.FieldDropout(field, 0.4),
    "GroupPool, max": pdo.GroupPool,
    "GroupPool, mean": lambda field: pdo.GroupPool(field, "mean"),
    "NormPool": pdo.NormPool,
    "relu": lambda field: random_values(pdo.NormActivation(field)),
    "sigmoid": lambda field: random_values(pdo.NormActivation(field, "sigmoid")),
    "squash": lambda field: pdo.NormActivation(field, "squash"),
    "gated": gated,
}
"""Of each pixel alone."""
WINDOWS = {"MaxPool": lambda field: pdo.nn.MaxPool(field, 3, stride=1, padding=1)}


def compare(layer, x, moved, act_out):
    """How far `layer(act x)` is from `act layer(x)`, each side with the same draws of random numbers."""
    found = []
    for value in (x, moved):
        torch.manual_seed(1)
        found.append(layer(value))
    return relative(found[1], act_out(found[0]))


def maps(field, shape=None):
    """Random maps whose channels differ in mean and scale."""
    x = torch.randn(4, field.channels, *(shape or SIDES[field.group.dim]))
    spread = torch.linspace(0.5, 2, field.channels).view(-1, *[1] * field.group.dim)
    return x * spread + spread


def violation(layer, dtype=torch.float64, shape=None):
    """The law, on the lattice elements of the group of the output."""
    layer = layer.to(dtype)
    into, out = layer.in_type, layer.out_type
    x = maps(into, shape).to(dtype)
    return max(
        compare(
            layer,
            x,
            into.transform(x, into.group.index(out.group.matrices[g])),
            lambda y, g=g: out.transform(y, g),
        )
        for g in out.group.lattice_elements
    )


def motions(group):
    """All elements; of a continuous group some at any angle."""
    if not group.continuous:
        return list(group.matrices)
    turns = [rotation(t) for t in (0.3, 1.0, 2.5, 4.0)]
    return turns + [turn @ np.diag([1.0, -1.0]) for turn in turns if group == O2]


def violation_at_a_pixel(layer, dtype=torch.float64):
    """The law for every element, where nothing need be interpolated: the channels mix, the pixels stay."""
    layer = layer.to(dtype)
    into, out = layer.in_type, layer.out_type
    x = maps(into).to(dtype)
    return max(
        compare(layer, x, into.mix(x, matrix), lambda y, matrix=matrix: out.mix(y, matrix))
        for matrix in motions(out.group)
    )


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("layer", LAYERS | WINDOWS)
def test_law(layer, name):
    made = (LAYERS | WINDOWS)[layer](FIELDS[name])
    assert violation(made) < 1e-12
    assert violation(made, torch.float32) < 1e-5


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("layer", LAYERS | WINDOWS)
def test_channels_under_every_element(layer, name):
    made = (LAYERS | WINDOWS)[layer](FIELDS[name])
    assert violation_at_a_pixel(made) < 1e-12


@pytest.mark.parametrize("name", FIELDS)
def test_restrict(name):
    layer = pdo.Restrict(FIELDS[name], SMALLER[name])
    assert layer.out_type.group == SMALLER[name]
    assert layer.out_type.channels == FIELDS[name].channels
    assert violation(layer) < 1e-12
    assert violation(layer, torch.float32) < 1e-5
    assert violation_at_a_pixel(layer) < 1e-12
    x = torch.randn(1, FIELDS[name].channels, *SIDES[FIELDS[name].group.dim])
    assert torch.equal(layer(x).sort(1).values, x.sort(1).values)  # nothing is lost, nothing computed


def test_restrict_makes_usual_fields():
    assert pdo.Restrict(D8.regular(2) + D8.irrep(3), C8).out_type == C8.regular(4) + C8.irrep(3)
    assert pdo.Restrict(SO2.irrep(3, 2) + SO2.trivial(), C8).out_type == C8.irrep(3, 2) + C8.trivial()
    assert pdo.Restrict(C8.irrep(2), C4).out_type == C4.irrep(2, 2)  # R(pi) = -1: two fields that change sign
    assert pdo.Restrict(D8.irrep(0, pseudo=True), C8).out_type == C8.trivial()
    with pytest.raises(ValueError, match="expected a subgroup of C8"):
        pdo.Restrict(C8.regular(1), D4)


def test_wrong_restrictions_are_rejected():
    """Negative controls: channels left in the order of the larger group; put in another order."""
    right = pdo.Restrict(C8.regular(2), C4)
    wrong = typed(nn.Identity(), right.in_type, right.out_type)
    assert violation(wrong) > 0.1
    right._order.reverse()
    assert violation(right) > 0.1


HEADS = ["C4", "C8", "D4", "D8", "SO2", "O2", "O", "line"]


@pytest.mark.parametrize("name", HEADS)
def test_vectors(name):
    layer = random_values(pdo.VectorOutput(FIELDS[name], 3))
    assert layer.out_type == FIELDS[name].group.vector(3)
    assert violation(layer) < 1e-12
    assert violation(layer, torch.float32) < 1e-5
    assert violation_at_a_pixel(layer) < 1e-12


@pytest.mark.parametrize("name", HEADS)
def test_vectors_of_pooled_features(name):
    field = FIELDS[name]
    layer = random_values(pdo.VectorOutput(field, 2)).double()
    x = torch.randn(3, field.channels, dtype=torch.float64)
    for matrix in motions(field.group):
        assert relative(layer(field.mix(x, matrix)), layer.out_type.mix(layer(x), matrix)) < 1e-12
    maps = torch.randn(3, field.channels, *SIDES[field.group.dim], dtype=torch.float64)
    space = tuple(range(2, maps.dim()))
    assert relative(layer(maps.mean(space)), layer(maps).mean(space)) < 1e-12


def test_vectors_point_where_they_should():
    """The identity is among the maps from vectors, and a vector that points up is (0, 1)."""
    layer = pdo.VectorOutput(SO2.irrep(1), 1).double()
    x = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight.view(-1)[0] = 1.0
    scale = float(layer(x).detach().norm())
    assert relative(layer(x), scale * x) < 1e-12
    assert pdo.VectorOutput(C8.regular(4)).bias is None  # no vector stays where it is
    with pytest.raises(ValueError, match="no map from C8: 2 trivial"):
        pdo.VectorOutput(C8.trivial(2))
    with pytest.raises(ValueError, match=r"expected \(batch, 32\)"):
        pdo.VectorOutput(C8.regular(4))(torch.zeros(2, 31))


# negative controls


def typed(module, in_type, out_type=None):
    module.in_type, module.out_type = in_type, in_type if out_type is None else out_type
    return module


class Made(nn.Module):
    """A layer from a function, to be caught."""

    def __init__(self, function, in_type, out_type=None):
        super().__init__()
        self.function = function
        typed(self, in_type, out_type)

    def forward(self, x):
        return self.function(x)


def mean_of_field_removed(x):
    part = x.unflatten(1, (-1, 2))
    return (part - part.mean((0, 2, 3, 4), keepdim=True)).flatten(1, 2)


def gate_from_a_vector(x):
    """The gates come behind the fields: what is taken for a gate is a component of a vector."""
    return torch.cat([x[:, i : i + 1].sigmoid() * x[:, 2 + 2 * i : 4 + 2 * i] for i in range(2)], 1)


def gate_across_fields(x):
    """One gate multiplies the second channel of a field and the first of the next."""
    gates = x[:, :3].sigmoid().repeat_interleave(2, 1)[:, 1:5]
    return x[:, 2:] * gates


def wrong_sign(layer):
    forward = layer.forward
    layer.forward = lambda x: forward(x) * torch.tensor([1, -1, 1, -1], dtype=x.dtype).view(-1, *[1] * (x.dim() - 2))
    return layer


PAIRS = C8.vector(2)
WRONG = {
    "ReLU of irreps": lambda: typed(nn.ReLU(), FIELDS["SO2"]),
    "tanh of irreps": lambda: typed(nn.Tanh(), C8.irrep(1, 2)),
    "norm of channels": lambda: Made(lambda x: (x.abs() - 1.5).relu() * x.sign(), PAIRS),
    "bias a channel": lambda: Made(lambda x: x + torch.arange(4, dtype=x.dtype)[:, None, None], PAIRS),
    "max of channels": lambda: typed(nn.MaxPool2d(3, 1, 1), PAIRS),
    "largest channel": lambda: Made(lambda x: x.unflatten(1, (2, 2)).amax(2), PAIRS, C8.trivial(2)),
    "mean of channels": lambda: Made(lambda x: x.unflatten(1, (2, 2)).mean(2), PAIRS, C8.trivial(2)),
    "BatchNorm by channel, train": lambda: typed(random_values(nn.BatchNorm2d(4)), PAIRS),
    "BatchNorm by channel, eval": lambda: typed(random_values(nn.BatchNorm2d(4)).eval(), PAIRS),
    "BatchNorm by channel of quotient fields": lambda: typed(random_values(nn.BatchNorm2d(16)), FIELDS["D8 quotient"]),
    "mean removed": lambda: Made(lambda x: mean_of_field_removed(x), PAIRS),
    "dropout by channel": lambda: typed(nn.Dropout2d(0.4), PAIRS),
    "gate from a vector": lambda: Made(gate_from_a_vector, C8.vector(2) + C8.trivial(2), C8.vector(2)),
    "gate across fields": lambda: Made(gate_across_fields, C8.trivial(2) + PAIRS, PAIRS),
    "y down": lambda: wrong_sign(random_values(pdo.VectorOutput(FIELDS["C8"], 2))),
    "y down, of all rotations": lambda: wrong_sign(random_values(pdo.VectorOutput(SO2.irrep(1, 2), 2))),
}


@pytest.mark.parametrize("fault", WRONG)
def test_negative_controls(fault):
    assert max(violation(WRONG[fault]()), violation_at_a_pixel(WRONG[fault]())) > 0.1


def test_controls_see_the_right_layers_pass():
    """The same fields, the right layers: the controls fail for the fault alone."""
    for make in (*LAYERS.values(), *WINDOWS.values()):
        assert violation(make(PAIRS)) < 1e-12
        assert violation_at_a_pixel(make(PAIRS)) < 1e-12


# what the layers compute


def test_gates_belong_to_their_fields():
    """Gates in the order of the fields that need one; permuted fields go through a ReLU."""
    out = C4.irrep(1) + C4.trivial() + C4.irrep(2, 2) + C4.regular(1) + C4.vector()
    layer = pdo.GatedActivation(out)
    assert layer.in_type == C4.trivial(4) + out
    x = torch.randn(2, layer.in_type.channels, 3, 3)
    g, v = x[:, :4].sigmoid(), x[:, 4:]
    expected = [g[:, :1] * v[:, :2], v[:, 2:3].relu(), g[:, 1:3] * v[:, 3:5], v[:, 5:9].relu(), g[:, 3:] * v[:, 9:]]
    assert torch.allclose(layer(x), torch.cat(expected, 1))
    permuted = pdo.GatedActivation(C4.regular(2))
    assert permuted.in_type == C4.regular(2)
    assert torch.equal(permuted(v[:, :8]), v[:, :8].relu())


@pytest.mark.parametrize("function", ["relu", "sigmoid", "squash"])
def test_norm_activation_formula(function):
    layer = random_values(pdo.NormActivation(PAIRS, function, eps=1e-12)).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    v = x.unflatten(1, (2, 2))
    size = v.square().sum(2, keepdim=True).sqrt()
    if function == "squash":
        expected = v * size / (1 + size**2)
    else:
        shifted = size + layer.bias.view(2, 1, 1, 1)
        expected = v / size * shifted.relu() if function == "relu" else v * shifted.sigmoid()
    assert relative(layer(x), expected.flatten(1, 2)) < 1e-9
    assert (layer.bias is None) == (function == "squash")
    with pytest.raises(ValueError, match="function must be one of"):
        pdo.NormActivation(PAIRS, "tanh")
    with pytest.raises(ValueError, match="eps must be positive"):
        pdo.NormActivation(PAIRS, eps=0.0)


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1, torch.float64), (1e-9, torch.float64), (1e-6, torch.float32), (1e-4, torch.float16)]
)
def test_max_pool_takes_the_longest(scale, dtype):
    """Also of vectors that are small beside what keeps roots differentiable; and the gradient goes to that place."""
    layer = pdo.MaxPool2d(C4.trivial() + C4.vector(), 2)
    x = torch.zeros(1, 3, 2, 2, dtype=dtype)
    x[0, :, 0] = torch.tensor([[1.0, 2.0], [-3.0, 0.0], [0.0, 4.0]], dtype=dtype)
    x[0, :, 1] = torch.tensor([[-5.0, 0.0], [0.0, -5.0], [3.0, -1.0]], dtype=dtype)
    x = (x * scale).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert torch.equal(y.flatten(), torch.stack([x[0, 0, 0, 1], x[0, 1, 1, 1], x[0, 2, 1, 1]]))
    assert x.grad.flatten(2).tolist() == [[[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_max_pool_in_half_precision(dtype):
    """Many lengths tie when they are rounded; vectors themselves only change places and signs."""
    assert violation(pdo.MaxPool2d(C4.vector(3), 3, stride=1, padding=1), dtype, (20, 21)) == 0


def test_max_pool_keeps_the_grid_rule():
    field = C4.vector(2)
    assert violation(pdo.MaxPool2d(field, 2), shape=(6, 8)) < 1e-12
    assert violation(pdo.MaxPool2d(field, 3, stride=2, padding=1), shape=(7, 9)) < 1e-12
    with pytest.warns(UserWarning, match="breaks the exact symmetry"):
        assert violation(pdo.MaxPool2d(field, 2), shape=(7, 8)) > 0.1


def test_field_dropout_of_mixed_fields():
    field = C8.trivial(10) + C8.irrep(1, 20) + C8.regular(10)
    layer = pdo.FieldDropout(field, 0.3)
    y = layer(torch.ones(200, field.channels, 2, 2))
    kept = []
    for _, _, part in blocks(y, field):
        assert torch.equal(part, part[:, :, :1, :1, :1].expand_as(part))
        kept.append(part[:, :, 0, 0, 0] != 0)
        assert torch.allclose(part[part != 0], torch.tensor(1 / 0.7))
        assert abs(float(kept[-1].float().mean()) - 0.7) < 0.04
    assert abs(float(y.mean()) - 1) < 0.04
    together = torch.cat(kept, 1).double()  # neighbours are dropped independently
    centred = together - together.mean(0)
    between = centred.T @ centred / len(centred)
    assert float((between - between.diag().diag()).abs().max()) < 0.1
    assert layer.eval()(y) is y


# statistics


def expected_norm(layer, x):
    """By hand, in float64, block by block; torch's own BatchNorm for permuted fields."""
    parts, means, variances, biases, start = [], [], [], 0, 0
    for kind, fields, part in blocks(x.double(), layer.in_type):
        weight = layer.weight[start : start + fields].double()
        axes = (0, *range(2, part.dim()))
        if kind.permutes:
            bias = layer.bias[biases : biases + fields].double()
            biases += fields
            moved = part.transpose(1, 2).flatten(0, 1)  # the channels of a field are more of the batch
            y = F.batch_norm(moved, None, None, weight, bias, True, 0.0, layer.eps)
            parts.append(y.unflatten(0, (-1, kind.dim)).transpose(1, 2).flatten(1, 2))
            means.append(part.mean(axes))
            variances.append(part.var(axes))
        else:
            square = part.square().mean(axes)
            factor = (weight / (square + layer.eps).sqrt()).view(1, -1, *[1] * (part.dim() - 2))
            parts.append((part * factor).flatten(1, 2))
            variances.append(square)
        start += fields
    return torch.cat(parts, 1), torch.cat([x.new_zeros(0), *means]), torch.cat(variances)


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
@pytest.mark.parametrize("name", FIELDS)
def test_batch_norm_by_hand(name, momentum):
    layer = random_values(pdo.nn.BatchNorm(FIELDS[name], momentum=momentum, eps=1e-3))
    mean, var = layer.running_mean.double(), layer.running_var.double()
    for step in (1, 2, 3):
        x = maps(FIELDS[name]) * step
        expected, now_mean, now_var = expected_norm(layer, x)
        assert relative(layer(x), expected) < 1e-5
        share = 1 / step if momentum is None else momentum
        mean, var = mean.lerp(now_mean, share), var.lerp(now_var, share)
    assert relative(layer.running_mean, mean) < 1e-5
    assert relative(layer.running_var, var) < 1e-5
    assert int(layer.num_batches_tracked) == 3
    x = maps(FIELDS[name])
    shape = (1, -1, *[1] * (x.dim() - 2))
    permuted = torch.tensor([kind.permutes for kind, n in layer.in_type.blocks for _ in range(n)])
    zero = torch.zeros(layer.in_type.fields)
    mean, bias = (zero.masked_scatter(permuted, t.detach().float()) for t in (mean, layer.bias))
    m, v, w, b = (by_channel(t.float(), layer.in_type, 0).view(shape) for t in (mean, var, layer.weight.detach(), bias))
    assert relative(layer.eval()(x), (x - m) / (v + 1e-3).sqrt() * w + b) < 1e-5


def test_batch_norm_of_each_block_alone():
    """A mixed type is normalised as its blocks are alone, gradients too."""
    field = C8.regular(2) + C8.irrep(1, 2) + C8.quotient(pdo.cyclic(2)) + C8.trivial(3)
    whole = random_values(pdo.BatchNorm2d(field)).double()
    x = maps(field).double().requires_grad_()
    cotangent = torch.randn_like(x)
    y = whole(x)
    y.backward(cotangent)
    channel = start = shift = 0
    for kind, fields in field.blocks:
        here, channels = slice(start, start + fields), slice(channel, channel + fields * kind.dim)
        alone = pdo.BatchNorm2d(pdo.FieldType(C8, ((kind, fields),))).double()
        part = x.detach()[:, channels].requires_grad_()
        with torch.no_grad():
            alone.weight.copy_(whole.weight[here])
            if kind.permutes:
                alone.bias.copy_(whole.bias[shift : shift + fields])
        z = alone(part)
        z.backward(cotangent[:, channels])
        assert relative(y[:, channels], z) < 1e-12
        assert relative(x.grad[:, channels], part.grad) < 1e-10
        assert relative(whole.weight.grad[here], alone.weight.grad) < 1e-12
        if kind.permutes:
            assert relative(whole.bias.grad[shift : shift + fields], alone.bias.grad) < 1e-12
            shift += fields
        else:
            assert alone.bias is None
        start, channel = start + fields, channel + fields * kind.dim
    assert shift == len(whole.bias)


def test_batch_norm_makes_unit_mean_squares():
    field = SO2.irrep(1, 3) + SO2.irrep(2, 2)
    layer = pdo.BatchNorm2d(field, affine=False)
    y = layer(maps(field) * 50)
    squares = y.unflatten(1, (5, 2)).square().mean((0, 2, 3, 4))
    assert torch.allclose(squares, torch.ones(5), atol=1e-5)
    assert layer.running_mean.shape == (0,)  # there is no mean that the group leaves alone
    assert y.mean((0, 2, 3)).abs().min() > 0.1  # means of vectors stay


def test_batch_norm_without_parameters_or_statistics():
    field, x = FIELDS["C8"], maps(FIELDS["C8"])
    full = pdo.BatchNorm2d(field)
    plain = pdo.BatchNorm2d(field, affine=False)
    assert (plain.weight, plain.bias, list(plain.parameters())) == (None, None, [])
    assert relative(plain(x), full(x)) < 1e-6
    assert relative(plain.eval()(x), full.eval()(x)) < 1e-6
    fresh = pdo.BatchNorm2d(field, track_running_stats=False)
    assert (fresh.running_mean, fresh.running_var, list(fresh.buffers())) == (None, None, [])
    assert relative(fresh(x), full.train()(x)) < 1e-6
    assert torch.equal(fresh.eval()(x), fresh.train()(x))  # always the batch's own
    assert pdo.BatchNorm2d(SO2.irrep(1, 2)).bias is None
    assert len(full.bias) == 2
    assert len(full.weight) == len(full.running_var) == field.fields


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_norm_in_half_precision(mode, dtype):
    """A mean that is large beside the deviation costs the rounding of the input, and none of mean or scale."""
    field = C8.trivial(2) + C8.irrep(1, 2)
    layer = pdo.BatchNorm2d(field).to(dtype).train(mode == "train")
    x = torch.randn(4, 6, 9, 9)
    x[:, :2] += 20
    x = x.to(dtype)
    if mode == "eval":
        layer.running_mean[:2] = 20.125
    exact = pdo.BatchNorm2d(field).double().train(mode == "train")
    exact.load_state_dict(layer.state_dict())
    y = layer(x)
    assert y.dtype == dtype
    error = (y.double() - exact(x.double())).detach().abs()
    assert float(error.max()) < 4 * torch.finfo(dtype).eps
    with torch.autocast("cpu", dtype):
        assert relative(pdo.BatchNorm2d(field)(x), pdo.BatchNorm2d(field)(x.double().float())) < torch.finfo(dtype).eps


# finite numbers

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
MIXED = C8.irrep(1, 2) + C8.trivial(2) + C8.regular(1)


def biased(function, value):
    def make(field):
        layer = pdo.NormActivation(field, function)
        nn.init.constant_(layer.bias, value)
        return layer

    return make


FINITE = {
    **LAYERS,
    **WINDOWS,
    "squash": LAYERS["squash"],
    **{f"{name}, {b}": biased(name, b) for name in ("relu", "sigmoid") for b in (-0.5, 0.0, 2.0)},
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layer", FINITE)
def test_zeros_and_small_values_are_finite(layer, dtype):
    made = FINITE[layer](MIXED).to(dtype)
    if isinstance(made, pdo.nn.BatchNorm):
        made.running_var.zero_()
        made.running_mean.zero_()
    for scale in (0.0, 1e-7, 1e-4, 1e-2):
        x = torch.randn(2, made.in_type.channels, 5, 6) * scale
        x[0] = 0
        x = x.to(dtype).requires_grad_()
        made.zero_grad()
        y = made(x)
        y.sum().backward()
        assert y.isfinite().all()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in made.parameters())
        if made.out_type == made.in_type and not isinstance(made, pdo.nn.BatchNorm):
            assert not y[0].any()  # zero stays zero


@pytest.mark.parametrize("layer", ["NormPool", "GroupPool, max", "MaxPool", *(n for n in FINITE if "," in n), "squash"])
def test_large_values_in_float16(layer):
    """Squares beyond the largest number (65504), norms below it."""
    if "BatchNorm" in layer:
        layer = "BatchNorm, train"
    made = FINITE[layer](MIXED)
    x = torch.randn(2, made.in_type.channels, 5, 6).clamp(-1, 1).mul(2e4).half().requires_grad_()
    exact = made.double()(x.detach().double())
    y = made.half()(x)
    (y / 1e4).sum().backward()
    assert relative(y, exact) < 3e-3
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", ["relu", "sigmoid", "squash", "NormPool", "gated", "BatchNorm, train", "MaxPool"])
def test_gradients(name):
    made = FINITE[name](C4.irrep(1) + C4.trivial()).double()
    x = torch.randn(2, made.in_type.channels, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, (x,))
    if name.startswith("BatchNorm"):
        assert torch.autograd.gradgradcheck(made, (x,))


# refusals


@pytest.mark.parametrize("name", ["SO2", "O2", "C8", "D8", "O"])
def test_pointwise_functions_are_refused(name):
    field = FIELDS[name]
    channels_and_kind = "does not permute the channels of .* fields but mixes them, so a function of single channels"
    for function in (nn.ReLU(), nn.Tanh(), nn.ELU(), nn.PReLU(), torch.tanh):
        with pytest.raises(ValueError, match=f"PointwiseActivation: {channels_and_kind}".replace(": ", ": .*")):
            pdo.PointwiseActivation(field, function)
    for module in (nn.ReLU(), nn.Tanh(), nn.PReLU(), getattr(nn, f"MaxPool{field.group.dim}d")(2)):
        with pytest.raises(ValueError, match=rf"module 1 \({type(module).__name__}\).*use NormActivation"):
            pdo.Sequential(pdo.FieldDropout(field), module)


def test_pointwise_functions_where_they_are_right():
    signs = D4.irrep(0, 2, pseudo=True) + D4.irrep(2) + D4.trivial() + D4.irrep(1)
    for function in (nn.Tanh(), nn.Softsign(), nn.Tanhshrink(), nn.Hardshrink(), nn.Softshrink()):
        layer = pdo.PointwiseActivation(signs, function)
        assert violation(layer) < 1e-12
        assert violation_at_a_pixel(layer) < 1e-12
        assert pdo.Sequential(pdo.FieldDropout(signs), function).out_type == signs
    with pytest.raises(ValueError, match=r"irrep\(0, pseudo\)"):
        pdo.PointwiseActivation(signs, nn.ReLU())
    assert violation(typed(nn.ReLU(), signs)) > 0.1  # the negative control
    for field in (C8.regular(1) + C8.trivial(2), FIELDS["D8 quotient"]):
        for function in (nn.ReLU(), nn.GELU(), nn.PReLU(), torch.relu):
            assert violation(pdo.PointwiseActivation(field, function)) < 1e-12


def test_a_slope_for_each_channel_is_refused():
    """`nn.PReLU(n)` is pointwise, but not the same function for the channels that the group permutes."""
    field = C4.regular(2)
    slopes = nn.PReLU(8)
    nn.init.uniform_(slopes.weight)
    assert violation(typed(copy.deepcopy(slopes), field)) > 0.1
    with pytest.raises(ValueError, match=r"PReLU.*one slope"):
        pdo.PointwiseActivation(field, slopes)
    with pytest.raises(ValueError, match=r"module 1 \(PReLU\).*one slope"):
        pdo.Sequential(pdo.FieldDropout(field), slopes)
    assert violation(pdo.PointwiseActivation(C4.trivial(8), slopes)) < 1e-12
    assert pdo.Sequential(pdo.FieldDropout(field), nn.PReLU()).out_type == field


@pytest.mark.parametrize("make", [*LAYERS.values(), *WINDOWS.values()])
def test_inputs_are_checked(make):
    layer = make(PAIRS)
    channels = layer.in_type.channels
    with pytest.raises(ValueError, match=rf"expected \(batch, {channels}, height, width\)"):
        layer(torch.zeros(1, channels + 1, 4, 4))


def test_angles_of_a_continuous_group():
    """One rotation by any angle, not of the table: pooled features and vectors turn by it."""
    angle = 2 * math.pi * 0.123456
    net = pdo.Sequential(
        random_values(pdo.NormActivation(FIELDS["SO2"])), random_values(pdo.VectorOutput(FIELDS["SO2"], 2))
    ).double()
    x = torch.randn(2, FIELDS["SO2"].channels, 1, 1, dtype=torch.float64)
    turned = net(net.in_type.mix(x, rotation(angle)))
    assert relative(turned, net.out_type.mix(net(x), rotation(angle))) < 1e-12
    assert relative(turned, net.out_type.mix(net(x), rotation(-angle))) > 0.1


def test_empty_and_single_batches():
    """An empty batch leaves the statistics alone; one value a field has no variance."""
    layer = pdo.BatchNorm2d(D4.trivial() + D4.irrep(1))
    layer(torch.randn(4, 3, 5, 5))
    before = copy.deepcopy(layer.state_dict())
    layer(torch.zeros(0, 3, 5, 5))
    assert all(torch.equal(layer.state_dict()[k], before[k]) for k in ("running_mean", "running_var"))
    with pytest.raises(ValueError, match="more than one value"):
        layer(torch.zeros(1, 3, 1, 1))


def test_sequential_looks_into_plain_containers():
    conv = pdo.PDOConv2d(C8.trivial(1), C8.irrep(1, 4), padding=2)
    for part in (nn.Sequential(nn.Dropout(), nn.ReLU()), nn.Softmax2d(), nn.MaxPool2d(2)):
        with pytest.raises(ValueError, match="breaks the symmetry"):
            pdo.Sequential(conv, part)
    inner = nn.Sequential(pdo.NormPool(C8.irrep(1, 4)), nn.ReLU())  # types of its own
    assert pdo.Sequential(conv, inner).out_type is None


def test_pointwise_functions_that_are_no_modules():
    net = pdo.Sequential(
        pdo.PDOConv2d(C8.trivial(1), C8.regular(1)),
        pdo.BatchNorm2d(C8.regular(1)),
        pdo.PointwiseActivation(C8.regular(1), torch.relu),
    ).eval()
    plain, x = pdo.export(net), torch.randn(1, 1, 8, 8)
    assert not any(hasattr(part, "in_type") for part in plain.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in plain.modules())
    assert relative(plain(x), net(x)) < 1e-5
    for bad in (nn.ReLU, "relu"):
        with pytest.raises(ValueError, match="expected a function"):
            pdo.PointwiseActivation(C8.regular(1), bad)


def test_pooled_vectors_are_measured_as_vectors():
    """A network that says vectors is compared after turning them, without being told."""
    hidden = C4.regular(4)
    net = pdo.Sequential(
        pdo.PDOConv2d(C4.trivial(1), hidden, padding=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        pdo.VectorOutput(hidden),
    ).double()
    assert pdo.equivariance_error(net) < 1e-12
    assert pdo.equivariance_error(net, out_type=C4.trivial(2)) > 0.1
