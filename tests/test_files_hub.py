"""Networks with this package's layers and the Hugging Face Hub's mixin: local folders, no network."""

import json

import pytest
import torch
from torch import nn

import pdoconv as pdo

hub = pytest.importorskip("huggingface_hub")
Mixin = hub.PyTorchModelHubMixin
C8 = pdo.cyclic(8)


class Net(nn.Module, Mixin):
    """As the Hub's documentation has it, with this package's layers."""

    def __init__(self, fields: int = 2, classes: int = 3):
        super().__init__()
        hidden = C8.regular(fields)
        self.body = pdo.Sequential(
            pdo.PDOConv2d(C8.trivial(1), hidden, padding=2), pdo.BatchNorm2d(hidden), nn.ReLU(), pdo.GroupPool(hidden)
        )
        self.head = nn.Linear(fields, classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Residual(pdo.models.PreActResNet, Mixin):
    """A class of this package: arguments that the Hub's config.json can hold."""

    def __init__(self, group: str = "p8", **arguments):
        super().__init__(pdo.group(group), **arguments)


class ByName(nn.Sequential, Mixin):
    """Any network of `pdoconv.models.create`, by two lines."""

    def __init__(self, name: str, arguments: dict | None = None):
        super().__init__(pdo.models.create(name, **(arguments or {})))


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


SMALL = {"group": "D4", "filters": "gaussian", "widths": [2, 2, 2], "units": 1}
CASES = {
    "own": (lambda: Net(fields=3), Net, (1, 1, 9, 9), {"fields": 3}),
    "residual": (
        lambda: Residual("D4", widths=[2, 2, 2], units=1, layout="symmetric"),
        Residual,
        (1, 3, 17, 17),
        {"group": "D4"},
    ),
    "by name": (lambda: ByName("pdo-resnet44-p8", SMALL), ByName, (1, 3, 17, 17), {"arguments": SMALL}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("default")  # the hub's own
def test_save_and_load(name, tmp_path):
    make, kind, shape, config = CASES[name]
    net = make()
    for buffer in net.buffers():
        if buffer.is_floating_point() and buffer.dim() == 1:
            buffer.uniform_(0.5, 1.5)
    net.eval().save_pretrained(tmp_path)
    found = json.loads((tmp_path / "config.json").read_text())
    assert config.items() <= found.items()
    again = kind.from_pretrained(tmp_path)
    assert not again.training
    x = torch.randn(shape)
    with torch.no_grad():
        assert torch.equal(again(x), net(x))
        assert not torch.equal(make().eval()(x), net(x))  # the control: another draw


@pytest.mark.filterwarnings("default")
def test_saved_either_way(tmp_path):
    """A network with the mixin is code of its own: `pdoconv.load` fills it."""
    net = Net()
    pdo.save(net, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"load\(path, model=net\)"):
        pdo.load(tmp_path / "net.safetensors")
    again = pdo.load(tmp_path / "net.safetensors", model=Net())
    x = torch.randn(1, 1, 9, 9)
    assert torch.equal(again.eval()(x), net.eval()(x))
    net.save_pretrained(tmp_path / "hub")
    with pytest.raises(ValueError, match=r"no document of pdoconv\.save"):
        pdo.load(tmp_path / "hub" / "model.safetensors", model=Net())
