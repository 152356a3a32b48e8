"""Layers for stacks, `(batch * |G|, channels, *space)`, against group convolutions, whose channels hold the group."""

import itertools

import pytest
import torch
from conftest import relative
from torch import nn

import pdoconv as pdo
from pdoconv import filters
from pdoconv.nn.halving import Crop, Halve
from pdoconv.nn.stacked import StackedConv, StackedGroupNorm, StackedLinear

D4, C8, O = pdo.dihedral(4), pdo.cyclic(8), pdo.octahedral()  # noqa: E741  # the name of the group


def stack(x, group):
    """Turn `(batch, fields * |G|, *space)` into a stack."""
    return x.unflatten(1, (-1, group.order)).transpose(1, 2).flatten(0, 1)


def unstack(y, group):
    return y.unflatten(0, (-1, group.order)).transpose(1, 2).flatten(1, 2)


def act(group, x, g):
    return stack(group.regular(x.shape[1]).transform(unstack(x, group), g), group)


@pytest.mark.parametrize("group", [D4, C8])
@pytest.mark.parametrize("geometry", [{}, {"stride": 2, "padding": 1}, {"padding": 2, "dilation": 2}])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_is_the_group_convolution(group, geometry, mode):
    family = filters.default(2, 3)
    layer = StackedConv(group, 3, 4, 3, filters=family, padding_mode=mode, dtype=torch.float64, **geometry)
    same = pdo.GroupConv2d(
        group.regular(3), group.regular(4), 3, filters=family, padding_mode=mode, dtype=torch.float64, **geometry
    )
    nn.init.normal_(layer.bias)
    same.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3 * group.order, 9, 9, dtype=torch.float64)
    assert relative(unstack(layer(stack(x, group)), group), same(x)) < 1e-12


def test_reads_an_image():
    layer = StackedConv(D4, 3, 4, 3, filters=filters.default(2, 3), reads="image")
    same = pdo.GroupConv2d(D4.trivial(3), D4.regular(4), 3, filters=filters.default(2, 3))
    same.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 9, 9)
    assert relative(unstack(layer(x.repeat_interleave(8, 0)), D4), same(x)) < 1e-5


def test_transposed_is_the_adjoint():
    layer = StackedConv(C8, 3, 2, 4, filters=filters.default(2, 4), stride=2, padding=1, transposed=True, bias=False)
    back = StackedConv(C8, 3, 2, 4, filters=filters.default(2, 4), stride=2, padding=1, bias=False)
    kernel, _, _ = layer.arranged()
    x, y = torch.randn(8, 3, 5, 5), torch.randn(8, 2, 10, 10)
    there = (layer(x) * y).sum()
    other = torch.conv2d(y.reshape(1, 16, 10, 10), kernel, None, 2, 1).reshape(8, 3, 5, 5)
    torch.testing.assert_close(there, (x * other).sum(), rtol=1e-4, atol=1e-3)
    assert back.arranged()[0].shape == (16, 24, 4, 4)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("reads", ["group", "image", "self"])
def test_groups_do_not_mix(reads, transposed):
    """A grouped layer is as many layers side by side."""
    family = filters.default(2, 3)
    whole = StackedConv(D4, 4, 6, 3, filters=family, groups=2, reads=reads, transposed=transposed, dtype=torch.float64)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    x = x.repeat_interleave(8, 0) if reads == "image" else torch.randn(16, 4, 6, 6, dtype=torch.float64)
    for half in range(2):
        part = StackedConv(D4, 2, 3, 3, filters=family, reads=reads, transposed=transposed, dtype=torch.float64)
        with torch.no_grad():
            part.weight.copy_(whole.weight[3 * half : 3 * half + 3])
            part.bias.copy_(whole.bias[3 * half : 3 * half + 3])
        y = part(x[:, 2 * half : 2 * half + 2])
        assert relative(whole(x)[:, 3 * half : 3 * half + 3], y) < 1e-12


