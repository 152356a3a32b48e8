"""Layers on the line and in space: the same laws, references and exports as on the plane."""

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import relative
from torch import nn

import pdoconv as pdo
from pdoconv.export import to_onnx
from pdoconv.filters import default, pointwise
from pdoconv.operators import monomials, up_to
from pdoconv.stencils import finite_difference


def signed_permutations():
    """The 48 symmetries of the cube, identity first."""
    orders = itertools.permutations(range(3))
    found = [np.eye(3)[list(p)] * s for p in orders for s in itertools.product((1.0, -1.0), repeat=3)]
    return np.stack(sorted(found, key=lambda m: bool((m != np.eye(3)).any())))


CUBE = signed_permutations()
LINE = pdo.Group("reflection", [[[1.0]], [[-1.0]]])
TURNS = pdo.Group("turns of the cube", CUBE[np.linalg.det(CUBE) > 0])
FULL = pdo.Group("cube", CUBE)
KINDS = list(itertools.product(("trivial", "regular"), repeat=2))
MODES = ("zeros", "reflect", "replicate", "circular")


def named(name, dim):
    return getattr(pdo, f"{name}{dim}d")


def conv(group, kinds, **options):
    in_type, out_type = getattr(group, kinds[0])(1 if group.dim == 3 else 2), getattr(group, kinds[1])(1)
    layer = named("PDOConv", group.dim)(in_type, out_type, dtype=torch.float64, **options)
    nn.init.normal_(layer.bias)
    return layer


def norm(group, training):
    layer = named("BatchNorm", group.dim)(group.regular(1), dtype=torch.float64)
    for values in (layer.weight.data, layer.bias.data, layer.running_mean):
        values.normal_()
    return layer.train(training)


OTHERS = {
    "dilated": lambda group: conv(group, ("regular", "regular"), padding=4, dilation=2),
    "1x1": lambda group: named("GroupConv", group.dim)(
        group.regular(1), group.regular(1), filters=pointwise(), dtype=torch.float64
    ),
    "BatchNorm, train": lambda group: norm(group, True),
    "BatchNorm, eval": lambda group: norm(group, False),
    "GroupPool, max": lambda group: pdo.GroupPool(group.regular(1)),
    "GroupPool, mean": lambda group: pdo.GroupPool(group.regular(1), "mean"),
    "MaxPool": lambda group: named("MaxPool", group.dim)(group.regular(1), 3, stride=1, padding=1),
    "AvgPool": lambda group: named("AvgPool", group.dim)(group.regular(1), 3, stride=1, padding=1),
    "BlurPool": lambda group: named("BlurPool", group.dim)(group.regular(1), 1),
}
STRIDED = {
    "stride 2": (lambda group: conv(group, ("regular", "regular"), stride=2, padding=2), 7),
    "MaxPool 2": (lambda group: named("MaxPool", group.dim)(group.regular(1), 2), 6),
    "AvgPool 3, 2": (lambda group: named("AvgPool", group.dim)(group.regular(1), 3, stride=2), 7),
    "BlurPool 2": (lambda group: named("BlurPool", group.dim)(group.regular(1)), 7),
}


def violation(layer, side):
    """Worst relative violation of the law over all elements, which share one batch."""
    in_type, out_type, group = layer.in_type, layer.out_type, layer.in_type.group
    x = torch.randn(1, in_type.channels, *(side,) * group.dim, dtype=torch.float64)
    with torch.no_grad():
        y = layer(x)
        moved = layer(torch.cat([in_type.transform(x, g) for g in group.lattice_elements]))
        return relative(moved, torch.cat([out_type.transform(y, g) for g in group.lattice_elements]))


@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_convolutions_are_exact(group, kinds, mode, side):
    assert violation(conv(group, kinds, padding=2, padding_mode=mode).eval(), side) < 1e-12


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_convolutions_are_exact_for_reflections_in_space(kinds):
    assert len(FULL.lattice_elements) == 48
    assert violation(conv(FULL, kinds).eval(), 5) < 1e-12


@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("layer", OTHERS)
@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_other_layers_are_exact(group, layer, side):
    assert violation(OTHERS[layer](group), side) < 1e-12


@pytest.mark.parametrize("layer", STRIDED)
@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_grid_rule(group, layer):
    """Exact on sides that obey it; on others not, and the layer says so."""
    make, side = STRIDED[layer]
    assert violation(make(group).eval(), side) < 1e-12
    with pytest.warns(UserWarning, match=rf"side {side + 1} .* Sides {side}, {side + 2} and others"):
        assert violation(make(group).eval(), side + 1) > 0.1


