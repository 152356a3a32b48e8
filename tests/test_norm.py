"""BatchNorm in both memory formats: one result, no copies, the format kept."""

import copy

import pytest
import torch
from conftest import relative
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import pdoconv as pdo

LAST = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
GROUPS = {1: pdo.reflection(), 2: pdo.cyclic(4), 3: pdo.octahedral()}
SIDES = {1: (9,), 2: (5, 6), 3: (3, 4, 2)}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
MODES = {
    "train": ({}, True),
    "eval": ({}, False),
    "cumulative": ({"momentum": None}, True),
    "not affine": ({"affine": False}, True),
    "not affine, eval": ({"affine": False}, False),
    "not tracking": ({"track_running_stats": False}, True),
    "not tracking, eval": ({"track_running_stats": False}, False),
}


def norm(dim, options, training, dtype=torch.float32):
    layer = pdo.nn.BatchNorm(GROUPS[dim].regular(3), eps=1e-3, dtype=dtype, **options)
    for values in (layer.weight, layer.bias, layer.running_mean):
        if values is not None:
            nn.init.normal_(values)
    return layer.train(training)


def innermost(x):
    """Lay channels innermost; in two and three dimensions that is channels_last."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def maps(dim, dtype=torch.float32):
    """Random maps whose channels differ in mean and scale, so that statistics by channel and by field differ."""
    x = torch.randn(4, GROUPS[dim].regular(3).channels, *SIDES[dim])
    spread = torch.linspace(0.5, 2, x.shape[1]).view(-1, *[1] * dim)
    return (x * spread + spread).to(dtype)


def twice(layer, x, cotangent):
    """Output, gradients and buffers after two steps, the second on shifted values."""
    layer = copy.deepcopy(layer)
    layer(x + 1)
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(cotangent)
    found = {"y": y, "x": x.grad, **{name: p.grad for name, p in layer.named_parameters()}}
    return found | dict(layer.named_buffers())


def compare(layer, other, x, tolerance):
    """Assert that `other` makes of channels innermost what `layer` makes of contiguous maps, laid out alike."""
    cotangent = torch.randn_like(x)
    expected, found = twice(layer, x, cotangent), twice(other, innermost(x), innermost(cotangent))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value) or relative(found[name], value) < tolerance, name
    for name in ("y", "x"):
        assert found[name].stride() == innermost(x).stride()
        assert expected[name].is_contiguous()
        if x.dim() > 3:
            assert found[name].is_contiguous(memory_format=LAST[x.dim() - 2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_formats_agree(mode, dim, dtype):
    layer = norm(dim, *MODES[mode], dtype)
    compare(layer, layer, maps(dim, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_formats_agree_under_autocast(mode, dim, dtype):
    layer = norm(dim, *MODES[mode])
    with torch.autocast("cpu", dtype):
        compare(layer, layer, maps(dim, dtype), TOLERANCE[dtype])


def test_statistics_by_channel_are_refused():
    """The negative control of the two tests above."""

    class ByChannel(pdo.nn.BatchNorm):
        def forward(self, x):
            size = self.in_type.field_size
            weight, bias = (p.repeat_interleave(size) for p in (self.weight, self.bias))
            y = F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
            super().forward(x.detach())  # buffers as they should be
            return y

    layer = norm(2, {}, True)
    wrong = copy.deepcopy(layer)
    wrong.__class__ = ByChannel
    with pytest.raises(AssertionError, match="y"):
        compare(layer, wrong, maps(2), 0.05)


@pytest.mark.parametrize("training", [True, False])
def test_large_mean(training):
    """The variance does not come from a difference of large squares."""
    layer = norm(2, {"affine": False}, training, torch.float64)
    x = maps(2, torch.float64) + 1000
    narrow = pdo.BatchNorm2d(layer.in_type, eps=1e-3, affine=False).train(training)
    narrow.load_state_dict(layer.state_dict())
    assert relative(narrow(innermost(x.float())), layer(x)) < 1e-3
    assert relative(narrow.running_var, layer.running_var) < 1e-5


def copies(layer, x, cotangent):
    """Names of the operations in forward and backward that copy a tensor as large as `x`."""
    x = x.detach().requires_grad_()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as found:
        layer(x).backward(cotangent)
    names = ("aten::copy_", "aten::clone", "aten::_to_copy", "aten::contiguous")
    large = [e.name for e in found.events() if any(torch.Size(s).numel() >= x.numel() for s in e.input_shapes if s)]
    assert any("batch_norm" in name for name in large)
    return [name for name in large if name in names]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_no_copies(training, dim, dtype):
    layer, x = norm(dim, {}, training), maps(dim, dtype)
    cotangent = torch.randn_like(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert copies(layer, x, cotangent) == []
        assert copies(layer, innermost(x), innermost(cotangent)) == []
        assert copies(lambda x: layer(x.contiguous()), innermost(x), cotangent)  # what the test is there to find


def test_one_value_a_field():
    for options in ({}, {"affine": False}, {"track_running_stats": False}):
        layer = pdo.BatchNorm2d(pdo.cyclic(4).trivial(3), **options)
        x = torch.randn(1, 3, 1, 1).to(memory_format=torch.channels_last)
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            layer(x)
    pair = torch.randn(1, 6, 1, 2).to(memory_format=torch.channels_last)
    layer, other = pdo.BatchNorm2d(pdo.cyclic(1).trivial(6)), nn.BatchNorm2d(6)
    assert relative(layer(pair), other(pair)) < 1e-6
    assert relative(layer.running_var, other.running_var) < 1e-6


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_gradients_of_both_orders(dim, affine, training):
    group = {1: pdo.reflection(), 2: pdo.cyclic(2), 3: pdo.cyclic(2, dim=3)}[dim]
    layer = pdo.nn.BatchNorm(group.regular(2), affine=affine, dtype=torch.float64).train(training)
    x = innermost(torch.randn(2, 4, *(2, 3, 1)[:dim], dtype=torch.float64)).requires_grad_()
    parameters = {name: torch.rand_like(p, requires_grad=True) for name, p in layer.named_parameters()}
    fixed = dict(layer.named_buffers())

    def call(x, *values):
        state = dict(zip(parameters, values, strict=True)) | {k: b.clone() for k, b in fixed.items()}
        return torch.func.functional_call(layer, state, (x,))

    inputs = (x, *parameters.values())
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)
    y = call(*inputs)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    assert dx.stride() == x.stride()


@pytest.mark.filterwarnings("default")  # forward mode warns about itself
@pytest.mark.parametrize("tracking", [True, False])
def test_transforms(tracking):
    """`torch.func` and forward mode see channels_last maps as they see contiguous ones."""
    layer = norm(2, {"track_running_stats": tracking}, not tracking, torch.float64)
    x, t = maps(2, torch.float64), torch.randn_like(maps(2, torch.float64))
    for expected, found in (
        (torch.func.jvp(layer, (x,), (t,)), torch.func.jvp(layer, (innermost(x),), (innermost(t),))),
        (
            torch.func.grad(lambda x: layer(x).pow(3).sum())(x),
            torch.func.grad(lambda x: layer(x).pow(3).sum())(innermost(x)),
        ),
        (
            torch.func.vmap(layer)(torch.stack([x, t])),
            torch.func.vmap(layer)(torch.stack([innermost(x), innermost(t)])),
        ),
    ):
        for a, b in zip(expected, found, strict=True):
            assert relative(b, a) < 1e-12
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(innermost(x), innermost(t))
        tangent = torch.autograd.forward_ad.unpack_dual(layer(dual)).tangent
    assert relative(tangent, torch.func.jvp(layer, (x,), (t,))[1]) < 1e-12


@pytest.mark.filterwarnings("default")  # these tools warn about themselves
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_compile_and_export(dim, mode):
    layer, x = norm(dim, *MODES[mode]), innermost(maps(dim))
    cotangent = torch.randn_like(x)
    expected = twice(layer, x, cotangent)
    torch._dynamo.reset()
    compiled = copy.deepcopy(layer)
    compiled.compile(fullgraph=True)
    compiled(x + 1)
    inside = x.detach().requires_grad_()
    y = compiled(inside)
    y.backward(cotangent)
    assert y.stride() == inside.grad.stride() == x.stride()
    for name, found in {"y": y, "x": inside.grad, **dict(compiled.named_buffers())}.items():
        assert torch.equal(found, expected[name]) or relative(found, expected[name]) < 1e-5, name
    layer(x + 1)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert relative(program.module()(x), expected["y"]) < 1e-5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dim", GROUPS)
def test_the_way_of_gpus_is_equal(dim, mode, monkeypatch):
    """On CUDA statistics are those of channels, joined; here that way is taken on the CPU."""
    options, training = MODES[mode]
    layer, x = norm(dim, options, training, torch.float64), maps(dim, torch.float64)
    cotangent = torch.randn_like(x)
    expected = twice(layer, x, cotangent)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    calls = []
    plain = pdo.nn.normalise.composed
    monkeypatch.setattr(pdo.nn.normalise, "composed", lambda *a: (calls.append(a), plain(*a))[1])
    found = twice(layer, x, cotangent)
    assert bool(calls) == (training or mode == "not tracking, eval")
    for name, value in expected.items():
        assert torch.equal(found[name], value) or relative(found[name], value) < 1e-12, name
