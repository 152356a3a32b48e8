"""Converting networks that others published: MONAI's and those of transformers, in small sizes."""

import pytest
import torch
from conftest import relative
from torch import nn
from torch.utils._pytree import tree_leaves

import pdoconv as pdo
from pdoconv.export import to_onnx

pytestmark = pytest.mark.filterwarnings("default")  # these packages have their own

GRAY, COLOUR, VOLUME = (1, 1, 32, 32), (1, 3, 64, 64), (1, 1, 16, 16, 16)


def monai(name, *arguments, **keywords):
    return lambda: getattr(pytest.importorskip("monai.networks.nets"), name)(*arguments, **keywords)


def transformers(name, **keywords):
    def make():
        package = pytest.importorskip("transformers")
        config = getattr(package, f"{name}Config")(num_labels=5, **keywords)
        return getattr(package, f"{name}ForImageClassification")(config)

    return make


SMALL = {"hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 1, 1]}
NETS = {
    "UNet": (monai("UNet", 2, 1, 2, channels=(16, 32, 64), strides=(2, 2), num_res_units=2), GRAY),
    "UNet in space": (monai("UNet", 3, 1, 2, channels=(8, 16), strides=(2,), num_res_units=1), VOLUME),
    "DenseNet": (monai("DenseNet", 2, 3, 5, init_features=16, growth_rate=8, block_config=(2, 2)), COLOUR),
    "ResNet of MONAI": (
        monai("ResNet", "basic", [1, 1, 1, 1], [16, 16, 32, 32], spatial_dims=2, n_input_channels=3, num_classes=5),
        COLOUR,
    ),
    "SegResNet": (monai("SegResNet", 2, init_filters=8, in_channels=1, out_channels=2), GRAY),
    "AttentionUnet": (monai("AttentionUnet", 2, 1, 2, channels=(8, 16), strides=(2,)), GRAY),
    "BasicUNet": (monai("BasicUNet", 2, 1, 2, features=(8, 8, 16, 16, 32, 8)), GRAY),
    "DynUNet": (monai("DynUNet", 2, 1, 2, [3, 3], [1, 2], [2], filters=[8, 16]), GRAY),
    "SEResNet": (monai("SEResNet50", spatial_dims=2, in_channels=3, num_classes=5, layers=(1, 1, 1, 1)), COLOUR),
    "EfficientNet": (
        monai("EfficientNetBN", "efficientnet-b0", pretrained=False, in_channels=3, num_classes=5),
        COLOUR,
    ),
    "ResNet": (transformers("ResNet", embedding_size=16, **SMALL), COLOUR),
    "ConvNext": (transformers("ConvNext", **SMALL), COLOUR),
    "ConvNextV2": (transformers("ConvNextV2", **SMALL), COLOUR),
    "RegNet": (transformers("RegNet", embedding_size=16, groups_width=8, **SMALL), COLOUR),
    "MobileNetV1": (transformers("MobileNetV1", depth_multiplier=0.25), COLOUR),
    "MobileNetV2": (transformers("MobileNetV2", depth_multiplier=0.35), COLOUR),
    "PoolFormer": (transformers("PoolFormer", **SMALL), COLOUR),
}
HEAVY = ("SEResNet", "EfficientNet", "MobileNetV1", "MobileNetV2", "DynUNet", "AttentionUnet")
FEW = [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in NETS]


@pytest.mark.parametrize("name", FEW)
def test_converts_obeys_and_learns(name):
    make, shape = NETS[name]
    net = make()
    twin = pdo.convert(net, "p4" if len(shape) == 4 else "O", example=torch.zeros(shape))
    report = pdo.conversion_report(twin, samples=1)
    exact = [error for motion, error in report.errors.items() if motion in ("90 degrees", "120 degrees")]
    assert exact
    assert max(exact) < 2e-5
    assert abs(report.parameters[1] / report.parameters[0] - 1) < 0.2
    twin.train()
    optimizer = torch.optim.SGD(twin.parameters(), 1e-3)
    output = twin(torch.randn(2, *shape[1:]))
    sum(y.square().mean() for y in tree_leaves(output) if isinstance(y, torch.Tensor)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in twin.parameters())
    optimizer.step()


@pytest.mark.parametrize("name", ["UNet", "DenseNet", "ResNet", "ConvNext"])
def test_onnx(name, tmp_path):
    """Any batch, and sides in the steps of the network's strides; outputs are compared while writing."""
    make, shape = NETS[name]
    twin = pdo.convert(make(), "p4", example=torch.zeros(shape)).eval()
    for part in twin.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 2)
    file = to_onnx(twin, tmp_path / "twin.onnx", shape)
    assert file.shape[0] == "batch"
    assert file.shape[2:] == ("height", "width")


def test_onnx_of_whole_maps_has_one_size(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8 * 7 * 7, 5))
    file = to_onnx(pdo.convert(net, "p4", example=torch.zeros(1, 1, 30, 30)), tmp_path / "twin.onnx", (1, 1, 30, 30))
    assert file.shape == ("batch", 1, 30, 30)
    assert "fixed to 30 x 30" in file.note


def test_loss_of_the_network_itself():
    """Labels are repeated with the images: the loss is the mean over the orientations."""
    package = pytest.importorskip("transformers")
    net = package.ResNetForImageClassification(package.ResNetConfig(num_labels=5, embedding_size=16, **SMALL))
    twin = pdo.convert(net, "p4", example=torch.zeros(COLOUR)).eval()
    x, labels = torch.randn(3, 3, 64, 64), torch.tensor([0, 1, 2])
    found = twin(x, labels=labels)
    assert found.loss.shape == ()
    assert relative(found.logits, twin(pixel_values=x).logits) < 1e-5
    assert float(found.loss) >= float(nn.functional.cross_entropy(found.logits, labels)) - 1e-6  # Jensen
