"""Augmentation of a batch at once beside loops over its images in torch and in numpy, and beside a training step.

    python benchmarks/augment_speed.py [--rounds 40]

128 images 3x32x32, float32, one thread; every call draws anew. The three take turns, after their results for the same
draws were compared; the loops are the tightest that we can write. Then it takes turns with a training step (forward,
backward, SGD) of plain pre-activation ResNets: ResNet-8, the smallest there is, and ResNet-20. The goal is 3% of the
former.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import alternate, quartiles, ratio
from numpy.typing import NDArray
from torch import Tensor

import pdoconv as pdo
from pdoconv.data.augment import Augment
from pdoconv.models.resnet import PreActResNet
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

BATCH, PIXELS, GOAL = 128, 32, 3.0
CASES = {
    "crop, flip": Augment(crop=4, flip=True),
    "crop, flip, cutout": Augment(crop=4, flip=True, cutout=8),
    "crop, flip, rotation": Augment(crop=4, flip=True, rotate=15.0),
    "crop, flip, rotation, cutout": Augment(crop=4, flip=True, rotate=15.0, cutout=8),
}
NETS = {"ResNet-8": 1, "ResNet-20": 3}  # units a stage


def hole(centre: float, length: int) -> slice:
    """Return the rows or columns that a cutout takes."""
    first = math.floor(centre * PIXELS) - length // 2
    return slice(max(first, 0), max(first + length, 0))


def torch_loop(augment: Augment, x: Tensor, draws: Tensor) -> Tensor:
    """Augment image by image with torch."""
    pad, results = augment.crop, []
    for image, (row, column, flip, degrees, v, u, _) in zip(x, draws.tolist(), strict=True):
        if augment.rotate:
            c, s, m = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), 1 - 2 * flip
            move = [2 * (column - pad) / PIXELS, 2 * (row - pad) / PIXELS]
            matrix = torch.tensor([[[m * c, -m * s, move[0]], [s, c, move[1]]]])
            grid = F.affine_grid(matrix, [1, *image.shape], align_corners=False)
            result = F.grid_sample(image[None], grid, align_corners=False)[0]
        else:
            r, c = int(row), int(column)
            result = F.pad(image, (pad,) * 4)[:, r : r + PIXELS, c : c + PIXELS]
            result = result.flip(2) if flip else result
        if augment.cutout:
            result[:, hole(v, augment.cutout), hole(u, augment.cutout)] = 0
        results.append(result)
    return torch.stack(results)


def numpy_loop(augment: Augment, x: Tensor, draws: Tensor) -> Tensor:
    """Augment image by image with numpy."""
    pad, results = augment.crop, np.empty(x.shape, np.float32)
    for image, result, (row, column, flip, degrees, v, u, _) in zip(x.numpy(), results, draws.tolist(), strict=True):
        if augment.rotate:
            result[:] = bilinear(image, *places(row - pad, column - pad, flip, math.radians(degrees)))
        else:
            r, c = int(row), int(column)
            padded = np.zeros((len(image), PIXELS + 2 * pad, PIXELS + 2 * pad), np.float32)
            padded[:, pad : pad + PIXELS, pad : pad + PIXELS] = image
            window = padded[:, r : r + PIXELS, c : c + PIXELS]
            result[:] = window[:, :, ::-1] if flip else window
        if augment.cutout:
            result[:, hole(v, augment.cutout), hole(u, augment.cutout)] = 0
    return torch.from_numpy(results)


def places(down: float, right: float, flip: float, angle: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return rows and columns `(PIXELS, PIXELS)` where the pixels of a result come from."""
    j = np.arange(PIXELS, dtype=np.float32) - np.float32((PIXELS - 1) / 2)
    c, s = math.cos(angle), math.sin(angle)
    rows = s * j + (c * j[:, None] + (down + (PIXELS - 1) / 2))
    columns = (1 - 2 * flip) * (c * j - s * j[:, None]) + (right + (PIXELS - 1) / 2)
    return rows, columns


