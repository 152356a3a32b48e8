"""Converting what users write: training branches, reparametrised weights, own forwards."""

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from conftest import relative
from torch import nn

import pdoconv as pdo
from pdoconv.convert import ConversionError, conversion_report, convert

IMAGE = torch.zeros(1, 3, 16, 16)


class Code(nn.Module):
    """Two convolutions with any code."""

    def __init__(self, code):
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 2, 1)
        self.code = code

    def forward(self, x):
        return self.code(self, x)


class Auxiliary(nn.Module):
    """A branch in training mode, as GoogLeNet has it; its input is read from a layer that is a convolution then."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3)
        self.head, self.aux, self.unused = nn.Linear(16, 5), nn.Linear(16 * 14 * 14, 5), nn.Linear(7, 7)

    def forward(self, x):
        y = self.norm(self.a(x))
        logits = self.head(self.b(y).mean((2, 3)))
        return (logits, self.aux(y.view(-1, self.aux.in_features))) if self.training else logits


def test_branches_of_training_are_converted():
    net = Auxiliary()
    kept = copy.deepcopy(net.state_dict())
    twin = convert(net, "p4", example=IMAGE).train()
    assert all(torch.equal(t, kept[name]) for name, t in net.state_dict().items())
    assert twin.net.norm.num_batches_tracked == 0
    logits, other = twin(torch.randn(2, 3, 16, 16))
    assert logits.shape == other.shape == (2, 5)
    (logits.sum() + other.sum()).backward()
    assert all(p.grad is not None for name, p in twin.named_parameters() if "unused" not in name)
    assert "not called with the example" in twin.report.notes["unused"]
    assert twin.report.notes.keys() == {"unused"}


WRAPS = {
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "old spectral_norm": nn.utils.spectral_norm,
}


@pytest.mark.parametrize("name", WRAPS)
def test_reparametrised_weights_become_plain(name):
    wrap = WRAPS[name]
    net = nn.Sequential(wrap(nn.Conv2d(3, 32, 3)), nn.ReLU(), wrap(nn.Conv2d(32, 32, 3)), nn.Conv2d(32, 2, 1)).eval()
    x = torch.randn(2, 3, 16, 16)
    before = net(x)
    twin = convert(net, "p4", example=IMAGE)
    assert torch.equal(net(x), before)
    assert abs(twin.report.parameters[1] / twin.report.parameters[0] - 1) < 0.05
    assert "parametrisation of its weight by" in twin.report.notes["2"]
    assert conversion_report(twin).errors["90 degrees"] < 1e-5


def test_tied_and_frozen_weights_are_noted():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1))
    net[2].weight = net[1].weight
    net[0].requires_grad_(False)
    notes = convert(net, "p4", example=IMAGE).report.notes
    assert "its weight was that of 1.weight" in notes["2"]
    assert "2 frozen parameters" in notes[""]


class Keeps(nn.Module):
    """Keeps a result with its history, which torch does not copy."""

    def __init__(self):
        super().__init__()
        self.conv, self.results = nn.Conv2d(3, 4, 3), [torch.zeros(1)]

    def forward(self, x):
        self.results[0] = self.conv(x)
        return self.results[0].relu()


def test_kept_results_do_not_hinder_copies():
    net = Keeps().train()
    net(IMAGE)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(net)
    twin = convert(net, "p4", example=IMAGE).train()
    x = torch.randn(1, 3, 16, 16)
    twin(x)
    assert relative(copy.deepcopy(twin)(x), twin(x)) < 1e-6
    assert relative(pdo.export(twin)(x), twin(x)) < 1e-5


class Same(nn.Conv2d):
    """Pads by itself, as networks from TensorFlow."""

    def forward(self, x):
        pads = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, s, k in zip(x.shape[:1:-1], self.stride, self.kernel_size, strict=True)
        ]
        x = F.pad(x, [side for p in pads for side in (p // 2, p - p // 2)])
        return F.conv2d(x, self.weight, self.bias, self.stride)


def test_own_forward_of_a_convolution_pads_or_is_refused():
    twin = convert(nn.Sequential(Same(3, 8, 3), nn.ReLU(), Same(8, 8, 5, 2), Same(8, 2, 1)), "p4", example=IMAGE)
    assert twin(torch.rand(2, 3, 16, 16)).shape == (2, 2, 8, 8)
    assert conversion_report(twin).errors["90 degrees"] < 1e-5
    with pytest.raises(ConversionError, match=r"1: Same has a forward of its own, which makes sides \[16, 16\]"):
        convert(nn.Sequential(nn.ReLU(), Same(3, 8, 4)), "p4", example=IMAGE)


class Asks(nn.Module):
    """Code that reads attributes of convolutions."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 16, 3, stride=2), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        left = (self.conv.kernel_size[0] - self.conv.stride[0]) // 2
        return self.out(self.conv(F.pad(x, (left, 1 - left, left, 1 - left))))


def test_exported_layers_show_their_attributes():
    twin = convert(Asks(), "p4", example=IMAGE)
    x = torch.randn(2, 3, 16, 16)
    assert relative(pdo.export(twin)(x), twin(x)) < 1e-5


