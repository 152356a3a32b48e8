"""Every figure in the README comes from a file in results/."""

import json
import math
import runpy
import statistics
from pathlib import Path

import pytest

from pdoconv.compare import table
from pdoconv.restoration import table as restoration_table

ROOT = Path(__file__).parents[1]
SHOWN = ("e2cnn", "pdo-e2cnn", "neural-pde", "sfcnn", "p4cnn", "pdo-gaussian", "pdo-mnist-small", "z2cnn")


@pytest.fixture
def readme():
    return (ROOT / "README.md").read_text()


def result(name):
    return json.loads((ROOT / "results" / name).read_text())


def test_training_results(readme):
    runs = [json.loads(p.read_text()) for p in sorted((ROOT / "results").glob("mnist-rot-small-seed*.json"))]
    errors = [run["test_error_percent"] for run in runs]
    each = ", ".join(f"{e:.2f}" for e in errors)
    assert (
        f"{statistics.mean(errors):.2f}% over two seeds ({each}, standard deviation {statistics.stdev(errors):.2f})"
        in readme
    )
    default = result("mnist-rot-small-gaussian-seed0.json")
    assert f"**{default['test_error_percent']:.2f}%** (one seed)" in readme
    for run in (*runs, default):
        assert f"{run['parameters']:,} parameters" in readme
        assert run["selection"].endswith("test set read once")
    demo = result("demo.json")
    assert f"{demo['test_error_percent']:.2f}% after {demo['settings']['epochs']} epochs" in readme


PHASES = {"forward_backward": "training step", "inference": "inference"}


def test_speed(readme):
    goals = result("bench-layer-goals.json")["rows"]
    for key, name in PHASES.items():
        shown = ", ".join(f"{row[key]['ratio']:.2f}" for row in goals)
        assert f"{name} {shown} times" in readme
        for row, goal in zip(
            goals, {"forward_backward": (0.6, 0.45, 0.5), "inference": (0.45, 0.3, 0.35)}[key], strict=True
        ):
            assert row[key]["ratio"] <= goal
    volumes = result("bench-volume.json")["rows"]
    cubes = [row for row in volumes if (row["group"], row["fields"]) == ("O", 4)]
    others = [row for row in volumes if row not in cubes]
    for key, name in PHASES.items():
        for rows in (result("bench-layer.json")["rows"], others):
            ratios = [row[key]["ratio"] for row in rows]
            assert f"{name} {min(ratios):.2f} to {max(ratios):.2f} times" in readme
        shown = ", ".join(f"{row[key]['ratio']:.2f}" for row in cubes)
        assert f"{name} {shown} times" in readme
    exponents = result("bench-group-order.json")["exponents"]["group order"]["forward_backward"]
    assert f"{exponents['auto']:.1f}; `nn.Conv2d` of the same channels {exponents['conv']:.1f}" in readme


def test_networks(readme):
    groups = result("bench-networks.json")["groups"]
    for peer in ("escnn", "plain"):
        ratios = [g["systems"]["auto"]["forward_backward"][f"over_{peer}"]["ratio"] for g in groups]
        assert f"{ratios[0]:.2f} and {ratios[1]:.2f} times " in readme
        assert max(ratios) < 0.6
    ours, escnn, e2cnn = (groups[0]["systems"][k]["construction_seconds"] for k in ("auto", "escnn", "e2cnn-diffop"))
    assert f"{ours:.1f} s; escnn {escnn:.0f} s, e2cnn's PDOs {e2cnn:.0f} s" in readme


def test_residual_networks(readme):
    for network in result("bench-resnet.json")["networks"]:
        for phase in PHASES:
            rates = [network["systems"][k][phase]["images_per_second"] for k in ("auto", "escnn", "plain", "z2")]
            assert ", ".join(f"{rate:.0f}" if rate >= 20 else f"{rate:.1f}" for rate in rates) in readme
            assert rates[0] > 1.1 * rates[1]
    for row in result("bench-scaling.json")["rows"]:
        for variant in ("two", "two, synchronised BatchNorm"):
            assert f"{row[variant]['speed-up']['ratio']:.2f}" in readme


def test_starts(readme):
    first = {k: v["auto"]["first_layer_ms"] for k, v in result("bench-start.json")["first_layers"].items()}
    icosahedral = first.pop("I")
    escnn = result("bench-start-peers.json")["first_layers"]["D8"]["escnn"]["first_layer_ms"] / 1e3
    assert f"{min(first.values()):.0f} to {max(first.values()):.0f} ms (escnn with D8: {escnn:.1f} s with" in readme
    assert f"60 rotations {icosahedral:.0f} ms" in readme


