import pytest
import torch
from conftest import relative
from torch import nn

import pdoconv as pdo
from pdoconv.convert import convert
from pdoconv.export import to_onnx

C8 = pdo.cyclic(8)


def warmed(net, *shape):
    """Give BatchNorm statistics that matter."""
    net.train()
    for part in net.modules():
        if isinstance(part, pdo.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    for _ in range(3):
        net(torch.randn(4, *shape) * 2 + 1)
    return net.eval()


def modules_of(net):
    return {type(m) for m in net.modules()}


def test_small_net_becomes_ordinary():
    net = warmed(pdo.models.mnist_small(), 1, 28, 28)
    plain = pdo.export(net)
    x = torch.randn(3, 1, 28, 28)
    assert relative(plain(x), net(x)) < 1e-5
    assert modules_of(plain) == {nn.Sequential, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten}
    assert not any(p.requires_grad for p in plain.parameters())
    assert any(p.requires_grad for p in net.parameters())


class Residual(nn.Module):
    """Pre-activation: only the inner norm follows a convolution that nothing else reads."""

    def __init__(self):
        super().__init__()
        field = C8.regular(2)
        self.lift = pdo.PDOConv2d(C8.trivial(3), field, padding=2)
        self.norms = nn.ModuleList(pdo.BatchNorm2d(field) for _ in range(2))
        self.convs = nn.ModuleList(pdo.PDOConv2d(field, field, padding=2) for _ in range(2))
        self.tail = pdo.Sequential(
            pdo.FieldDropout(field), pdo.BlurPool2d(field), pdo.AvgPool2d(field, 3, stride=2), pdo.GroupPool(field)
        )

    def forward(self, x):
        x = self.lift(x)
        y = self.convs[0](self.norms[0](x).relu())
        return self.tail(x + self.convs[1](self.norms[1](y).relu()))


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_residual_net(reduction):
    net = Residual()
    net.tail[-1].reduction = reduction
    warmed(net, 3, 13, 13)
    plain = pdo.export(net)
    x = torch.randn(2, 3, 13, 13)
    assert relative(plain(x), net(x)) < 1e-5
    assert relative(pdo.export(net.double())(x.double()), net(x.double())) < 1e-12
    assert not any(type(m).__module__.startswith("pdoconv") for m in plain.modules())
    assert isinstance(plain.norms[0], nn.BatchNorm2d)  # its input is read by the shortcut too
    assert isinstance(plain.norms[1], nn.Identity)


def test_untraceable_net_keeps_its_norm():
    class Depends(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = pdo.Sequential(pdo.PDOConv2d(C8.trivial(1), C8.regular(1)), pdo.BatchNorm2d(C8.regular(1)))

        def forward(self, x):
            return self.body(x) if x.sum() > 0 else self.body(-x)

    net = warmed(Depends(), 1, 9, 9)
    with pytest.warns(UserWarning, match="cannot be traced, BatchNorm is not folded"):
        plain = pdo.export(net)
    x = torch.rand(1, 1, 9, 9)
    assert relative(plain(x), net(x)) < 1e-5


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_geometry_is_kept(mode):
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(2), stride=2, padding=2, dilation=2, padding_mode=mode)
    x = torch.randn(1, 1, 15, 15)
    assert relative(pdo.export(layer)(x), layer(x)) < 1e-6


def test_norm_without_statistics():
    with pytest.raises(ValueError, match="track_running_stats=True"):
        pdo.export(pdo.BatchNorm2d(C8.regular(1), track_running_stats=False))


@pytest.mark.filterwarnings("default")
def test_onnx_file(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = warmed(pdo.models.mnist_small(), 1, 28, 28)
    path = tmp_path / "net.onnx"
    to_onnx(net, path, (1, 1, 28, 28))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1, 5):  # any batch size
        x = torch.randn(batch, 1, 28, 28)
        assert relative(session.run(None, {"x": x.numpy()})[0], net(x)) < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    with pytest.raises(FileNotFoundError, match="make it first"):
        to_onnx(net, tmp_path / "no" / "net.onnx", (1, 1, 28, 28))


class Skip(pdo.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Indexed(nn.Module):
    """Counts on the places of its layers, and calls one layer by two names."""

    def __init__(self):
        super().__init__()
        field = C8.regular(1)
        self.body = nn.Sequential(pdo.PDOConv2d(field, field, padding=2), pdo.BatchNorm2d(field), nn.ReLU(), nn.Tanh())
        self.again = self.body[0]

    def forward(self, x):
        return self.again(self.body[3](self.body[2](self.body[1](self.body[0](x)))))


@pytest.mark.parametrize("make", [lambda: Skip(pdo.PDOConv2d(C8.regular(1), C8.regular(1), padding=2)), Indexed])
def test_own_forward_is_kept(make):
    net = warmed(make(), 8, 9, 9)
    plain = pdo.export(net)
    x = torch.randn(2, 8, 9, 9)
    assert relative(plain(x), net(x)) < 1e-5
    assert not any(isinstance(m, pdo.nn.GroupConv | pdo.nn.BatchNorm) for m in plain.modules())


def test_synchronised_networks_export_as_others():
    """The layers of torch that `synchronise` replaced are folded again."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    net[1].running_mean.uniform_()
    x = torch.randn(2, 2, 7, 7)
    plain = pdo.export(pdo.nn.synchronise(net))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in plain.modules())
    assert relative(plain(x), net.eval()(x)) < 1e-6
    assert type(net[1]).__name__ == "SynchronisedBatchNorm2d"  # the net itself stays as it is


def test_converted_networks_are_folded():
    """BatchNorm goes into the convolution of stacks that it alone reads: plain, depthwise and transposed."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 2, stride=2), nn.BatchNorm2d(3, affine=False), nn.ReLU(), nn.BatchNorm2d(3),
    )  # fmt: skip
    twin = convert(net, "p4", output="regular", example=torch.zeros(1, 2, 8, 8))
    for part in twin.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 1.5)
    twin = twin.double().eval()
    plain, x = pdo.export(twin), torch.randn(2, 2, 8, 10, dtype=torch.float64)
    assert relative(plain(x), twin(x)) < 1e-12
    assert sum(isinstance(part, nn.BatchNorm2d) for part in twin.modules()) == 4
    assert sum(isinstance(part, nn.BatchNorm2d) for part in plain.modules()) == 1  # the last one follows no convolution


def test_networks_with_a_pde_are_folded_beside_it():
    """What cannot be traced holds no BatchNorm, so it is stepped over."""
    field = C8.regular(1)
    rate = pdo.Sequential(pdo.PDOConv2d(field, field, padding=2), nn.ELU())
    net = pdo.Sequential(pdo.PDOConv2d(C8.trivial(1), field), pdo.BatchNorm2d(field), pdo.pde.PDEBlock(rate, steps=2))
    warmed(net, 1, 12, 12)
    x = torch.randn(2, 1, 12, 12)
    plain = pdo.export(net)
    assert relative(plain(x), net(x)) < 1e-5
    assert not any(isinstance(part, nn.BatchNorm2d) for part in plain.modules())
