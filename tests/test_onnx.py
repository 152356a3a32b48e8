"""ONNX files and torch.export: free batch and image sizes, and the checks that refuse a wrong file."""

import copy
from functools import partial

import onnx
import pytest
import torch
import torch.nn.functional as F
from conftest import relative, season
from torch import nn

import pdoconv as pdo
from pdoconv.export import onnx_file, to_onnx
from pdoconv.export.helpers import session
from pdoconv.models.resnet import PreActResNet, halved
from pdoconv.nn.transposed import PDOConvTranspose2d
from pdoconv.nn.upsample import Upsample

C4, C8, LINE, D3 = pdo.cyclic(4), pdo.cyclic(8), pdo.Group("reflection", [[[1.0]], [[-1.0]]]), pdo.group("D2", dim=3)
DYNAMIC = torch.export.Dim.DYNAMIC


def ten_lines():
    hidden = C8.regular(2)
    return pdo.Sequential(
        pdo.PDOConv2d(C8.trivial(3), hidden, padding=2), pdo.BatchNorm2d(hidden), nn.ReLU(),
        pdo.PDOConv2d(hidden, hidden, padding=2), pdo.BatchNorm2d(hidden), nn.ReLU(),
        pdo.GroupPool(hidden), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 10),
    )  # fmt: skip


def vectors():
    group = pdo.so2()
    hidden = group.trivial(2) + group.irrep(1, 2)
    gate, field = pdo.GatedActivation(hidden), C8.irrep(1, 2) + C8.regular(1)
    return {
        "gate": pdo.Sequential(
            pdo.PDOConv2d(group.trivial(2), gate.in_type, padding=2), pdo.BatchNorm2d(gate.in_type), gate,
            pdo.PDOConv2d(hidden, group.vector(1), padding=2),
        ),
        "norm": pdo.Sequential(
            pdo.PDOConv2d(C8.trivial(2), field, padding=2), pdo.BatchNorm2d(field), pdo.NormActivation(field),
            pdo.MaxPool2d(field, 2), pdo.GroupPool(field), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ),
        "vector": pdo.Sequential(
            pdo.PDOConv2d(C8.trivial(2), C8.regular(2), padding=2), nn.ELU(), nn.AdaptiveAvgPool2d(1),
            pdo.VectorOutput(C8.regular(2)),
        ),
    }  # fmt: skip


class UNet(nn.Module):
    """A skip connection asks for even sides."""

    def __init__(self):
        super().__init__()
        field = C4.regular(1)
        self.first = pdo.PDOConv2d(C4.trivial(2), field, padding=2)
        self.down, self.up = pdo.AvgPool2d(field, 2), PDOConvTranspose2d(field, field)
        self.norm = pdo.BatchNorm2d(field)
        self.finer = Upsample(field, mode="linear")
        self.last = pdo.PDOConv2d(field + field + field, C4.trivial(1), padding=2)

    def forward(self, x):
        skip = self.first(x)
        coarse = self.down(skip)
        return self.last(torch.cat([skip, self.norm(self.up(coarse)), self.finer(coarse)], 1))


def space(group, dim, side):
    hidden = group.regular(1)
    layer, norm = (getattr(pdo, f"{name}{dim}d") for name in ("PDOConv", "BatchNorm"))
    return pdo.Sequential(layer(group.trivial(2), hidden, padding=2), norm(hidden), nn.ReLU(), pdo.GroupPool(hidden))


def resnet(**config):
    return PreActResNet(C4, **{"widths": (1, 2, 4), "units": 1, "in_channels": 2, **config})


NETS = {
    "ten lines": (ten_lines, (1, 3, 12, 13)),
    "resnet of the authors": (partial(resnet, layout="authors"), (1, 2, 13, 13)),
    "symmetric resnet": (partial(resnet, layout="symmetric", widths=(1, 2)), (1, 2, 12, 12)),
    "gate": (lambda: vectors()["gate"], (1, 2, 9, 9)),
    "norm": (lambda: vectors()["norm"], (1, 2, 9, 9)),
    "vector": (lambda: vectors()["vector"], (1, 2, 9, 9)),
    "line": (partial(space, LINE, 1, 9), (1, 2, 9)),
    "space": (partial(space, D3, 3, 5), (1, 2, 5, 6, 5)),
    "blur": (lambda: blur(), (1, 2, 13, 13)),
    "u-net": (UNet, (1, 2, 8, 8)),
    "learned pde": (lambda: learned_pde(), (1, 1, 9, 9)),
    "flow": (lambda: flow(), (1, 2, 9, 9)),
}  # fmt: skip
RULES = {"u-net": 2}
QUICK = {"symmetric resnet", "u-net", "line"}
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NETS]


