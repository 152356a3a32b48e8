"""The playground's networks: trained alike on upright digits, measured at every angle, written for the browser.

Two classifiers of equal parameters, one equivariant, one ordinary, learn from the same upright digits of MNIST, which
are turned by at most 22.5 degrees (half the step of C8), shifted and scaled a little. Two such pictures of a digit lie
side by side, and what their logits differ by is penalised, for both networks alike. No setting was chosen on test
digits; the last weights are measured, once. Goes on where it was stopped.

    python benchmarks/playground.py    # results/playground.json and what src/pdoconv/playground/static/models holds
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import pdoconv
from pdoconv.data.files import array_hash
from pdoconv.data.mnist import Digits
from pdoconv.data.mnist import mnist as all_of_mnist
from pdoconv.measure.cost import multiply_adds
from pdoconv.playground.families import FAMILIES, layer_errors
from pdoconv.playground.networks import ANGLES, NETWORKS, SIDE, turned
from pdoconv.playground.written import write_models
from pdoconv.progress import progress
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance
from pdoconv.writing import whole_file

KEPT = 10_000  # last training digits of MNIST, on which settings were chosen
MODELS = Path(pdoconv.__file__).parent / "playground" / "static" / "models"


@dataclass(frozen=True)
class Settings:
    """How both networks are trained.

    Attributes:
        digits: Pictures of an epoch, of digits drawn from the first 50,000 of MNIST.
        views: Pictures of a digit, side by side.
        epochs: How often.
        batch: Digits of a step.
        lr: Highest learning rate of the one cycle.
        weight_decay: Of AdamW.
        constancy: Weight of the variance of the logits between views of a digit.
        smoothing: Of the labels.
        degrees: Largest turn, either way.
        shift: Largest shift in pixels, either way.
        scale: Smallest and largest size.
        seed: Of weights, order and pictures.
    """

    digits: int = 50_000
    views: int = 2
    epochs: int = 3
    batch: int = 64
    lr: float = 1e-2
    weight_decay: float = 0.1
    constancy: float = 0.3
    smoothing: float = 0.1
    degrees: float = 22.5
    shift: float = 1.0
    scale: tuple[float, float] = (0.85, 1.1)
    seed: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    parser.add_argument("--digits", type=int, default=Settings.digits)
    parser.add_argument("--upright", type=int, default=10_000, help="test digits for the error upright")
    parser.add_argument("--angles", type=int, default=1_000, help="test digits that are turned to every angle")
    parser.add_argument("--runs", type=Path, default=Path("runs/playground"))
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--result", type=Path, default=Path("results/playground.json"))
    asked = parser.parse_args()
    settings = Settings(epochs=asked.epochs, digits=asked.digits)
    training, test = mnist()
    nets, known = train(training, settings, asked.runs / "state.pt")
    found = measured(nets, test, asked.upright, asked.angles)
    content = {
        "data": {
            "training": "the first 50,000 training digits of MNIST, upright",
            "kept_for_settings": f"the last {KEPT:,} training digits",
            "test": f"error upright: the first {asked.upright:,} test digits; other angles: the first {asked.angles:,}",
            "test_sha256_16": array_hash(test[0]),
        },
        "settings": asdict(settings),
        "selection": "last weights; settings chosen on training digits kept apart, test digits read once",
        "trained_on": known["trained_on"],
        "angles": list(ANGLES),
        "networks": {
            name: {
                "parameters": sum(p.numel() for p in net.parameters()),
                "multiply_adds": multiply_adds(net, (1, SIDE, SIDE)),
                "epochs": known["epochs"],
                "train_loss": known["train_loss"][name],
                "train_seconds": known["train_seconds"][name],
                **found[name],
            }
            for name, net in nets.items()
        },
        "layers": {
            "degrees": 45,
            "what": "relative error of the law for plane waves, by frequency in radians per pixel; one layer to C8",
            "families": {name: layer_errors(name) for name in FAMILIES},
        },
        **provenance(),
    }
    write_json(asked.result, content)
    write_models(asked.models, nets, content, test)
    print(json.dumps({name: row for name, row in content["networks"].items()}, indent=2))


def mnist() -> tuple[Digits, Digits]:
    """Return the training digits without those kept for settings, and the test digits."""
    (images, labels), test = all_of_mnist()
    return (images[:-KEPT], labels[:-KEPT]), test


def draws(training: Digits, settings: Settings, epoch: int) -> list[tuple[int, float, tuple[float, float], float]]:
    """Return which digits an epoch shows, each turned, shifted and scaled by how much; from seed and epoch alone."""
    rng = np.random.Generator(np.random.PCG64([settings.seed, epoch]))
    pick = rng.permutation(len(training[0]))[: settings.digits // settings.views].repeat(settings.views)
    many = len(pick)
    degrees = rng.uniform(-settings.degrees, settings.degrees, many)
    shift = rng.uniform(-settings.shift, settings.shift, (many, 2))
    scale = rng.uniform(*settings.scale, many)
    drawn = zip(pick.tolist(), degrees.tolist(), shift.tolist(), scale.tolist(), strict=True)
    return [(i, angle, (x, y), size) for i, angle, (x, y), size in drawn]


def pictures(training: Digits, settings: Settings, epoch: int) -> tuple[Tensor, Tensor]:
    """Return the pictures of an epoch and their labels; views of one digit lie side by side."""
    drawn = draws(training, settings, epoch)
    shown = progress(drawn, total=len(drawn), title=f"pictures of epoch {epoch + 1}")
    made = [turned(training[0][i], degrees, shift=shift, scale=scale) for i, degrees, shift, scale in shown]
    labels = training[1][[i for i, *_ in drawn]].astype(np.int64)
    return torch.from_numpy(np.stack(made))[:, None], torch.from_numpy(labels)


def train(training: Digits, settings: Settings, file: Path) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """Return the trained networks and what is known of their training; what is done is kept in a file, by epochs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps = settings.epochs * (settings.digits // settings.batch)
    parts: dict[str, dict[str, Any]] = {}
    for name, make in NETWORKS.items():
        torch.manual_seed(settings.seed)
        net = make().to(device)
        optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, max(steps, 2))
        parts[name] = {"net": net, "optimizer": optimizer, "schedule": schedule}
    known: dict[str, Any] = {
        "epochs": 0,
        "train_loss": dict.fromkeys(NETWORKS),
        "train_seconds": dict.fromkeys(NETWORKS, 0.0),
        "trained_on": {key: provenance()[key] for key in ("versions", "hardware")},
    }
    if file.exists():
        kept = torch.load(file, weights_only=True, map_location=device)
        if kept["settings"] != json.dumps(asdict(settings)):
            raise ValueError(f"{file} belongs to other settings: remove it, or name another folder with --runs.")
        known = json.loads(kept["known"])
        for name, row in parts.items():
            for key, part in row.items():
                part.load_state_dict(kept[name][key])
    for epoch in range(known["epochs"], settings.epochs):
        images, labels = pictures(training, settings, epoch)
        for name, row in parts.items():
            start = time.perf_counter()
            title = f"{name}: epoch {epoch + 1} of {settings.epochs}"
            loss = run_epoch(**row, images=images.to(device), labels=labels.to(device), settings=settings, title=title)
            known["train_loss"][name] = round(loss, 4)
            known["train_seconds"][name] = round(known["train_seconds"][name] + time.perf_counter() - start, 1)
            print(f"{title}, loss {loss:.4f}, {known['train_seconds'][name]:.0f} s", file=sys.stderr, flush=True)
        known["epochs"] = epoch + 1
        with whole_file(file) as partial:
            states = {name: {key: part.state_dict() for key, part in row.items()} for name, row in parts.items()}
            torch.save({**states, "known": json.dumps(known), "settings": json.dumps(asdict(settings))}, partial)
    return {name: row["net"].eval().cpu() for name, row in parts.items()}, known


