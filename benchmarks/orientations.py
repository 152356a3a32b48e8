"""A published network and its equivariant twins on orientations that they were not trained on.

    python benchmarks/orientations.py                   # CIFAR-10; minutes on a GPU, days on two cores
    python benchmarks/orientations.py --images 512 --test-images 256 --epochs 1 --result /tmp/try.json

ResNet-18 of MONAI in the layout for small images (first layer 3x3, no pooling) is trained on CIFAR-10 as it is, on
turned images, and converted by `pdo.convert` to as many parameters. All see the same images in the same order, for as
many epochs, with the same settings, of which none was searched for. Everything outside the inscribed disc is grey, in
training and in tests, so that a turned image holds nothing new. Test images turned by multiples of 90 degrees are
exact, others are interpolated bilinearly, which blurs them. Last weights, test set read once by each network. Written
after each network.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

import pdoconv as pdo
from pdoconv.data import Augment, cifar10
from pdoconv.measure import multiply_adds
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

SYSTEMS: dict[str, tuple[str, str, float]] = {
    "plain": ("ResNet-18", "", 0.0),
    "plain-turned": ("ResNet-18, trained on turned images", "", 180.0),
    "p4": ("its twin, p4", "p4", 0.0),
    "p8": ("its twin, p8", "p8", 0.0),
}
"""Title, group, largest angle in training."""
ANGLES = tuple(range(0, 360, 15))
CLASSES = 10


def network(group: str) -> nn.Module:
    """Return MONAI's network, or its twin."""
    from monai.networks.nets import resnet18

    torch.manual_seed(0)
    net = resnet18(
        spatial_dims=2,
        n_input_channels=3,
        num_classes=CLASSES,
        conv1_t_size=3,
        conv1_t_stride=1,
        no_max_pool=True,
        bias_downsample=False,
    )
    return pdo.convert(net, group, example=torch.zeros(2, 3, 32, 32)) if group else net


def disc(x: Tensor) -> Tensor:
    """Set what lies outside the inscribed disc to 0, the mean grey."""
    side = x.shape[-1]
    at = torch.arange(side, device=x.device) - (side - 1) / 2
    return x * (at[:, None] ** 2 + at**2 <= (side / 2) ** 2)


def turned(x: Tensor, degrees: float) -> Tensor:
    """Turn images counter-clockwise about the centre; by multiples of 90 degrees without interpolation."""
    if degrees % 90 == 0:
        return torch.rot90(x, int(degrees // 90), (2, 3))
    draws = torch.zeros(len(x), 7)
    draws[:, 3] = degrees
    return Augment(rotate=180.0)(x, draws)


def train(net: nn.Module, x: Tensor, y: Tensor, rotate: float, options: argparse.Namespace) -> float:
    """Train a network; return seconds."""
    augment = Augment(crop=4, flip=True, rotate=rotate)
    optimizer = torch.optim.SGD(net.parameters(), lr=options.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = len(x) // options.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=options.epochs * steps)
    rng = np.random.default_rng(options.seed)
    net.train()
    start = time.perf_counter()
    for epoch in range(options.epochs):
        order = torch.from_numpy(rng.permutation(len(x))).to(x.device)
        draws = augment.draw(rng, len(x)).to(x.device)
        for i in range(steps):
            pick = order[i * options.batch : (i + 1) * options.batch]
            images = disc(augment(x[pick], draws[pick])).contiguous(memory_format=torch.channels_last)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=options.bfloat16):
                loss = F.cross_entropy(net(images).float(), y[pick], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if i % 20 == 0:
                print(f"\r  epoch {epoch + 1}, step {i}/{steps}, loss {loss.item():.3f}", end="", file=sys.stderr)
        print(f"  {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return time.perf_counter() - start


@torch.no_grad()
def errors(net: nn.Module, x: Tensor, y: Tensor, bfloat16: bool) -> dict[str, float]:
    """Return the test error in percent at every angle."""
    net.eval()
    found = {}
    for degrees in ANGLES:
        wrong = 0
        for images, labels in zip(x.split(500), y.split(500), strict=True):
            images = disc(turned(images, degrees)).contiguous(memory_format=torch.channels_last)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
                wrong += int((net(images).argmax(1) != labels).sum())
        found[str(degrees)] = 100 * wrong / len(x)
    return found


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw the error over the angle."""
    figure = Figure(figsize=(8, 4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row in content["rows"]:
        values = [*row["error_percent"].values(), row["error_percent"]["0"]]
        axes.plot([*ANGLES, 360], values, marker="o", markersize=3, label=f"{row['title']}: {row['parameters']:,}")
    axes.set(xlabel="test images turned by, degrees", ylabel="test error, %", ylim=(0, None), xticks=range(0, 361, 45))
    axes.grid(True, alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, title="network: parameters")
    figure.savefig(path)


def main() -> None:
    """Train and test the networks asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--float32", dest="bfloat16", action="store_false")
    parser.add_argument("--result", type=Path, default=Path("results/orientations.json"))
    options = parser.parse_args()
    origin = provenance()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = cifar10()
    parts = data.train.images, data.valid.images
    mean, std = (
        torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
    )

    def tensor(images: np.ndarray) -> Tensor:
        return ((torch.from_numpy(images).float() - mean) / std).to(device)

    x = torch.cat([tensor(part) for part in parts])[: options.images]
    y = torch.cat([torch.from_numpy(s.labels) for s in (data.train, data.valid)]).long().to(device)[: options.images]
    test_x = tensor(data.test.images)[: options.test_images]
    test_y = torch.from_numpy(data.test.labels).long().to(device)[: options.test_images]
    content: dict[str, Any] = {
        "data": "CIFAR-10, inscribed disc",
        "train_images": len(x),
        "test_images": len(test_x),
        "settings": {k: v for k, v in vars(options).items() if k not in ("result", "systems")},
        "selection": "last weights, no setting searched for; test set read once",
        "rows": [],
        **origin,
    }
    for name in options.systems:
        title, group, rotate = SYSTEMS[name]
        print(title, file=sys.stderr, flush=True)
        net = network(group)
        work = multiply_adds(net.eval(), (3, 32, 32))
        net = net.to(device, memory_format=torch.channels_last)
        seconds = train(net, x, y, rotate, options)
        found = errors(net, test_x, test_y, options.bfloat16)
        content["rows"].append(
            {
                "system": name,
                "title": title,
                "group": group,
                "largest_angle_in_training": rotate,
                "parameters": sum(p.numel() for p in net.parameters()),
                "multiply_adds": work,
                "train_seconds": round(seconds, 1),
                "error_percent": found,
                "upright": found["0"],
                "quarter_turns": float(np.mean([found[a] for a in ("90", "180", "270")])),
                "any_angle": float(np.mean(list(found.values()))),
            }
        )
        row = content["rows"][-1]
        print({k: v for k, v in row.items() if k != "error_percent"}, flush=True)
        write_json(options.result, content)
        draw(content, options.result.with_suffix(".png"))
    print(f"Written: {options.result}, {options.result.with_suffix('.png')}")


if __name__ == "__main__":
    main()