def test_families(readme):
    runs = result("families.json")["runs"]

    def mean(name, key):
        return statistics.mean(r[key] for r in runs if r["family"] == name and r.get("init", "authors") == "authors")

    shown = [f"{mean(name, 'error %'):.2f}%" for name in ("paper", "gaussian", "plain")]
    assert f"{shown[0]} with the authors', {shown[1]} with the default, {shown[2]} for a plain CNN" in readme
    key = "one random layer, 0.4 rad per pixel"
    ours, theirs = mean("gaussian", key), mean("paper", key)
    assert f"{ours:.1e} with the default, {theirs:.1e} with the authors'" in readme
    assert theirs > 10 * ours


def test_peers(readme):
    systems = result("equivariance-comparison.json")["systems"]
    for kind in ("regular -> regular", "three layers, ELU"):
        ours, escnn, e2cnn = (
            systems[name]["errors at 33, 65, 129"][kind][0] for name in ("gaussian", "escnn", "e2cnn-diffop")
        )
        assert f"{ours:.1e}; escnn {escnn:.1e}, e2cnn's PDOs {e2cnn:.1e}" in readme


def test_volumes(readme):
    rows = {row["net"]: row["error_percent"] for row in result("volumes.json")["rows"]}
    plain, ours = rows["plain, trained upright"], rows["24 rotations built in, trained upright"]
    for orientation in ("upright", "any"):
        assert f"{orientation} {ours[orientation]['mean']:.1f}% (plain {plain[orientation]['mean']:.1f}%)" in readme
    assert ours["any"]["mean"] + 3 * ours["any"]["sd"] < plain["any"]["mean"]


def test_flow(readme):
    rows = {row["net"]: row for row in result("optical-flow.json")["rows"]}
    upright = [row["endpoint_error_pixels"]["0"]["mean"] for row in rows.values()]
    every = [row["mean_over_angles_pixels"]["mean"] for row in rows.values()]
    for values, place in ((upright, "upright"), (every, "over all angles")):
        assert f"{place} {', '.join(f'{v:.2f}' for v in values)} pixels" in readme
    plain, _, regular, irreducible = rows.values()
    for row in (regular, irreducible):
        assert row["mean_over_angles_pixels"]["mean"] < plain["mean_over_angles_pixels"]["mean"] / 2
        assert 0.9 < row["parameters"] / plain["parameters"] < 1.1


def test_representations(readme):
    measured = result("bench-representations.json")
    for key, name in PHASES.items():
        ratios = [row[key]["ratio"] for row in measured["layers"]]
        assert f"{name} {min(ratios):.2f} to {max(ratios):.2f} times" in readme
        assert max(ratios) < 1.1
    for layer, plain in (("BatchNorm2d", "nn.BatchNorm2d"), ("GatedActivation", "nn.ReLU")):
        ratios = [row["forward_backward"]["ratio"] for row in measured["between"] if row["case"].endswith(layer)]
        assert f"{min(ratios):.1f} to {max(ratios):.1f} times `{plain}`" in readme
    plane = [row["median_ms"] for row in measured["construction"] if not row["case"].startswith(("O,", "nn"))]
    assert f"{min(plane):.0f} to {max(plane):.0f} ms" in readme


def test_equivariance_of_the_trained_network(readme):
    panels = result("equivariance-mnist-rot-small-gaussian-seed0.json")
    depth = list(panels["depth"]["45 degrees"].values())
    assert f"{depth[0]:.1e} behind the first layer, {depth[-1]:.1e} behind the last" in readme


def test_comparison_of_systems(readme):
    measured = result("compare-mnist-rot.json")
    assert table(measured) in (ROOT / "docs" / "design" / "006-systems.md").read_text()
    rows = measured["systems"]
    shown = ", ".join(f"{rows[name]['title']} {rows[name]['error %']:.2f}" for name in SHOWN)
    assert f"{shown}; all {len(rows)} in `docs/design/006-systems.md`" in readme
    for name, row in rows.items():  # the Neural ODE and its twin are as published
        assert 20_000 <= row["parameters"] <= 132_000 or name.startswith("neural-ode")
    for name, runs in (("z2cnn", 3), ("p4cnn", 3), ("sfcnn", 3), ("pdo-gaussian", 3)):
        assert len(rows[name]["errors %"]) == runs


def test_cifar(readme):
    text = (ROOT / "docs" / "design" / "008-training.md").read_text()
    rows = result("cifar-narrow.json")["rows"]
    for row in rows:
        assert f"{row['title']} {row['test_error_percent']:.2f}% ({row['parameters']:,} parameters, " in readme
        assert f"{row['minutes']:.0f} minutes" in readme
        errors = ", ".join(f"{error:.1f}" for error in row["valid_error_by_epoch"])
        assert f"| {row['parameters']:,} | {row['test_error_percent']:.2f} | {errors} | {row['minutes']:.0f} |" in text
        assert row["selection"].endswith("test set read once")
    z2, *ours = rows
    assert all(row["test_error_percent"] < z2["test_error_percent"] - 5 for row in ours)
    assert all(abs(row["parameters"] / z2["parameters"] - 1) < 0.02 for row in ours)


