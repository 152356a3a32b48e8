"""Every figure of the README comes from a file in results/, and it stays short."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def readme():
    return (ROOT / "README.md").read_text()


def result(name):
    return json.loads((ROOT / "results" / name).read_text())


def rows():
    """The figures of each row of the table, by its file, as they must be written."""
    run = result("mnist-rot-small-gaussian-seed0.json")
    yield "mnist-rot-small-gaussian-seed0", f"**{run['test_error_percent']:.2f}%** (one seed)"
    yield "mnist-rot-small-gaussian-seed0", f"{run['parameters']:,} parameters"
    systems = result("compare-mnist-rot.json")["systems"]
    named = {"e2cnn": "E2CNN", "pdo-e2cnn": "PDO-eConv in its layout", "p4cnn": "G-CNN", "pdo-gaussian": "PDO-eConv"}
    named["z2cnn"] = "Z2CNN"
    yield "compare-mnist-rot", ", ".join(f"{title} {systems[name]['error %']:.2f}%" for name, title in named.items())
    yield "compare-mnist-rot", f"{len(systems)} systems"
    cifar = {row["system"]: row for row in result("cifar-narrow.json")["rows"]}
    shown = [f"{cifar[s]['test_error_percent']:.2f}% in {cifar[s]['minutes']:.0f} minutes" for s in ("z2", "p8")]
    yield "cifar-narrow", f"Z2 {shown[0]}, p8 {shown[1]}"
    key, runs = "one random layer, 0.4 rad per pixel", result("families.json")["runs"]
    errors = []
    for family in ("gaussian", "paper"):
        found = [r[key] for r in runs if r["family"] == family and r.get("init", "authors") == "authors"]
        errors.append(f"{sum(found) / len(found):.1e}")
    yield "families", f"{errors[0]} (the authors' filters {errors[1]})"
    twins = result("convert.json")["rows"]
    before, after = [r["error_quarter_turn_before"] for r in twins], [r["errors"]["90 degrees"] for r in twins]
    yield "convert", f"{min(before):.1e} to {max(before):.1e} before, at most {max(after):.1e} after"
    times = [row["slower"] for row in twins]
    yield "convert", f"{min(times):.1f} to {max(times):.1f} times as long"
    nets = [row["turned"]["mean_iou"] for row in result("segmentation.json")["rows"]]
    yield "segmentation", f"U-Net {nets[0]:.2f}, on turned digits {nets[1]:.2f}, p8 {nets[3]:.2f}"
    restored = result("restoration-denoise.json")["systems"]
    parts = [
        f"{title} {restored[name]['psnr']['bsd68']:.2f}{unit}{size}"
        for name, title, unit in (
            ("neural-pde", "neural PDE", " dB"),
            ("dncnn", "DnCNN type", ""),
            ("bm3d", "BM3D", ""),
        )
        for size in ("" if name == "bm3d" else f" ({restored[name]['parameters']:,}",)
    ]
    yield "restoration-denoise", f"{parts[0]} parameters), {parts[1]}), {parts[2]}"
    goals = [row["forward_backward"]["ratio"] for row in result("bench-layer-goals.json")["rows"]]
    yield "bench-layer-goals", "C8 {:.2f}, C16 {:.2f}, D8 {:.2f} times".format(*goals)
    layers = [
        row["precisions"]["float32 (tf32)"]["forward_backward"]["dense"]["ratio"]
        for row in result("gpu-speed.json")["layers"]
    ]
    wide = [ratio for ratio in layers if ratio < 1.5]
    yield "gpu-speed", f"{min(wide):.2f} to {max(wide):.2f} times; narrow layers up to {max(layers):.2f} times"
    resnet = result("bench-resnet.json")["networks"][0]["systems"]
    rates = [resnet[k]["forward_backward"]["images_per_second"] for k in ("auto", "escnn", "z2")]
    yield "bench-resnet", f"{rates[0]:.1f}; escnn {rates[1]:.1f}, Z2 of equal parameters {rates[2]:.0f}"


@pytest.mark.parametrize(("name", "figure"), list(rows()))
def test_figures(readme, name, figure):
    (row,) = [line for line in readme.splitlines() if f"`{name}.json`" in line]
    assert figure in row


def test_other_figures_are_noticed(readme):
    name, figure = next(rows())
    (row,) = [line for line in readme.splitlines() if f"`{name}.json`" in line]
    assert figure not in row.replace("1.52", "1.51")


def test_every_row_is_checked(readme):
    table = readme.split("<!-- table -->")[1].split("<!-- end -->")[0].strip().splitlines()[2:]
    named = [re.search(r"`([\w-]+)\.json`", row)[1] for row in table]
    assert sorted(named) == sorted({name for name, _ in rows()})


def test_named_things_exist(readme):
    for file in re.findall(r"`(?:results/)?([\w-]+\.json)`", readme):
        assert (ROOT / "results" / file).exists()
    links = re.findall(r"\]\(([^):]*)\)", readme)
    assert len(links) > 10
    assert not [link for link in links if not (ROOT / link).exists()]


def test_one_screen(readme):
    assert len(readme.splitlines()) < 90
