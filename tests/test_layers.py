import numpy as np
import pytest
import torch
from conftest import relative
from torch import nn

import pdoconv as pdo

C4, C8 = pdo.cyclic(4), pdo.cyclic(8)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_shares_statistics(layout):
    layer = pdo.BatchNorm2d(C4.regular(3), eps=1e-3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(5, 12, 6, 7).mul(2).add(1).to(memory_format=layout)
    y = layer(x)
    fields = x.unflatten(1, (3, 4))
    mean = fields.mean((0, 2, 3, 4), keepdim=True)
    var = fields.var((0, 2, 3, 4), unbiased=False, keepdim=True)
    shape = (1, 3, 1, 1, 1)
    expected = (fields - mean) / (var + 1e-3).sqrt() * layer.weight.view(shape) + layer.bias.view(shape)
    assert relative(y.detach(), expected.flatten(1, 2).detach()) < 1e-5
    assert relative(layer.running_mean, 0.1 * mean.flatten()) < 1e-5
    assert sorted(layer.state_dict()) == ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"]


def test_field_dropout_drops_whole_fields():
    layer = pdo.FieldDropout(C4.regular(50), 0.3)
    x = torch.ones(40, 200, 3, 3)
    y = layer(x).unflatten(1, (50, 4))
    assert torch.equal(y, y[:, :, :1, :1, :1].expand_as(y))
    assert abs(float((y == 0).float().mean()) - 0.3) < 0.03
    assert torch.allclose(y[y > 0], torch.tensor(1 / 0.7))
    assert layer.eval()(x) is x
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\)"):
        pdo.FieldDropout(C4.regular(1), 1.0)


def test_group_pool():
    x = torch.randn(2, 8, 3, 3)
    pooled = pdo.GroupPool(C4.regular(2))(x)
    assert torch.equal(pooled, x.unflatten(1, (2, 4)).amax(2))
    assert pdo.GroupPool(C4.regular(2)).out_type == C4.trivial(2)
    assert torch.equal(pdo.GroupPool(C4.regular(2), "mean")(x), x.unflatten(1, (2, 4)).mean(2))
    with pytest.raises(ValueError, match="'max' or 'mean'"):
        pdo.GroupPool(C4.regular(2), "sum")


def test_blur_pool_removes_what_aliases():
    """A wave too fast for the coarse grid is damped; a constant passes; plain striding keeps the wave."""
    layer = pdo.BlurPool2d(C4.trivial(1))
    wave = torch.cos(torch.arange(33.0) * 3.0)[None, None, None].expand(1, 1, 33, 33)
    assert layer(wave).abs().max() < 0.05
    assert wave[..., ::2, ::2].abs().max() > 0.9
    assert torch.allclose(layer(torch.ones(1, 1, 33, 33)), torch.ones(1, 1, 17, 17))
    with pytest.raises(ValueError, match="sigma > 0"):
        pdo.BlurPool2d(C4.trivial(1), sigma=0.0)


@pytest.mark.parametrize("pool", [pdo.MaxPool2d, pdo.AvgPool2d])
def test_pools_equal_torch(pool):
    x = torch.randn(1, 4, 9, 9)
    theirs = {pdo.MaxPool2d: nn.MaxPool2d, pdo.AvgPool2d: nn.AvgPool2d}[pool]
    assert torch.equal(pool(C4.regular(1), 3, stride=2, padding=1)(x), theirs(3, 2, 1)(x))
    for bad in ({"kernel_size": 0}, {"kernel_size": 2, "stride": 0}, {"kernel_size": 2, "padding": 2}):
        with pytest.raises(ValueError, match="expected kernel_size >= 1"):
            pool(C4.regular(1), **bad)


def test_sequential_refuses_what_does_not_fit():
    """32 channels of C8 are not 32 channels of C4."""
    with pytest.raises(ValueError, match="expects C4: 8 regular, the layer before it gives C8: 4 regular"):
        pdo.Sequential(pdo.PDOConv2d(C8.trivial(1), C8.regular(4)), nn.ReLU(), pdo.BatchNorm2d(C4.regular(8)))
    net = pdo.Sequential(
        pdo.PDOConv2d(C8.trivial(1), C8.regular(4)), pdo.GroupPool(C8.regular(4)), nn.Flatten(), nn.Linear(4, 2)
    )
    assert net.in_type == C8.trivial(1)
    assert net[:1].out_type == C8.regular(4)
    mixer = pdo.Sequential(
        pdo.PDOConv2d(C8.trivial(1), C8.regular(4)), nn.Conv2d(32, 3, 1), pdo.BatchNorm2d(C4.trivial(3))
    )
    assert mixer.out_type == C4.trivial(3)