def blur():
    field = C4.regular(1)
    return pdo.Sequential(pdo.PDOConv2d(C4.trivial(2), field), pdo.BlurPool2d(field), pdo.BatchNorm2d(field))


def learned_pde():
    net = pdo.pde.LearnedPDE(steps=2, bounded=True, hidden=2)
    nn.init.normal_(net.coefficients, std=0.1)
    return net


def flow():
    hidden = C4.regular(2)
    rate = pdo.Sequential(pdo.PDOConv2d(hidden, hidden, padding=2), nn.ELU())
    return pdo.Sequential(
        pdo.PDOConv2d(C4.trivial(2), hidden, padding=2), pdo.BatchNorm2d(hidden), pdo.pde.PDEBlock(rate, steps=2)
    )


def seasoned(name):
    make, shape = NETS[name]
    return season(make()).float(), shape


def run(path, x):
    return session(path.read_bytes()).run(None, {"x": x.numpy()})[0]


@pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
@pytest.mark.parametrize("name", EACH)
def test_free_sizes(name, tmp_path):
    net, shape = seasoned(name)
    step = RULES.get(name, 1)
    written = to_onnx(net, tmp_path / "net.onnx", shape)
    assert written.shape == ("batch", shape[1], *onnx_file.NAMES[len(shape) - 2])
    assert ("multiples of 2" in written.note) == (step == 2)
    for batch, more in ((1, 7 * step), (4, 2 * step)):
        x = torch.randn(batch, shape[1], shape[2] + more, *shape[3:])
        assert relative(run(tmp_path / "net.onnx", x), net(x)) < 1e-4
    model = onnx.load(tmp_path / "net.onnx")
    assert [(domain.domain, domain.version) for domain in model.opset_import] == [("", 25)]
    axes = model.graph.input[0].type.tensor_type.shape.dim
    assert tuple(axis.dim_value or axis.dim_param for axis in axes) == written.shape
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
@pytest.mark.parametrize("name", EACH)
def test_torch_export_of_the_network_itself(name):
    """Unfolded, with free batch and sides."""
    net, shape = seasoned(name)
    free = {axis: DYNAMIC for axis in range(len(shape)) if axis != 1}
    program = torch.export.export(net, (torch.randn(2, *shape[1:]),), dynamic_shapes=(free,)).module()
    step = RULES.get(name, 1)
    for batch, more in ((1, 5 * step), (3, 4 * step)):
        x = torch.randn(batch, shape[1], shape[2] + more, *shape[3:])
        assert relative(program(x), net(x)) < 1e-5


def test_halved_of_any_side():
    """What is exported computes the same as the pooling of each side."""
    program = torch.export.export(
        Call(halved), (torch.randn(2, 3, 6, 9),), dynamic_shapes=({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC},)
    )
    for height in range(3, 7):  # export takes outputs of one pixel for a case of its own
        for width in range(3, 7):
            x = torch.randn(1, 3, height, width, dtype=torch.float64)
            assert relative(program.module()(x.float()), halved(x)) < 1e-6


