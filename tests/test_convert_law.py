"""Code that breaks the law is noted with its place, when a network is converted; code that turns is not."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pdoconv as pdo
from pdoconv.convert import convert
from pdoconv.convert.law import broken

IMAGE, ONES = torch.zeros(1, 3, 16, 16), torch.ones(1, 16, 1, 1)


class Code(nn.Module):
    """Two convolutions with any code."""

    def __init__(self, code):
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 2, 1)
        self.code, self.places = code, nn.Parameter(torch.zeros(1, 16, 16, 16))

    def forward(self, x):
        return self.code(self, x)


BREAKS = {
    "flip": lambda net, x: net.out(net.b(net.a(x).flip(3))),
    "every second": lambda net, x: net.out(net.b(net.a(x)[:, :, ::2, ::2])),
    "crop": lambda net, x: net.out(net.b(net.a(x)[..., 1:, 1:])),
    "embedding of places, 0 at first": lambda net, x: net.out(net.b(net.a(x) + net.places)),
    "nearest": lambda net, x: net.out(net.b(F.interpolate(net.a(x), size=(7, 7)))),
    "row by row": lambda net, x: net.out(net.b(net.a(x).softmax(3))),
}
TURNS = {
    "crop": lambda net, x: net.out(net.b(net.a(x)[..., 1:-1, 1:-1])),
    "all of four": lambda net, x: net.out(net.b(sum(net.a(x)[..., i::2, j::2] for i in (0, 1) for j in (0, 1)))),
    "bilinear": lambda net, x: net.out(net.b(F.interpolate(net.a(x), size=(7, 7), mode="bilinear"))),
    "channels": lambda net, x: net.out(net.b(net.a(x).softmax(1))),
    "flattened": lambda net, x: net.out(net.b(net.a(x))).flatten(1),
    "last": lambda net, x: net.out(net.b(net.a(x))).permute(0, 2, 3, 1),
}


@pytest.mark.parametrize("name", BREAKS)
def test_code_that_breaks_the_law_is_noted_with_its_place(name):
    twin = convert(nn.Sequential(Code(BREAKS[name])), "p4", example=IMAGE)
    assert "its code in front of '0.b' does not turn" in twin.report.notes["0"] or name == "row by row"
    assert "does not turn with the image" in str(twin.report)


@pytest.mark.parametrize("name", TURNS)
def test_code_that_turns_is_not_noted(name):
    twin = convert(Code(TURNS[name]), "p4m", example=IMAGE)
    assert not any("turn" in note for note in twin.report.notes.values())


def test_other_reasons_are_told_apart():
    noise = convert(Code(lambda net, x: net.out(net.b(net.a(x) + torch.randn_like(net.a(x))))), "p4", example=IMAGE)
    assert "draws random numbers" in noise.report.notes[""]
    tokens = convert(Code(lambda net, x: net.out(net.b(net.a(x))).flatten(2).mT), "p4", example=IMAGE)
    assert "neither numbers nor maps" in tokens.report.notes[""]
    net = Code(lambda net, x: net.out(net.b(net.a(x) + ONES) + ONES))
    net.places = None
    fixed = convert(net, "p8", example=IMAGE)
    assert "widths are kept: a fixed number" in fixed.report.notes[""]
    decoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 64))
    decoder.append(nn.Unflatten(1, (4, 4, 4))).append(nn.Conv2d(4, 2, 3))
    assert "does not turn" in convert(decoder, "p4", example=IMAGE).report.notes["4"]


def test_a_broken_kernel_is_found_and_named():
    twin = convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1)), "p4", example=IMAGE)
    assert broken(twin, tuple(IMAGE.shape)) is None
    twin.net[1].relative = twin.net[1].relative.roll(1, 0)
    assert broken(twin, tuple(IMAGE.shape))[0] == "1"


def strided():
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 4))


def test_sides_that_break_the_symmetry_are_told():
    """Once, when such a side comes; not for the example's own, which is in the report."""
    twin = convert(strided(), "p4", example=torch.zeros(1, 3, 64, 64))
    assert pdo.equivariance_error(twin, 90) < 1e-5  # on the side of the example
    with pytest.warns(UserWarning, match=r"GridPool: side 17 with kernel 2, stride 2.*Sides 16, 18"):
        assert pdo.equivariance_error(twin, 90, size=34) > 1e-3
    assert pdo.equivariance_error(twin, 90, size=34) > 1e-3  # no second warning
    off = convert(strided(), "p4", example=torch.zeros(1, 3, 34, 34))
    assert "on 16 or 18 they are" in str(off.report)
    off(torch.zeros(1, 3, 34, 34))
    assert not any(type(part).__name__ == "GridPool" for part in pdo.export(twin.eval()).modules())
    kept = convert(strided(), "p4", example=torch.zeros(1, 3, 33, 33), strides="kept")
    with pytest.warns(UserWarning, match="StackedConv: side 34 with kernel 3, stride 2, padding 1"):
        kept(torch.zeros(1, 3, 34, 34))


def test_stacks_are_no_typed_layers():
    """They are within the network; measured over depth they would be taken for features."""
    twin = convert(strided(), "p8", example=torch.zeros(1, 3, 32, 32))
    assert pdo.measure.error_over_depth(twin) == {}
    net = pdo.Sequential(pdo.PDOConv2d(pdo.cyclic(8).trivial(1), pdo.cyclic(8).regular(1), 3), nn.ReLU())
    assert list(pdo.measure.error_over_depth(net)) == ["0"]