@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
@pytest.mark.parametrize("fault", ["weight index", "filters"])
def test_wrong_layers_are_caught(group, fault):
    """Negative control: weights looked up by h instead of g^-1 h; filters that do not turn."""
    layer = conv(group, ("regular", "regular"), padding=2, method="dense")
    n = group.order
    if fault == "weight index":
        g, h = np.indices((n, n))
        layer.relative = torch.as_tensor((h * n + g).ravel())
    else:
        layer.basis = layer.basis[:1].expand_as(layer.basis)
    assert violation(layer, 5) > 0.01


LINES = {0: (0, 0, 1, 0, 0), 1: (0, -0.5, 0, 0.5, 0), 2: (0, 1, -2, 1, 0)}  # weights at -2..2


def moved_filter(exponents, matrix, offset):
    """F(A^-1 p) at the offset p in coordinates: a product of lines, read at the offset turned back."""
    back = np.rint(matrix.T @ offset).astype(int)
    return math.prod(LINES[n][x + 2] for n, x in zip(exponents, back, strict=True))


@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_scalar_kernel_against_loops(group):
    """Between trivial fields: Gram-Schmidt of the filters' averages over the group, what is nothing left out."""
    dim, operators = group.dim, monomials(group.dim, 2)
    filters = pdo.filters.pdo(up_to(2, dim), finite_difference())
    layer = conv(group, ("trivial", "trivial"), kernel_size=3, filters=filters)
    offsets = list(itertools.product((-1, 0, 1), repeat=dim))
    found = []
    for e in operators:
        average = np.array([sum(moved_filter(e, m, o) for m in group.matrices) / group.order for o in offsets])
        for other in found:
            average = average - (average @ other) * other
        if np.abs(average).max() > 1e-9:
            found.append(average / np.linalg.norm(average))
    assert layer.weight.shape[3] == len(found)
    kernel, weight = layer.kernel().detach().numpy(), layer.weight.detach().numpy()
    for n, o in enumerate(offsets):
        x, y, z = (*o, 0, 0)[:3]
        place = {1: (1 + x,), 2: (1 - y, 1 + x), 3: (1 + z, 1 - y, 1 + x)}[dim]
        expected = weight[:, :, 0] @ np.array(found)[:, n]
        assert np.abs(kernel[(slice(None), slice(None), *place)] - expected).max() < 1e-12


@pytest.mark.parametrize("kinds", KINDS[1:], ids="-".join)
@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_kernel_against_loops(group, kinds):
    """The definition, offset by offset, from the matrices and the three lines of weights alone."""
    n, dim = group.order, group.dim
    layer = conv(group, kinds, filters=pdo.filters.pdo(up_to(2, dim), finite_difference(), weights="operators"))
    kernel = layer.kernel().detach().numpy()
    assert kernel.shape == (layer.out_type.channels, layer.in_type.channels) + (5,) * dim
    weight = layer.weight.detach().numpy()
    operators = monomials(dim, 2)
    rng = np.random.default_rng(0)
    for g in range(n) if kinds[1] == "regular" else [0]:
        for h in rng.choice(n, 2) if kinds[0] == "regular" else [0]:
            r = 0
            if kinds == ("regular", "regular"):
                r = group.index(np.linalg.inv(group.matrices[g]) @ group.matrices[h])
            frame = g if kinds[1] == "regular" else h
            for offset in itertools.product(range(-2, 3), repeat=dim):
                if max(map(abs, offset)) == 2 and offset != (2,) * dim:
                    continue  # the filters end before; one corner will do
                x, y, z = (*offset, 0, 0)[:3]
                place = {1: (2 + x,), 2: (2 - y, 2 + x), 3: (2 + z, 2 - y, 2 + x)}[dim]
                for i in range(layer.in_type.fields):
                    expected = sum(
                        weight[0, i, r, b] * moved_filter(e, group.matrices[frame], offset)
                        for b, e in enumerate(operators)
                    )
                    column = i * n + h if kinds[0] == "regular" else i
                    assert abs(kernel[(g, column, *place)] - expected) < 1e-12