class Call(nn.Module):
    """A function as a module, behind a convolution so that there is something to trace."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def by_parity(x):
    odd = [side % 2 for side in x.shape[2:]]
    return F.avg_pool2d(x, [2 + o for o in odd], 2, odd, count_include_pad=False)


BAKED = {
    "branch": lambda x: x if x.shape[2] < 100 else 2 * x,
    "number": lambda x: x * torch.tensor(float(x.shape[2])),
    "length": lambda x: x.flatten(1),
}


@pytest.mark.parametrize("name", ["branch", pytest.param("number", marks=pytest.mark.slow), "length"])
def test_what_depends_on_the_size_gets_a_fixed_one(name, tmp_path):
    path = tmp_path / "net.onnx"
    written = to_onnx(Call(BAKED[name]), path, (1, 2, 8, 8))
    assert written.shape == ("batch", 2, 8, 8)
    assert written.note.startswith("The image size is fixed to 8 x 8: ")
    assert onnx.load(path).doc_string == written.note
    x = torch.randn(3, 2, 8, 8)
    assert relative(run(path, x), BAKED[name](x)) < 1e-5
    path.unlink()
    with pytest.raises(ValueError, match=r"image size cannot be free: .* use sizes='fixed'"):
        to_onnx(Call(BAKED[name]), path, (1, 2, 8, 8), sizes="free")
    assert not list(tmp_path.iterdir())


def test_steps_are_named(tmp_path):
    """A kernel chosen by the parity of the side is right for sides of the same parity only."""
    written = to_onnx(Call(by_parity), tmp_path / "net.onnx", (1, 2, 8, 8))
    assert written.note == "Sides differ from 8 x 8 by multiples of 2."
    x = torch.randn(1, 2, 9, 9)
    with torch.no_grad():
        assert run(tmp_path / "net.onnx", x).shape != by_parity(x).shape  # what the step protects from


@pytest.mark.parametrize(
    "function", [lambda x: x if x.shape[0] < 100 else 2 * x, lambda x: x * torch.tensor(float(x.shape[0]))]
)
def test_what_depends_on_the_batch_size_is_refused(function, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match="Nothing was written"):
        to_onnx(Call(function), path, (1, 2, 8, 8))
    assert path.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_wrong_fold_is_refused(tmp_path, monkeypatch):
    """The file is compared with the network, not with what it was made from."""
    net = season(ten_lines()[:2]).float()

    def wrong(net):
        plain = pdo.export(net)
        plain[0].weight.data = plain[0].weight.flip(3)  # as if filters were for convolution, not cross-correlation
        return plain

    monkeypatch.setattr(onnx_file, "export", wrong)
    with pytest.raises(ValueError, match="have different outputs for"):
        to_onnx(net, tmp_path / "net.onnx", (1, 3, 12, 12), sizes="fixed")
    assert not list(tmp_path.iterdir())


def test_wrong_numbers_of_onnxruntime_are_refused(tmp_path, monkeypatch):
    """A thousandth off is too much."""

    class Off:
        def __init__(self, model):
            self.real = session(model)

        def run(self, names, inputs):
            return [self.real.run(names, inputs)[0] * (1 + 1e-3)]

    monkeypatch.setattr(onnx_file, "session", Off)
    with pytest.raises(ValueError, match="onnxruntime and the network have different outputs"):
        to_onnx(nn.Conv2d(2, 2, 3), tmp_path / "net.onnx", (1, 2, 8, 8), sizes="fixed")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_domain_fixes_the_size(tmp_path):
    cells = torch.zeros(9, 9, dtype=torch.bool)
    cells[1:8, 1:8] = True
    net = season(PreActResNet(C4, widths=(1, 2), units=1, in_channels=2, domain=cells.numpy())).float()
    written = to_onnx(net, tmp_path / "net.onnx", (1, 2, 9, 9))
    assert written.shape == ("batch", 2, 9, 9)
    x = torch.randn(3, 2, 9, 9)
    assert relative(run(tmp_path / "net.onnx", x), net(x)) < 1e-4


def test_the_network_stays_as_it_is(tmp_path):
    net = ten_lines()[:2].train()
    before = copy.deepcopy(net.state_dict())
    to_onnx(net, tmp_path / "net.onnx", (1, 3, 9, 9), sizes="fixed", opset=20)
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert onnx.load(tmp_path / "net.onnx").opset_import[0].version == 20


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"shape": (3, 8)}, r"expected shape \(1, channels, \*space\)"),
        ({"shape": (1, 3, 0, 8)}, "whole numbers >= 1"),
        ({"sizes": "any"}, "must be 'free', 'fixed' or None"),
        ({"opset": 17}, "opset must be 18 to 25"),
    ],
)
def test_arguments(change, match, tmp_path):
    arguments = {"path": tmp_path / "net.onnx", "shape": (1, 3, 8, 8), **change}
    with pytest.raises(ValueError, match=match):
        to_onnx(ten_lines(), **arguments)
    with pytest.raises(ValueError, match="is a folder: name a file"):
        to_onnx(ten_lines(), tmp_path, (1, 3, 8, 8))


def test_two_outputs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="returns one tensor"):
        to_onnx(Call(lambda x: (x, x)), tmp_path / "net.onnx", (1, 3, 8, 8), sizes="fixed")


def test_transposed_convolutions_are_folded():
    net = UNet()
    net = season(net)
    plain = pdo.export(net)
    x = torch.randn(2, 2, 8, 10, dtype=torch.float64)
    assert relative(plain(x), net(x)) < 1e-12
    assert type(plain.up) is nn.ConvTranspose2d
    assert type(plain.finer) is nn.Upsample
    field = C4.regular(1)
    both = season(pdo.Sequential(PDOConvTranspose2d(field, field), pdo.BatchNorm2d(field)))
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    folded = pdo.export(both)
    assert [type(part) for part in folded] == [nn.ConvTranspose2d]
    assert relative(folded(x), both(x)) < 1e-12