@pytest.mark.parametrize("make", [pdo.BatchNorm2d, pdo.FieldDropout, pdo.GroupPool])
def test_layers_check_their_input(make):
    with pytest.raises(ValueError, match=r"expected \(batch, 16, height, width\)"):
        make(C8.regular(2))(torch.zeros(1, 15, 4, 4))


@pytest.mark.parametrize("weights", ["template", "operators"])
@pytest.mark.parametrize("name", ["C4", "C8", "C6", "D4"])
def test_unit_variance_through_ten_layers(name, weights):
    found = ten_layers(pdo.group(name), pdo.filters.paper(weights=weights), seeds=3)
    for variances in found:
        assert 0.5 < min(variances) < max(variances) < 2, variances
    assert 0.7 < sum(variances[-1] for variances in found) / 3 < 1.4


@pytest.mark.parametrize("name", ["C4", "C8", "C6", "D4"])
def test_unit_variance_with_smooth_filters(name):
    """Smooth maps have fewer independent pixels, so one draw strays further; the mean over draws does not."""
    each = np.log(ten_layers(pdo.group(name), pdo.filters.default(2), seeds=6))
    assert np.abs(each).max() < np.log(5)
    assert np.abs(each.mean(0)).max() < np.log(2), np.exp(each.mean(0))


def ten_layers(group, filters, seeds):
    """Variances behind each of ten layers with ReLU between them, for each seed."""
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        x, variances = torch.randn(4, 1, 24, 24), []
        for depth in range(10):
            first = group.trivial(1) if depth == 0 else group.regular(16)
            layer = pdo.PDOConv2d(first, group.regular(16), filters=filters, padding=2, padding_mode="circular")
            with torch.no_grad():
                x = layer(x)
            variances.append(float(x.var()))
            x = x.relu()
        found.append(variances)
    return found


def test_authors_initialisation():
    """Variance 2 / (9 c_in |G|), truncated at two standard deviations of the parent normal."""
    layer = pdo.PDOConv2d(C8.regular(8), C8.regular(32), filters=pdo.filters.paper(), init="authors")
    variance = 2 / (9 * 64)
    assert abs(float(layer.weight.detach().var()) / variance - 1) < 0.05
    assert layer.weight.abs().max() < 2 * (1.3 * variance) ** 0.5 + 1e-6


@pytest.mark.parametrize("name", ["C8", "D4", "D12"])
def test_projection_keeps_the_scale(name):
    """regular -> trivial sums over the group: its variance stays of order 1, not |G| and more."""
    group = pdo.group(name)
    lift = pdo.PDOConv2d(group.trivial(1), group.regular(16), padding=2, padding_mode="circular")
    project = pdo.PDOConv2d(group.regular(16), group.trivial(64), padding=2, padding_mode="circular")
    scalar = pdo.PDOConv2d(group.trivial(16), group.trivial(64), padding=2, padding_mode="circular")
    with torch.no_grad():
        assert 0.3 < float(project(lift(torch.randn(8, 1, 24, 24)).relu()).var()) < 7
        assert 0.3 < float(scalar(torch.randn(8, 16, 24, 24)).var()) < 3


def test_sequential_refuses_statistics_of_channels():
    """Behind fields of several channels; behind scalars torch's BatchNorm is right."""
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(2))
    for modules in ((layer, nn.BatchNorm2d(16)), (layer, nn.Sequential(nn.ReLU(), nn.BatchNorm2d(16)))):
        with pytest.raises(ValueError, match=r"module 1 \(BatchNorm2d|module 1 \(Sequential"):
            pdo.Sequential(*modules)
    pdo.Sequential(layer, pdo.GroupPool(C8.regular(2)), nn.BatchNorm2d(2))
    pdo.Sequential(pdo.PDOConv2d(C8.trivial(1), C8.trivial(2)), nn.BatchNorm2d(2))
