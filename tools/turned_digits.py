"""What an invariant network and a plain CNN make of turned digits, both trained alike on upright ones.

    python tools/turned_digits.py     # about three minutes; writes results/turned-digits.json for the picture `hero`

Five convolutions of 5x5 each, about as many parameters. No setting was searched for; the last weights are measured.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawing.digits import digits
from torch import Tensor, nn

import pdoconv as pdo
from pdoconv.data.mnist_rot import rotate
from pdoconv.progress import progress
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

TRAIN, TEST, EPOCHS, BATCH = 6000, 1000, 6, 64
ANGLES = tuple(range(0, 360, 15))
RESULT = Path(__file__).parents[1] / "results" / "turned-digits.json"


def main() -> None:
    """Train, measure, write."""
    images, labels = digits("train")
    tested, answers = digits("test")
    systems = {}
    for name, net in networks().items():
        train(net, images[:TRAIN], labels[:TRAIN], f"training {name}")
        shares = recognised(net, tested[:TEST], answers[:TEST])
        systems[name] = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "error_percent": [round(100 * (1 - share), 1) for share in shares],
        }
        print(f"{name}: error {systems[name]['error_percent']}", file=sys.stderr)
    settings = {"train_images": TRAIN, "test_images": TEST, "epochs": EPOCHS, "batch": BATCH, "lr": 1e-2, "seed": 0}
    write_json(RESULT, {"settings": settings, "angles": ANGLES, "systems": systems, **provenance()})


def networks() -> dict[str, nn.Module]:
    """Return an invariant network of C8 and a plain CNN of the same layout, untrained."""
    torch.manual_seed(0)
    group = pdo.cyclic(8)
    hidden = group.regular(6)
    turning: list[nn.Module] = []
    plain: list[nn.Module] = []
    for number in range(5):
        turning += [pdo.PDOConv2d(hidden if number else group.trivial(1), hidden, padding=1)]
        turning += [pdo.BatchNorm2d(hidden), nn.ReLU()]
        plain += [nn.Conv2d(12 if number else 1, 12, 5, padding=1), nn.BatchNorm2d(12), nn.ReLU()]
        if number == 1:
            turning.append(pdo.MaxPool2d(hidden, 2))
            plain.append(nn.MaxPool2d(2))
    mean = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    turning += [pdo.GroupPool(hidden), *mean, nn.Linear(6, 10)]
    return {"pdoconv, C8": pdo.Sequential(*turning), "plain CNN": nn.Sequential(*plain, *mean, nn.Linear(12, 10))}


def train(net: nn.Module, images: Tensor, labels: Tensor, title: str) -> None:
    """Train a network: AdamW, one cycle of the learning rate."""
    steps = EPOCHS * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    stream = torch.Generator().manual_seed(0)
    for _ in progress(range(steps), total=steps, title=title):
        pick = torch.randint(len(images), (BATCH,), generator=stream)
        loss = nn.functional.cross_entropy(net(images[pick]), labels[pick])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    net.eval()


def recognised(net: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Return, for each angle, the share of digits that the network names rightly; digits are turned bilinearly."""
    raw: Any = (images[:, 0] * 255).round().byte().numpy()
    found = []
    for angle in ANGLES:
        moved = torch.from_numpy(rotate(raw, np.full(len(raw), np.deg2rad(angle))))[:, None].float() / 255
        with torch.no_grad():
            found.append(float((net(moved).argmax(1) == labels).float().mean()))
    return found


if __name__ == "__main__":
    main()