@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_geometry_is_that_of_torch(group):
    dim, n = group.dim, group.order
    x = torch.randn(2, n, *(9, 8, 7)[:dim])
    for options in ({"padding": "same", "dilation": 2}, *({"padding": 2, "padding_mode": mode} for mode in MODES)):
        layer = named("PDOConv", dim)(group.regular(1), group.trivial(2), **options)
        nn.init.normal_(layer.bias)
        plain = getattr(nn, f"Conv{dim}d")(n, 2, 5, **options)
        plain.weight.data, plain.bias.data = layer.kernel().detach(), layer.bias.detach()
        assert torch.equal(layer(x), plain(x))
    for name in ("MaxPool", "AvgPool"):
        theirs = getattr(nn, f"{name}{dim}d")(3, 1, 1)
        assert torch.equal(named(name, dim)(group.regular(1), 3, stride=1, padding=1)(x), theirs(x))


@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_batch_norm_against_loops(group):
    fields, n, dim = 3, group.order, group.dim
    layer = named("BatchNorm", dim)(group.regular(fields), eps=1e-3, dtype=torch.float64)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, fields * n, *(4, 3, 5)[:dim], dtype=torch.float64) * 2 + 1
    y = layer(x)
    for f in range(fields):
        part = slice(f * n, (f + 1) * n)
        values = x[:, part].flatten().tolist()
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
        expected = (x[:, part] - mean) / math.sqrt(variance + 1e-3) * layer.weight[f] + layer.bias[f]
        assert relative(y[:, part], expected) < 1e-12
        assert abs(float(layer.running_mean[f]) - 0.1 * mean) < 1e-12
        assert abs(float(layer.running_var[f]) - 0.9 - 0.1 * variance * len(values) / (len(values) - 1)) < 1e-12
    assert sorted(layer.state_dict()) == ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"]


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_refuses_another_dtype(affine):
    layer = pdo.BatchNorm1d(LINE.regular(1), affine=affine)
    with pytest.raises(ValueError, match=r"BatchNorm1d: expected torch.float32 .* received torch.float64: convert"):
        layer(torch.zeros(2, 2, 5, dtype=torch.float64))
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(2, 2, 5, dtype=torch.bfloat16))
    free = pdo.BatchNorm1d(LINE.regular(1), affine=False, track_running_stats=False)
    assert free(torch.randn(2, 2, 5, dtype=torch.float64)).dtype == torch.float64


def test_blur_is_round():
    """The taps depend on the distance alone, and sum to 1."""
    for group in (LINE, TURNS):
        taps = named("BlurPool", group.dim)(group.trivial(1)).taps
        assert taps.shape == (7,) * group.dim
        assert abs(float(taps.sum()) - 1) < 1e-12
        places = (torch.tensor(list(np.ndindex(*taps.shape))) - 3).double()
        assert relative(taps.flatten() / taps.max(), torch.exp(-(places**2).sum(1) / 2)) < 1e-12


def network(group):
    """Every kind of layer, for sides of 9."""
    image, hidden, dim = group.trivial(1), group.regular(2), group.dim
    return pdo.Sequential(
        named("PDOConv", dim)(image, hidden, padding=2, padding_mode="replicate"),
        named("BatchNorm", dim)(hidden),
        nn.ReLU(),
        pdo.FieldDropout(hidden),
        named("MaxPool", dim)(hidden, 3, stride=2),
        named("PDOConv", dim)(hidden, hidden, padding=2),
        nn.ReLU(),
        named("BlurPool", dim)(hidden, 1),
        named("AvgPool", dim)(hidden, 2, stride=1),
        named("PDOConv", dim)(hidden, group.trivial(2), padding=2, stride=2),
        named("BatchNorm", dim)(group.trivial(2)),
    )


def warmed(net, dim):
    for part in net.modules():
        if isinstance(part, pdo.nn.BatchNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    net(torch.randn(2, 1, *(9,) * dim))
    return net.eval()


@pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_export(group):
    dim = group.dim
    net = warmed(network(group), dim)
    plain = pdo.export(net)
    assert not any(type(m).__module__.startswith("pdoconv") for m in plain.modules())
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in plain.modules())
    x = torch.randn(2, 1, *(9,) * dim)
    assert relative(plain(x), net(x)) < 1e-5
    assert relative(pdo.export(net.double())(x.double()), net(x.double())) < 1e-12
    alone = pdo.export(named("BatchNorm", dim)(group.regular(2)).eval())
    assert type(alone) is getattr(nn, f"BatchNorm{dim}d")


