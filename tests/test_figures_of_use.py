"""The figures on the pages of use are those of the files in results/ that they name."""

import json
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / f"{name}.md" for name in ("check", "choose", "pitfalls", "migrate")] + sorted(
    (DOCS / "how-to").glob("*.md")
)


def page(name):
    return " ".join((DOCS / f"{name}.md").read_text().split())


def result(name):
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def rows(name, key):
    return {row[key]: row for row in result(name)["rows"]}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_files_that_are_named_exist(path):
    text = path.read_text()
    for name in re.findall(r"`((?:results|benchmarks|tests|examples|tools)/[^`\s]+)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\((?:\.\./)*results/([\w.-]+\.png)\)", text):
        assert (ROOT / "results" / name).exists(), name


def test_segmentation():
    found = rows("segmentation", "system")
    plain, turned, p4, p8 = (found[k]["turned"]["mean_iou"] for k in ("plain", "plain-turned", "p4", "p8"))
    assert f"mean IoU {p4:.2f} with p4 and {p8:.2f} with p8" in page("choose")
    assert f"mean IoU {plain:.2f} against {p8:.2f}" in page("choose")
    assert f"mean IoU of {turned:.2f}, p4 and p8 trained on upright scenes {p4:.2f} and {p8:.2f}" in page("pitfalls")
    assert (
        f"reached a mean IoU of {p8:.2f}, four rotations {p4:.2f}, a plain one of equal parameters {plain:.2f}, and "
        f"{turned:.2f} if trained on all" in page("how-to/pathology")
    )
    minutes = [found[k]["train_seconds"] / 60 for k in ("p4", "p8")]
    assert f"in {minutes[0]:.0f} and {minutes[1]:.0f} minutes of training" in page("choose")


def test_flow():
    found = result("optical-flow")["rows"]
    plain, turned, regular, every = (row["mean_over_angles_pixels"]["mean"] for row in found)
    seconds = [row["train_seconds"] for row in found]
    text = page("choose")
    assert f"endpoint error {regular:.2f} against {every:.2f} pixels over all angles" in text
    assert f"{seconds[2]:.0f} against {seconds[3]:.0f} s of training" in text
    assert f"plain {plain:.2f} against {regular:.2f} pixels" in text
    assert f"has an endpoint error of {turned:.2f} pixels" in page("pitfalls")
    assert f"trained on upright pairs {regular:.2f} and {every:.2f}" in page("pitfalls")
    assert (
        f"{regular:.2f} and {every:.2f} pixels, a plain CNN {plain:.2f}, {turned:.2f} if trained on all orientations"
        in page("how-to/aerial")
    )


def test_cifar():
    found = rows("cifar-narrow", "system")
    z2, p4, p8 = (found[k]["test_error_percent"] for k in ("z2", "p4", "p8"))
    minutes = [found[k]["minutes"] for k in ("z2", "p4", "p8")]
    text = page("choose")
    assert f"{p4:.1f}% with p4 and {p8:.1f}% with p8, {minutes[1]:.0f} and {minutes[2]:.0f} minutes" in text
    assert f"({z2:.1f}%, {minutes[0]:.0f} minutes)" in text
    assert f"{p8:.1f}% against {z2:.1f}% test error, at more than five times" in page("pitfalls")
    assert minutes[2] > 5 * minutes[0]


def test_mnist_rot():
    systems, text = result("compare-mnist-rot")["systems"], page("choose")
    error = {name: system["error %"] for name, system in systems.items()}
    assert f"reaches {error['p4cnn']:.2f}% on MNIST-rot (regenerated)" in text
    assert f"SFCNN's {error['sfcnn']:.2f}%" in text
    assert systems["p4cnn"]["seconds an epoch"] < 0.55 * systems["sfcnn"]["seconds an epoch"]
    assert f"({error['e2cnn']:.2f}%, one run)" in text
    assert f"{error['e2cnn']:.2f}% and {error['pdo-e2cnn']:.2f}%" in text
    assert f"({error['pdo-gaussian']:.2f}% against {error['pdo-e2cnn']:.2f}%" in text
    assert f"ORN has {error['orn8-align']:.2f}% and RotEqNet {error['roteqnet']:.2f}%" in text
    assert f"change by {systems['pdo-gaussian']['equivariance error at 90']:.2f} of their size" in page("pitfalls")
    assert f"{result('mnist-rot-small-gaussian-seed0')['test_error_percent']:.2f}%" in text


