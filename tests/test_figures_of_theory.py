"""The figures on the pages of theory and of the talk are those of the files in results/ that they name."""

import json
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs" / "theory").glob("*.md")), *sorted((ROOT / "docs" / "talk").glob("*.md"))]


def page(name):
    return (ROOT / "docs" / name).read_text()


def result(name):
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_files_that_are_named_exist(path):
    for name in re.findall(r"`((?:results|benchmarks|tests|tools)/[^`\s]+)`", path.read_text()):
        assert list(ROOT.glob(name)), name


def test_table_of_mnist_rot():
    systems, text = result("compare-mnist-rot")["systems"], page("talk/experiments.md")
    rows = {
        "Z2CNN": "z2cnn",
        "H-Net": "hnet",
        "ORN": "orn8-align",
        "RotEqNet": "roteqnet",
        "PTN": "ptn-s",
        "E2CNN": "e2cnn",
        "SFCNN": "sfcnn",
        "PDO-eConv, layout of E2CNN": "pdo-e2cnn",
        "PDO-eConv, layout of the small network": "pdo-gaussian",
    }
    for title, name in rows.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| {title} |"))
        here, parameters = (cell.strip() for cell in line.split("|")[3:5])
        assert here.startswith(f"{systems[name]['error %']:.2f}")
        assert parameters.startswith(f"{systems[name]['parameters']:,}")
    authors = systems["pdo-mnist-small"]
    assert f"{authors['error %']:.2f} with the authors' filters" in text
    large = result("mnist-rot-large-seed0")
    assert (
        f"| {large['test_error_percent']:.2f}, {large['settings']['epochs']} epochs of {large['train_images']:,}"
        in text
    )
    assert f"| {large['parameters']:,} |" in text
    small = [result(f"mnist-rot-small-seed{seed}")["test_error_percent"] for seed in (0, 1)]
    default = result("mnist-rot-small-gaussian-seed0")
    assert f"{default['test_error_percent']:.2f}% with the default filters" in text
    assert f"{statistics.mean(small):.2f}% with the authors'" in text
    assert default["settings"]["epochs"] == 60


def test_neural_odes():
    systems, text = result("compare-mnist-rot")["systems"], page("talk/background.md")
    for name in ("neural-ode", "neural-ode-resnet", "neural-pde"):
        assert f"{systems[name]['error %']:.2f}% ({systems[name]['parameters']:,}" in text


def test_logits_between_quarter_turns():
    systems, text = result("compare-mnist-rot")["systems"], page("theory/equivariance.md")
    plain = {"z2cnn", "wrn", "neural-ode", "neural-ode-resnet"}
    between = [s["equivariance error between"] for name, s in systems.items() if name not in plain]
    assert f"change by {min(between):.2f} to {max(between):.2f} of their size" in text


def test_cifar():
    rows = {row["system"]: row for row in result("cifar-narrow")["rows"]}
    text, fields = page("talk/experiments.md"), page("theory/groups-and-fields.md")
    for row in rows.values():
        assert f"{row['test_error_percent']:.2f} ({row['parameters']:,} parameters)" in text
    errors = [f"{rows[name]['test_error_percent']:.1f}%" for name in ("z2", "p4", "p8")]
    minutes = "{:.0f}, {:.0f} and {:.0f} minutes".format(*(rows[name]["minutes"] for name in ("z2", "p4", "p8")))
    assert f"{errors[0]} without rotations, {errors[1]} with p4, {errors[2]} with p8, in {minutes}" in fields
    assert minutes in text


def test_restoration():
    systems, text = result("restoration-denoise")["systems"], page("theory/learned-pdes.md")
    psnr = {s["title"]: s["psnr"]["bsd68"] for s in systems.values()}
    count = {s["title"]: s["parameters"] for s in systems.values()}
    heat, flow, bm3d = psnr["Heat equation"], psnr["Total variation flow"], psnr["BM3D"]
    kinds = [f"L-PDE, {kind}" for kind in ("polynomial", "bounded invariants", "function of the invariants")]
    poly, bounded, general = (psnr[kind] for kind in kinds)
    assert f"{heat:.1f} dB for the heat equation, {flow:.1f} for total variation flow, {general:.1f} for the" in text
    numbers = "{}, {} and {:,} numbers".format(*(count[kind] for kind in kinds))
    assert f"at {poly:.1f}, {bounded:.1f} and {general:.1f} dB, with {numbers}" in text
    assert re.search(rf"total variation flow\s+at {flow:.1f}, BM3D at {bm3d:.1f}", text)
    assert f"({poly:.1f} against {flow:.1f} dB on BSD68)" in page("talk/background.md")
    lost = {s["title"]: s["lost when turned, dB"]["45"][0] for s in systems.values()}
    learned, plain = sorted(lost[kind] for kind in kinds), sorted(lost[name] for name in ("DnCNN type", "TNRD type"))
    assert f"lose {learned[0]:.2f} to {learned[-1]:.2f} dB" in text
    assert f"lose {plain[0]:.2f} to {plain[-1]:.2f} (" in text


def test_flow():
    rows, text = {row["net"]: row for row in result("optical-flow")["rows"]}, page("theory/groups-and-fields.md")
    regular, every = rows["8 rotations, regular fields"], rows["all rotations, irreducible fields"]
    errors = [f"{row['mean_over_angles_pixels']['mean']:.2f}" for row in (every, regular)]
    seconds = [f"{row['train_seconds']:.0f}" for row in (every, regular)]
    assert "over all angles {} against {} pixels, in {} against {} seconds".format(*errors, *seconds) in text


def test_stencils_and_groups():
    runs, text = result("families")["runs"], page("theory/pde-to-stencil.md")
    place = "one random layer, 0.4 rad per pixel"
    one = {run["family"]: run[place] for run in runs if place in run}
    assert f"by {one['gaussian']:.1e}, one of the authors' by {one['paper']:.1e}" in text
    exponents = result("bench-group-order")["exponents"]["group order"]["forward_backward"]
    assert f"with the power {exponents['auto']:.1f} of n" in text
    assert f"with the power {exponents['conv']:.1f}" in text


def test_trained_networks():
    text, measured = page("theory/equivariance.md"), result("equivariance-mnist-rot-small-gaussian-seed0")
    depth = list(measured["depth"]["45 degrees"].values())
    assert f"{depth[0]:.1e} behind the first layer, {depth[-1]:.1e} behind the last one" in text
    content = result("turned-digits")
    turning, plain = (content["systems"][name]["error_percent"] for name in ("pdoconv, C8", "plain CNN"))
    assert f"has {turning[0]}% errors upright" in text
    assert f"at most {max(turning)}% between" in text
    assert f"has {plain[0]}% upright" in text
    assert f"up to {max(plain):.0f}% elsewhere" in text