def bilinear(image: NDArray[np.float32], rows: NDArray[np.float32], columns: NDArray[np.float32]) -> Any:
    """Read an image between its pixels, zeros outside."""
    side = PIXELS + 3
    padded = np.zeros((len(image), side, side), np.float32)
    padded[:, 1:-2, 1:-2] = image
    rows, columns = np.clip(rows + 1, 0, PIXELS + 1), np.clip(columns + 1, 0, PIXELS + 1)
    i, j = rows.astype(np.int64), columns.astype(np.int64)
    a, b = rows - i, columns - j
    flat, place = padded.reshape(len(image), -1), i * side + j
    corners = [flat[:, place + step] for step in (0, 1, side, side + 1)]
    upper = corners[0] + b * (corners[1] - corners[0])
    lower = corners[2] + b * (corners[3] - corners[2])
    return upper + a * (lower - upper)


def training_step(units: int, x: Tensor) -> tuple[Callable[[], None], int]:
    """Return a training step of a plain network, and its number of parameters."""
    net = PreActResNet(
        pdo.cyclic(1), widths=(16, 32, 64), units=units, filters=pdo.filters.rotated(), kernel_size=3
    ).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    y = torch.arange(len(x)) % 10

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step, sum(p.numel() for p in net.parameters())


def measure(
    title: str, augment: Augment, x: Tensor, steps: dict[str, Callable[[], None]], rounds: int
) -> dict[str, Any]:
    """Return a row: the three ways in turn, after their results were compared, then ours and each step."""
    ways = {"ours": augment, "torch loop": partial(torch_loop, augment), "numpy loop": partial(numpy_loop, augment)}
    draws = augment.draw(np.random.default_rng(0), BATCH)
    expected = augment(x, draws)
    differences = {name: float((way(x, draws) - expected).abs().max()) for name, way in ways.items()}
    if max(differences.values()) > 1e-4:
        raise RuntimeError(f"{title}: the results differ by {differences}.")
    rng = np.random.default_rng(0)
    calls = {name: lambda way=way: way(x, augment.draw(rng, BATCH)) for name, way in ways.items()}
    times = alternate(calls, title=f"{title}, loops", rounds=rounds)
    row: dict[str, Any] = {"case": title, "settings": str(augment), "largest_difference": max(differences.values())}
    for name, each in times.items():
        low, middle, high = quartiles([1e3 * BATCH / took for took in each])
        row[name] = {"images_per_second": round(middle), "quartile_low": round(low), "quartile_high": round(high)}
    for name in ("torch loop", "numpy loop"):
        row[f"ours / {name}"] = ratio(times["ours"], times[name])
    for name, step in steps.items():
        times = alternate({"ours": calls["ours"], name: step}, title=f"{title}, {name}", rounds=rounds)
        parts = quartiles([100 * a / b for a, b in zip(times["ours"], times[name], strict=True)])
        low, middle, high = (round(part, 3) for part in parts)
        row[f"percent of a step of {name}"] = {
            "median": middle,
            "quartile_low": low,
            "quartile_high": high,
            "ours_ms": round(statistics.median(times["ours"]), 2),
            "step_ms": round(statistics.median(times[name]), 1),
        }
    row["goal_met"] = row["percent of a step of ResNet-8"]["median"] < GOAL
    return row


def main() -> None:
    """Measure every case; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--result", type=Path, default=Path("results/bench-augment.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    origin = provenance()  # before the first result changes the checkout
    x = torch.randn(BATCH, 3, PIXELS, PIXELS)
    made = {name: training_step(units, x) for name, units in NETS.items()}
    result: dict[str, Any] = {"batch": BATCH, "pixels": PIXELS, "goal_percent_of_a_step": GOAL}
    result["parameters"] = {name: parameters for name, (_, parameters) in made.items()}
    print(f"{'images per second':30}{'ours':>9}{'torch':>9}{'numpy':>9}, ratios of times, shares of steps", flush=True)
    for title, augment in CASES.items():
        row = measure(title, augment, x, {name: step for name, (step, _) in made.items()}, options.rounds)
        result.setdefault("cases", []).append(row)
        rates = "".join(f"{row[name]['images_per_second']:>9}" for name in ("ours", "torch loop", "numpy loop"))
        loops = "".join(f"{row[f'ours / {name}']['ratio']:>8.3f}" for name in ("torch loop", "numpy loop"))
        steps = "".join(f"{row[f'percent of a step of {name}']['median']:>8.3f}%" for name in NETS)
        print(f"{title:30}{rates}{loops}{steps}", flush=True)
        write_json(options.result, {**result, **origin})
    print(f"Written: {options.result}")


if __name__ == "__main__":
    main()