def test_families():
    text = (DOCS / "choose.md").read_text()
    runs = [run for run in result("families")["runs"] if "init" not in run]
    for line in re.findall(r"^\| `([\w-]+)`.*\| ([\d.]+) \| ([\de.-]+) \|$", text, re.MULTILINE):
        family, error, law = line
        mine = [run for run in runs if run["family"] == family]
        assert f"{statistics.mean(run['error %'] for run in mine):.2f}" == error
        assert f"{mine[0]['one random layer, 0.4 rad per pixel']:.1e}" == law
    assert len(re.findall(r"^\| `[\w-]+`.*e-\d\d \|$", text, re.MULTILINE)) == 7
    (plain,) = (run["error %"] for run in runs if run["family"] == "plain")
    assert f"| a plain CNN | {plain:.2f} |" in text


def test_volumes():
    found = {row["net"]: row["error_percent"] for row in result("volumes")["rows"]}
    plain, many, ours = (
        found[k]
        for k in (
            "plain, trained upright",
            "plain, 10 times the volumes, trained in any orientation",
            "24 rotations built in, trained upright",
        )
    )
    text = page("how-to/volumes")
    cube, anywhere = (f"{ours[k]['mean']:.1f}%" for k in ("cube", "any"))
    assert f"errs in {cube}, a plain one of equal parameters in {plain['cube']['mean']:.1f}%" in text
    assert f"in any orientation {anywhere} and {plain['any']['mean']:.1f}%" in text
    assert f"{plain['upright']['mean']:.1f}% against {ours['upright']['mean']:.1f}%" in text
    assert f"errs in {many['any']['mean']:.0f}%" in text
    assert f"{plain['cube']['mean']:.0f}% against {ours['cube']['mean']:.0f}% test error" in page("choose")


def test_speed():
    text = (DOCS / "choose.md").read_text()
    found = {
        (row["group"], row["fields"]): row
        for row in result("bench-layer")["rows"]
        if (row["pixels"], row["kernel"], row["layout"]) == (32, 5, "contiguous_format")
    }
    lines = re.findall(
        r"^\| (\w+), (\d+) fields \((?:\d+ channels|\d+)\) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE
    )
    assert len(lines) == 6
    for group, fields, step, inference in lines:
        row = found[group, int(fields)]
        assert (f"{row['forward_backward']['ratio']:.2f}", f"{row['inference']['ratio']:.2f}") == (step, inference)
    volumes = result("bench-volume")["rows"]
    cubes = [row["forward_backward"]["ratio"] for row in volumes if (row["group"], row["fields"]) == ("O", 4)]
    others = [row["forward_backward"]["ratio"] for row in volumes if (row["group"], row["fields"]) != ("O", 4)]
    assert f"takes {min(cubes):.2f} to {max(cubes):.2f} times" in page("how-to/volumes")
    assert f"{min(others):.2f} to {max(others):.2f} times the time" in page("how-to/volumes")
    for row in result("bench-scaling")["rows"][:1]:
        one, synchronised = (row[k]["speed-up"]["ratio"] for k in ("two", "two, synchronised BatchNorm"))
        assert f"{one:.2f} times as fast as one, {synchronised:.2f} times with synchronised" in page("how-to/devices")