def test_larger_network(readme):
    run = result("mnist-rot-large-seed0.json")
    assert f"{run['parameters']:,} parameters, turned images, {run['settings']['epochs']} epochs on 10,000" in readme
    assert f"{run['test_error_percent']:.2f}% (one seed, {run['train_seconds'] / 60:.0f} minutes" in readme
    assert run["selection"].endswith("test set read once")


def test_laws_of_pdes():
    text = (ROOT / "docs" / "design" / "007-pdes.md").read_text()
    measured = result("pde-laws.json")
    for schemes, wanted in zip(measured["change when turned by 30 degrees"].values(), (2, 4), strict=True):
        orders = [math.log2(errors[-2] / errors[-1]) for errors in schemes.values()]
        assert f"orders {min(orders):.2f} to {max(orders):.2f}" in text
        assert f"at most {max(errors[-1] for errors in schemes.values()):.1e}" in text
        assert min(orders) > wanted - 0.1
    orders = [math.log2(errors[-2] / errors[-1]) for errors in measured["error of solvers"].values()]
    assert ", ".join(f"{order:.2f}" for order in orders) in text
    moved = measured["change by batch-mates"]
    assert [moved[solver] for solver in ("euler", "midpoint", "rk4")] == [0, 0, 0]
    for errors in ([v for k, v in moved.items() if "dopri5" in k], measured["error of adjoint gradients"].values()):
        assert ", ".join(f"{error:.1e}" for error in errors) in text
    for kept in measured["numbers kept for a gradient"].values():
        assert f"{kept:,}" in text


@pytest.mark.parametrize("name", ["denoise", "deblur", "inpaint", "demosaick", "edges", "text"])
def test_tables_of_restoration(name):
    assert restoration_table(result(f"restoration-{name}.json")) in (ROOT / "docs/design/007-pdes.md").read_text()


def test_denoising(readme):
    rows = result("restoration-denoise.json")["systems"]
    psnr = {name: list(row["psnr"].values()) for name, row in rows.items()}
    for name in ("neural-pde", "lpde-general", "dncnn", "tnrd", "bm3d", "tv-flow"):
        assert f"{rows[name]['title']} {psnr[name][0]:.2f}, {psnr[name][1]:.2f}" in readme
    for name in ("neural-pde", "lpde-general", "dncnn", "tnrd"):
        assert f"{rows[name]['parameters']:,}" in readme
    classical = ("heat", "perona-malik", "mean-curvature", "tv-flow", "tv")
    for place in range(2):
        assert psnr["lpde-general"][place] > max(psnr[name][place] for name in classical) + 1
        assert psnr["neural-pde"][place] > psnr["dncnn"][place] - 0.3
    assert rows["neural-pde"]["parameters"] < rows["dncnn"]["parameters"] / 10


def test_lower_precision(readme):
    (row,) = result("precision.json")["rows"]
    found = row["precisions"]
    text = (ROOT / "docs" / "design" / "009-convert.md").read_text()
    base, whole = found["float32, torch"], found["int8, onnxruntime"]
    assert (
        f"float32 {base['test_error_percent']:.2f}%, bfloat16 {found['bfloat16, torch']['test_error_percent']:.2f}%, "
        in readme
    )
    assert f"int8 {whole['test_error_percent']:.2f}% at {whole['speed']:.1f} times the speed" in readme
    assert whole["equivariance_error_90"] == 0
    for name, values in found.items():
        cells = (f"{values['test_error_percent']:.2f}", f"{values['speed']:.2g}", f"{values['bytes']:,}")
        assert f"| {name} | {' | '.join(cells)} | {values['equivariance_error_90']:.1e} |" in text


def test_converted_networks(readme):
    rows = result("convert.json")["rows"]
    written = runpy.run_path(str(ROOT / "benchmarks" / "convert.py"))["table"](rows)
    assert written in (ROOT / "docs" / "design" / "009-convert.md").read_text()
    before, after = ([row["error_quarter_turn_before"] for row in rows], [row["errors"]["90 degrees"] for row in rows])
    assert f"from {min(before):.1e} to {max(before):.1e} before, at most {max(after):.1e} after" in readme
    sizes = [row["parameters"][1] / row["parameters"][0] - 1 for row in rows]
    assert max(map(abs, sizes)) < 0.05
    assert f"within {100 * max(map(abs, sizes)):.1f}%" in readme


def test_segmentation(readme):
    measured = result("segmentation.json")
    text = (ROOT / "docs" / "design" / "009-convert.md").read_text()
    for row in measured["rows"]:
        upright, turned = row["upright"]["mean_iou"], row["turned"]["mean_iou"]
        assert f"{row['title']} {upright:.2f}, {turned:.2f}" in readme
        cells = (f"{row['parameters']:,}", f"{upright:.3f}", f"{turned:.3f}", f"{row['train_seconds'] / 60:.0f}")
        assert f"| {row['title']} | {' | '.join(cells)} |" in text