LAYERS = {
    "full": lambda group: StackedConv(group, 4, 4, 3, filters=filters.default(group.dim, 3), padding=1),
    "depthwise": lambda group: StackedConv(group, 4, 4, 3, filters=filters.default(group.dim, 3), padding=1, groups=4),
    "self": lambda group: StackedConv(group, 4, 4, 3, filters=filters.default(group.dim, 3), reads="self"),
    "even": lambda group: StackedConv(group, 4, 4, 2, filters=filters.default(group.dim, 2), stride=2),
    "transposed": lambda group: StackedConv(
        group, 4, 4, 2, filters=filters.default(group.dim, 2), stride=2, transposed=True
    ),
    "halving": lambda group: StackedConv(group, 4, 4, 1, filters=filters.pointwise(), before=Halve()),
    "norm": lambda group: StackedGroupNorm(group.order, 2, 4),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("group", [D4, O], ids=str)
def test_law(group, kind):
    layer = LAYERS[kind](group).double()
    x = torch.randn(group.order, 4, *[6] * group.dim, dtype=torch.float64)
    for g in (1, 3, group.order - 1):
        assert relative(layer(act(group, x, g)), act(group, layer(x), g)) < 1e-12


def test_law_fails_for_a_wrong_table():
    layer = LAYERS["full"](D4).double()
    layer.relative = layer.relative.roll(1, 0)
    x = torch.randn(8, 4, 6, 6, dtype=torch.float64)
    assert relative(layer(act(D4, x, 1)), act(D4, layer(x), 1)) > 0.1


def test_law_fails_for_a_stride_that_begins_with_the_first_pixel():
    x = torch.randn(8, 4, 6, 6)
    assert relative(act(D4, x, 1)[..., ::2, ::2], act(D4, x[..., ::2, ::2], 1)) > 0.1


@pytest.mark.parametrize("shape", [(16, 5), (16, 3, 3, 5)])
def test_linear(shape):
    """As the group convolution with a kernel of one pixel, on the last axis."""
    layer, same = StackedLinear(D4, 5, 3), StackedConv(D4, 5, 3, filters=filters.pointwise())
    nn.init.normal_(layer.bias)
    same.load_state_dict(layer.state_dict())
    x = torch.randn(shape)
    places = x.movedim(-1, 1) if len(shape) > 2 else x[..., None, None]
    y = same(places)
    assert relative(layer(x), y.movedim(1, -1) if len(shape) > 2 else y[..., 0, 0]) < 1e-5


def test_norm_sees_all_orientations():
    """One factor for all of them; the wrong layer, torch's own, gives every orientation the same size."""
    x = torch.randn(8, 4, 5, 5) * torch.arange(1.0, 9).view(-1, 1, 1, 1)
    together, apart = StackedGroupNorm(8, 4, 4)(x).detach(), nn.GroupNorm(4, 4)(x).detach()
    assert together[7].std() / together[0].std() > 5
    assert apart[7].std() / apart[0].std() < 1.01
    assert float(together.square().mean()) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("sides", [(7,), (8, 7), (5, 6, 7)])
def test_halving_is_symmetric(sides):
    x = torch.randn(2, 3, *sides, dtype=torch.float64)
    y = Halve(2)(x)
    assert y.shape[2:] == tuple(-(-side // 4) for side in sides)
    for axes in itertools.chain.from_iterable(itertools.combinations(range(2, x.dim()), n) for n in (1, len(sides))):
        torch.testing.assert_close(Halve(2)(x.flip(axes)), y.flip(axes), rtol=0, atol=1e-12)


def test_crop_undoes_padding():
    x = torch.randn(1, 1, 4, 5)
    assert torch.equal(Crop([0, 1, 2, 1])(nn.functional.pad(x, [0, 1, 2, 1])), x)


def test_unit_variance_of_transposed():
    layer = StackedConv(C8, 32, 32, 4, filters=filters.default(2, 4), stride=2, padding=1, transposed=True, bias=False)
    variance = float(layer(torch.randn(8, 32, 16, 16).relu() * 2**0.5)[..., 2:-2, 2:-2].detach().var())
    assert 0.3 < variance < 3


def test_says_what_does_not_divide():
    with pytest.raises(ValueError, match="multiples of groups=2, received 3 and 4"):
        StackedConv(D4, 3, 4, filters=filters.pointwise(), groups=2)


def test_prints_and_keeps_what_code_may_read():
    layer = StackedConv(D4, 2, 2, 3, filters=filters.default(2, 3), before=Halve(), padding=1, shown={"stride": (2, 2)})
    assert layer.stride == (2, 2)
    assert "2, 2, kernel_size=3, group=D4, padding=1" in repr(layer)
    assert "times=1" in repr(layer)


def test_keeps_its_kernel_in_inference():
    """Expanded once while the weights stay; anew when they change."""
    layer, x = StackedConv(D4, 2, 2, 3, filters=filters.default(2, 3)), torch.randn(8, 2, 5, 5)
    with torch.no_grad():
        assert layer.arranged()[0] is layer.arranged()[0]
        before = layer(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)
        assert relative(layer(x), 2 * before) < 1e-5
    assert layer.arranged()[0].requires_grad


def test_half_precision_in_space():
    """Computed in float32 where torch's own gradients are not reliable, as by `GroupConv3d`."""
    layer = StackedConv(O, 1, 1, 3, filters=filters.default(3, 3), dtype=torch.bfloat16)
    same = pdo.GroupConv3d(O.regular(1), O.regular(1), 3, filters=filters.default(3, 3), dtype=torch.bfloat16)
    same.load_state_dict(layer.state_dict())
    x = torch.randn(1, 24, 5, 5, 5).bfloat16()
    for y in (layer(stack(x, O)), same(x)):
        assert y.dtype == torch.bfloat16
        y.float().square().mean().backward()
    assert layer.weight.grad.isfinite().all()
    assert relative(layer.weight.grad, same.weight.grad) < 0.05