def test_gpu():
    layers = {(row["group"], row["fields"]): row["precisions"] for row in result("gpu-speed")["layers"]}
    steps = [row["float32 (tf32)"]["forward_backward"]["dense"]["ratio"] for row in layers.values()]
    slow = [p["forward_backward"]["fourier"]["ratio"] for row in layers.values() for p in row.values()]
    narrow = layers["C4", 16]["float32 (tf32)"]["forward_backward"]["dense"]["ratio"]
    wide = layers["C8", 32]["float32 (tf32)"]["forward_backward"]["dense"]["ratio"]
    text = page("choose")
    assert f"takes {wide:.2f} times" in text
    assert f"(C4, 16 fields) {narrow:.2f} times" in text
    assert f"is {min(slow):.0f} to {max(slow):.0f} times slower" in text
    assert f"{min(steps):.2f} to {max(steps):.2f} times" in page("how-to/devices")


def test_escnn():
    text = page("migrate")
    groups = result("bench-networks")["groups"]
    ratios = [g["systems"]["auto"]["forward_backward"]["over_escnn"]["ratio"] for g in groups]
    assert f"takes {ratios[0]:.2f} times escnn's time with C8 and {ratios[1]:.2f} times with C16" in text
    built = [groups[0]["systems"][k]["construction_seconds"] for k in ("auto", "escnn")]
    assert f"built in {built[0]:.1f} s, with escnn in {built[1]:.0f} s" in text
    (narrow,) = (n for n in result("bench-resnet")["networks"] if n["network"] == "narrow")
    rates = [narrow["systems"][k]["forward_backward"]["images_per_second"] for k in ("auto", "escnn")]
    assert f"{rates[0]:.0f} against escnn's {rates[1]:.0f} images a second" in text
    systems = result("equivariance-comparison")["systems"]
    layer, three = (
        [systems[name]["errors at 33, 65, 129"][kind] for name in ("gaussian", "escnn")]
        for kind in ("regular -> regular", "three layers, ELU")
    )
    assert f"on 33 points {layer[0][0]:.1e} here and {layer[1][0]:.1e} with escnn" in text
    assert f"{three[0][0]:.1e} and {three[1][0]:.1e} on 33 points" in text
    assert f"{three[0][2]:.1e} and {three[1][2]:.1e} on 129" in text


def test_precision():
    (row,) = result("precision")["rows"]
    found, text = row["precisions"], (DOCS / "how-to" / "deploy.md").read_text()
    for name in ("float32, torch", "float32, onnxruntime", "bfloat16, onnxruntime", "int8, onnxruntime"):
        error, size = found[name]["test_error_percent"], found[name]["bytes"]
        assert f"| {name} | {error:.2f} | {size:,} |" in text
    assert f"{found['int8, onnxruntime']['bytes'] / found['float32, torch']['bytes']:.0%} of the bytes" in text
    shown = [found[k]["test_error_percent"] for k in ("float32, torch", "bfloat16, torch", "int8, onnxruntime")]
    assert f"{shown[0]:.2f}% test error in float32, {shown[1]:.2f}% in bfloat16, {shown[2]:.2f}% in int8" in page(
        "pitfalls"
    )


def test_conversion():
    slower = [row["slower"] for row in result("convert")["rows"]]
    text = page("how-to/aerial")
    assert f"took {min(slower):.1f} to {max(slower):.1f} times as long" in text
    errors = sorted(row["errors"]["45 degrees"] for row in result("convert")["rows"] if "45 degrees" in row["errors"])
    assert f"errors of {errors[0]:.0e} to {errors[-2]:.1e}, and of {errors[-1]:.1f}" in text
    space = rows("convert", "network")["monai-unet-3d"]
    assert f"{space['parameters'][0]:,} parameters takes {space['slower']:.0f} times as long" in page("how-to/volumes")


def test_equivariance_of_the_trained_network():
    depth = list(result("equivariance-mnist-rot-small-gaussian-seed0")["depth"]["45 degrees"].values())
    assert f"{depth[0]:.1e} behind the first layer and {depth[-1]:.1e} behind the last" in page("check")