@pytest.mark.parametrize("reduction", ["max", "mean"])
@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_export_of_group_pool(group, reduction):
    layer = pdo.GroupPool(group.regular(2), reduction)
    x = torch.randn(2, 2 * group.order, *(3, 4, 5)[: group.dim])
    assert torch.equal(pdo.export(layer)(x), layer(x))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_onnx_file(group, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    dim, hidden = group.dim, group.regular(1)
    net = pdo.Sequential(
        named("PDOConv", dim)(group.trivial(1), hidden, padding=2), named("BatchNorm", dim)(hidden), nn.ReLU(),
        pdo.GroupPool(hidden), named("MaxPool", dim)(group.trivial(1), 3, stride=2),
    )  # fmt: skip
    shape = (1, *(7,) * dim)
    net(torch.randn(2, *shape))
    net.eval()
    to_onnx(net, tmp_path / "net.onnx", (1, *shape))
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    x = torch.randn(3, *shape)
    assert relative(session.run(None, {"x": x.numpy()})[0], net(x)) < 1e-5


@pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
@pytest.mark.parametrize("group", [LINE, TURNS], ids=str)
def test_state_dict_and_autocast(group):
    net, other = warmed(network(group), group.dim), network(group).eval()
    other.load_state_dict(net.state_dict())
    x = torch.randn(1, 1, *(9,) * group.dim)
    y = net(x)
    assert torch.equal(other(x), y)
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(net(x), y) < 0.1
        loss = net.train()(torch.cat([x, -x])).float().square().mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == torch.float32 for p in net.parameters())


def test_gradients_in_low_precision():
    """In bfloat16 torch's conv3d on CPUs gives weight gradients that hold whatever was in memory, now and then."""
    layer = pdo.PDOConv3d(TURNS.regular(2), TURNS.regular(2), padding=2)
    for seed in range(20):
        torch.manual_seed(seed)
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(torch.randn(2, 48, 4, 4, 4))
        assert y.dtype == torch.bfloat16
        for size in (2**10, 2**14, 2**18, 2**20):  # leave something noticeable there
            junk = [torch.full((size,), float("nan")) for _ in range(4)]
            del junk
        y.backward(torch.randn_like(y))
        assert torch.isfinite(layer.weight.grad).all()


@pytest.mark.parametrize(("group", "fields", "side"), [(LINE, 64, 200), (TURNS, 4, 9)], ids=["line", "turns"])
def test_unit_variance(group, fields, side):
    variances = []
    for seed in range(2):
        torch.manual_seed(seed)
        x, hidden = torch.randn(4, 1, *(side,) * group.dim), group.regular(fields)
        with torch.no_grad():
            for depth in range(6):
                x = named("PDOConv", group.dim)(
                    group.trivial(1) if depth == 0 else hidden, hidden, padding=2, padding_mode="circular"
                )(x)
                variances.append(float(x.var()))
                x = x.relu()
    assert 0.5 < min(variances) < max(variances) < 2, variances


def test_the_dimension_of_the_group_decides():
    flat = pdo.cyclic(4).regular(1)
    for name, arguments in (("PDOConv", (flat, flat)), ("BatchNorm", (flat,)), ("MaxPool", (flat, 2))):
        with pytest.raises(ValueError, match=rf"{name}3d: expected a group of dimension 3, .*: use {name}2d"):
            named(name, 3)(*arguments)
    for layer in (pdo.AvgPool1d, pdo.BlurPool1d):
        with pytest.raises(ValueError, match=f"use {layer.__name__[:-2]}3d"):
            layer(TURNS.regular(1), 2)
    with pytest.raises(ValueError, match="use GroupConv1d"):
        pdo.GroupConv2d(LINE.regular(1), LINE.regular(1), filters=pointwise())
    tesseract = pdo.Group("4-D", [np.eye(4)])
    with pytest.raises(ValueError, match="dimension 1, 2 or 3, received"):
        pdo.nn.GroupConv(tesseract.trivial(1), tesseract.trivial(1), filters=pointwise())
    assert pdo.nn.PDOConv(LINE.trivial(1), LINE.regular(1))(torch.zeros(1, 1, 9)).shape == (1, 2, 5)
    with pytest.raises(ValueError, match="depth, height, width"):
        pdo.PDOConv3d(TURNS.trivial(1), TURNS.regular(1))(torch.zeros(1, 1, 9, 9))


def test_default_filters():
    for dim, count in ((1, 5), (2, 13), (3, 10)):
        assert len(default(dim).operators) == count
    with pytest.raises(ValueError, match="angle in the plane"):
        pdo.PDOConv3d(TURNS.trivial(1), TURNS.regular(1), frame_offset=0.1)
