"""Published and hand-written networks, converted: sizes, errors, ONNX, speed, in one table.

    python benchmarks/convert.py            # results/convert.json; about ten minutes on two cores
    python benchmarks/convert.py --networks lenet --result lenet.json

Needs `monai` and `transformers` (extra `dev`).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pdoconv as pdo
from pdoconv.export import to_onnx
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance


class LeNet(nn.Module):
    """LeCun et al. (1998), with ReLU: linear layers over whole maps."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.conv1, self.conv2, self.pool = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.pool(F.relu(self.conv2(self.pool(F.relu(self.conv1(x))))))
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class Bottleneck(nn.Module):
    """MobileNet-like: depthwise, squeeze and excitation, a residual sum."""

    def __init__(self, channels: int) -> None:
        """Make the layers."""
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(channels, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels))
        self.depth = nn.Conv2d(4 * channels, 4 * channels, 3, padding=1, groups=4 * channels)
        self.squeeze, self.excite = nn.Linear(4 * channels, channels), nn.Linear(channels, 4 * channels)
        self.reduce = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        y = F.silu(self.depth(F.silu(self.expand(x))))
        gate = self.excite(F.silu(self.squeeze(y.mean((2, 3))))).sigmoid()
        return x + self.reduce(y * gate[..., None, None])


def mobile() -> nn.Module:
    stem = [nn.Conv2d(3, 24, 3, 2, 1), nn.SiLU(), Bottleneck(24), nn.MaxPool2d(3, 2, 1), Bottleneck(24)]
    return nn.Sequential(*stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))


def dncnn() -> nn.Module:
    inner = [part for _ in range(4) for part in (nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), *inner, nn.Conv2d(32, 1, 3, padding=1))


def monai(name: str, *arguments: Any, **keywords: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from monai.networks import nets

        return getattr(nets, name)(*arguments, **keywords)

    return make


def transformers(name: str, **keywords: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers as package

        return getattr(package, f"{name}ForImageClassification")(getattr(package, f"{name}Config")(**keywords))

    return make


class Network(NamedTuple):
    """A network, the shape of its example, and the group."""

    title: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    group: str


NETWORKS = {
    "lenet": Network("LeNet-5", LeNet, (1, 1, 32, 32), "p8"),
    "mobile": Network("hand-written: depthwise, squeeze-excitation", mobile, (1, 3, 64, 64), "p8"),
    "dncnn": Network("hand-written: DnCNN type", dncnn, (1, 1, 48, 48), "p4m"),
    "monai-unet": Network(
        "MONAI UNet",
        monai("UNet", 2, 1, 2, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2),
        (1, 1, 64, 64),
        "p8",
    ),
    "monai-unet-3d": Network(
        "MONAI UNet in space",
        monai("UNet", 3, 1, 2, channels=(16, 32, 64), strides=(2, 2), num_res_units=2),
        (1, 1, 16, 16, 16),
        "O",
    ),
    "monai-densenet121": Network("MONAI DenseNet121", monai("DenseNet121", 2, 3, 10), (1, 3, 64, 64), "p8"),
    "monai-resnet18": Network(
        "MONAI resnet18", monai("resnet18", spatial_dims=2, n_input_channels=3, num_classes=10), (1, 3, 64, 64), "p8"
    ),
    "hf-resnet": Network(
        "transformers ResNet-18",
        transformers(
            "ResNet", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=10
        ),
        (1, 3, 64, 64),
        "p8",
    ),
    "hf-convnext": Network(
        "transformers ConvNeXt, atto",
        transformers("ConvNext", hidden_sizes=[40, 80, 160, 320], depths=[2, 2, 6, 2], num_labels=10),
        (1, 3, 64, 64),
        "p8",
    ),
}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    heads = ("network", "group", "parameters", "multiply-adds, millions", "quarter turn", "45 degrees", "time", "ONNX")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        before, after = row["parameters"]
        work = [count / 1e6 for count in row["multiply_adds"]]
        errors, onnx = row["errors"], row["onnx"]
        sizes = "one size" if "height" not in onnx["input"] else "sizes in steps" if onnx["note"] else "any size"
        cells = (
            row["title"],
            row["group"],
            f"{before:,} to {after:,}",
            f"{work[0]:,.1f} to {work[1]:,.1f}",
            f"{row['error_quarter_turn_before']:.1e} to {errors['90 degrees']:.1e}",
            f"{errors['45 degrees']:.1e}" if "45 degrees" in errors else "-",
            f"{row['slower']:.1f} times",
            sizes,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


class Tensors(nn.Module):
    """The one tensor that a network returns, whatever it packs it into."""

    def __init__(self, net: nn.Module) -> None:
        """Keep the network."""
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor."""
        y = self.net(x)
        return y if isinstance(y, Tensor) else y.logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--result", type=Path, default=Path("results/convert.json"))
    asked = parser.parse_args()
    rows = []
    for name in asked.networks:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append({"network": name, **measured(NETWORKS[name])})
        print({key: value for key, value in rows[-1].items() if key != "title"}, flush=True)
    write_json(asked.result, {"rows": rows, **provenance()})


def measured(network: Network) -> dict[str, Any]:
    torch.manual_seed(0)
    net, example = network.make(), torch.zeros(network.shape)
    begun = time.perf_counter()
    twin = pdo.convert(net, network.group, example=example)
    seconds = time.perf_counter() - begun
    lively(net)
    lively(twin)
    report = pdo.conversion_report(twin)
    quarter = next(m for m in twin.group.matrices[1:] if abs(m.trace() - (twin.group.dim - 2)) < 1e-9)
    types = {"in_type": twin.in_type, "out_type": twin.out_type}
    plain_error = pdo.equivariance_error(Tensors(net), quarter, size=network.shape[-1], samples=2, **types)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twin.onnx"
        file = to_onnx(twin, path, network.shape)
        size = path.stat().st_size
    plain, folded = net.eval(), pdo.export(twin)
    x = torch.randn(4, *network.shape[1:])
    times = [(timed(plain, x), timed(folded, x)) for _ in range(5)]
    return {
        "title": network.title,
        "group": twin.group.name,
        "shape": list(network.shape[1:]),
        "parameters": list(report.parameters),
        "multiply_adds": list(report.products),
        "seconds_to_convert": round(seconds, 2),
        "error_quarter_turn_before": plain_error,
        "errors": report.errors,
        "notes": report.notes,
        "onnx": {"input": list(file.shape), "opset": file.opset, "note": file.note, "bytes": size},
        "milliseconds_an_image": [statistics.median(column) * 250 for column in zip(*times, strict=True)],
        "slower": statistics.median(after / before for before, after in times),
    }


def lively(net: nn.Module) -> None:
    """Give normalisation statistics that matter."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.normal_(part.running_mean, std=0.1)


def timed(net: nn.Module, x: Tensor) -> float:
    """Return seconds for a batch."""
    with torch.inference_mode():
        net(x)
        begun = time.perf_counter()
        net(x)
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