def run_epoch(
    net: nn.Module, optimizer: Any, schedule: Any, images: Tensor, labels: Tensor, settings: Settings, title: str
) -> float:
    """Train for an epoch; return the mean loss."""
    net.train()
    losses = []
    for x, y in batches(images, labels, settings.batch, title):
        logits = net(x)[0]
        loss = F.cross_entropy(logits, y, label_smoothing=settings.smoothing)
        if settings.views > 1:
            views = logits.unflatten(0, (-1, settings.views))
            loss = loss + settings.constancy * (views - views.mean(1, keepdim=True)).square().sum(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def batches(images: Tensor, labels: Tensor, size: int, title: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield whole batches in order."""
    many = len(images) // size
    for i in progress(range(many), total=many, title=title):
        yield images[size * i :][:size], labels[size * i :][:size]


@torch.no_grad()
def measured(nets: dict[str, nn.Module], test: Digits, upright: int, many: int) -> dict[str, dict[str, Any]]:
    """Return errors upright and at any angle, and how constant class and logits are, for each network."""

    def logits(images: list[NDArray[np.float32]]) -> dict[str, Tensor]:
        x = torch.from_numpy(np.stack(images))[:, None]
        return {name: net(x)[0] for name, net in nets.items()}

    labels = torch.from_numpy(test[1].astype(np.int64))
    wrong = dict.fromkeys(nets, 0)
    for i in progress(range(0, upright, 100), total=-(-upright // 100), title="test digits upright"):
        for name, y in logits([turned(digit) for digit in test[0][i : min(i + 100, upright)]]).items():
            wrong[name] += int((y.argmax(1) != labels[i : min(i + 100, upright)]).sum())
    rows: dict[str, list[Tensor]] = {name: [] for name in nets}
    for digit in progress(test[0][:many], total=many, title=f"test digits at {len(ANGLES)} angles"):
        for name, y in logits([turned(digit, angle) for angle in ANGLES]).items():
            rows[name].append(y)
    return {name: {"error_upright": wrong[name] / upright, **constancy(rows[name], labels[:many])} for name in nets}


def constancy(rows: list[Tensor], labels: Tensor) -> dict[str, Any]:
    """Return what logits `(digits, angles, 10)` say of errors and of constancy; changes are relative to upright."""
    y = torch.stack(rows)
    classes = y.argmax(2)
    change = (y - y[:, :1]).norm(dim=2) / y[:, :1].norm(dim=2)
    wrong, quarter = classes != labels[:, None], len(ANGLES) // 4
    eighths = [k * quarter + quarter // 2 for k in range(4)]
    found = {
        "error_any_angle": wrong.float().mean(),
        "constant_class": (classes == classes[:, :1]).all(1).float().mean(),
        "right_at_all_angles": (~wrong).all(1).float().mean(),
        "logits_change_mean": change.mean(),
        "logits_change_max": change.max(),
        "logits_change_quarter_turns": change[:, [quarter, 2 * quarter, 3 * quarter]].max(),
        "logits_change_eighth_turns": change[:, eighths].mean(),
    }
    by_angle = [round(v, 4) for v in wrong.float().mean(0).tolist()]
    return {**{key: float(f"{float(v):.4g}") for key, v in found.items()}, "error_by_angle": by_angle}


if __name__ == "__main__":
    main()