def test_means_over_channels_leave_widths_free():
    """Normalisation of channels that lie in front, and responses of each to their mean, written by hand."""

    def code(net, x):
        y = net.a(x)
        y = (y - y.mean(1, keepdim=True)) / (y.var(1, keepdim=True) + 1e-6).sqrt()
        size = torch.linalg.vector_norm(y, dim=(2, 3), keepdim=True)
        return net.out(net.b(y * size / (size.mean(1, keepdim=True) + 1e-6)))

    twin = convert(Code(code), "p4", example=IMAGE)
    assert twin.net.a.out_channels < 16
    kept = convert(
        Code(lambda net, x: net.out(net.b(net.a(x)) * net.a(x).index_select(1, torch.tensor([15])))),
        "p4",
        example=IMAGE,
    )
    assert kept.net.a.out_channels == 16


def test_channels_shuffled():
    net = nn.Sequential(nn.Conv2d(3, 24, 3), nn.ChannelShuffle(3), nn.Conv2d(24, 24, 3, groups=3), nn.Conv2d(24, 2, 1))
    twin = convert(net, "p4", example=IMAGE)
    assert twin.net[0].out_channels % 3 == 0
    assert twin.net[0].out_channels < 24
    assert conversion_report(twin).errors["90 degrees"] < 1e-5


class Unpool(nn.Module):
    """As SegNet has it; and normalisation that says a wrong number, which torch takes where it has no parameters."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 2, 3, padding=1), nn.InstanceNorm2d(8)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x):
        y, places = self.pool(self.a(x))
        return self.b(self.unpool(y.relu(), places))


class Misnamed(Unpool):
    def forward(self, x):
        return self.b(self.norm(self.a(x)))


def test_places_of_maxima():
    twin = convert(Unpool(), "p4", example=IMAGE)
    assert twin.net.a.out_channels != 16
    assert conversion_report(twin).errors["90 degrees"] < 1e-5
    net = Unpool()
    net.pool, net.unpool = nn.MaxPool2d(3, 2, return_indices=True), nn.MaxUnpool2d(3, 2)
    net.b = nn.Conv2d(16, 2, 2)  # 16 pixels, 7 maxima, 15 pixels
    assert "quarter turns on side 16" in convert(net, "p4", example=IMAGE).report.notes["pool"]


@pytest.mark.filterwarnings("ignore:input's size at dim=1")
def test_a_norm_without_parameters_takes_any_width():
    twin = convert(Misnamed(), "p4", example=IMAGE)
    assert twin.net.norm.num_channels == twin.net.a.out_channels != 16


@dataclass
class Pair:
    map: torch.Tensor
    size: int


def test_outputs_that_cannot_be_seen_are_refused():
    with pytest.raises(ConversionError, match="returns a Pair, whose tensors cannot be seen"):
        convert(Code(lambda net, x: Pair(net.out(net.b(net.a(x))), 3)), "p4", example=IMAGE)
    with pytest.raises(ConversionError, match=r"torch.int64, of which there is no mean"):
        convert(Code(lambda net, x: net.out(net.b(net.a(x))).argmax(1)), "p4", example=IMAGE)
    with pytest.raises(ConversionError, match=r"0\.weight has no size yet"):
        convert(nn.Sequential(nn.LazyConv2d(3, 3)), "p4", example=IMAGE)


PLAIN = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": 8}, "expected a group or its name such as 'p8', received 8"),
        ({"filters": 3}, "expected filters or a function that gives them, received 3"),
        ({"override": ["0"]}, "expected override={path: a module"),
        ({"override": {"0": "remove"}}, "expected override={path: a module"),
        ({"output": "vector"}, "needs 2 channels a vector, received 3"),
        ({"output": pdo.cyclic(4).trivial(7)}, "has 7 channels, the network's output 3"),
        ({"example": [1]}, "1 to 3 sides, received 'list'"),
        ({"model": convert(PLAIN, "p4", example=IMAGE)}, "a converted one already"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(**{"model": PLAIN, "group": "p4", "example": IMAGE, **arguments})


def test_pooling_over_more_than_the_map_is_exact():
    """As EfficientNet of transformers pools."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AvgPool2d(20, ceil_mode=True), nn.Flatten(), nn.Linear(8, 5))
    assert convert(net, "p4", example=IMAGE).report.notes == {}
    net[1] = nn.AvgPool2d(9, ceil_mode=True)
    net[3] = nn.Linear(8 * 4, 5)
    assert "quarter turns" in convert(net, "p4", example=IMAGE).report.notes["1"]


def test_a_network_without_parameters():
    twin = convert(nn.ReLU(), "p4", example=IMAGE)
    assert torch.equal(twin(IMAGE + 1), IMAGE + 1)


@pytest.mark.parametrize(("dim", "group"), [(2, "p6"), (2, "p6m"), (2, "C1"), (3, "T"), (3, "Oh")])
def test_groups(dim, group):
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dim == 2 else (nn.Conv3d, nn.BatchNorm3d)
    net = nn.Sequential(conv(1, 4, 3, 2, 1), norm(4), nn.ReLU(), conv(4, 4, 3, padding=1, groups=2), conv(4, 2, 1))
    twin = convert(net, group, example=torch.zeros(1, 1, *[8] * dim))
    assert not any("turn" in note for note in twin.report.notes.values())
    twin.train()(torch.randn(2, 1, *[8] * dim)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in twin.parameters())
    assert pickle.loads(pickle.dumps(twin)).group.order == twin.group.order
