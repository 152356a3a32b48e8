"""What was found holds in `results/`: each claim of the pages and the design notes is asserted on the files."""

import importlib
import json
import math
import runpy
import statistics
from pathlib import Path

import pytest

from pdoconv.compare import table
from pdoconv.restoration import table as restoration_table

ROOT = Path(__file__).parents[1]
PHASES = {"forward_backward": "training step", "inference": "inference"}


@pytest.fixture(scope="module")
def pages():
    """The pages of results by name, without folder and ending."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        found = importlib.import_module("result_pages").pages()
    return {Path(path).stem: text for path, text in found.items()}


def result(name):
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def note(name):
    return (ROOT / "docs" / "design" / f"{name}.md").read_text()


def ratios(rows, phase="forward_backward"):
    return [row[phase]["ratio"] for row in rows]


def test_training_results(pages):
    page = pages["classification"]
    runs = [json.loads(p.read_text()) for p in sorted((ROOT / "results").glob("mnist-rot-small-seed*.json"))]
    errors = [run["test_error_percent"] for run in runs]
    each = ", ".join(f"{e:.2f}" for e in errors)
    assert f"{statistics.mean(errors):.2f} ± {statistics.stdev(errors):.2f} ({each})" in page
    default, demo = result("mnist-rot-small-gaussian-seed0"), result("demo")
    assert (
        f"{default['test_error_percent']:.2f}% test error with {default['parameters']:,} parameters" in pages["index"]
    )
    for run in (*runs, default, demo):
        assert f"| {run['parameters']:,} | {run['settings']['epochs']} |" in page
        assert run["selection"].endswith("test set read once")
    assert f"| {demo['test_error_percent']:.2f} (one seed) |" in page
    assert default["test_error_percent"] < min(errors)


def test_turned_digits(pages):
    measured = result("turned-digits")
    ours, plain = (row["error_percent"] for row in measured["systems"].values())
    for errors in (ours, plain):
        assert f"| {errors[0]:.1f} | {errors[3]:.1f} | {errors[6]:.1f} |" in pages["classification"]
    assert plain[0] < ours[0]  # a loss
    assert statistics.mean(ours) < statistics.mean(plain) / 2
    quarter = measured["angles"].index(90)
    assert ours[::quarter] == [ours[0]] * 4
    assert min(plain[quarter::quarter]) > 5 * plain[0]


def test_speed(pages):
    goals = result("bench-layer-goals")["rows"]
    for key, limits in {"forward_backward": (0.6, 0.45, 0.5), "inference": (0.45, 0.3, 0.35)}.items():
        for ratio, limit in zip(ratios(goals, key), limits, strict=True):
            assert f"| {ratio:.2f} (" in pages["speed"]
            assert ratio <= limit
        assert min(row["narrow"][key]["ratio"] for row in goals) > 2  # as many parameters: a loss
    exponents = result("bench-group-order")["exponents"]
    order = exponents["group order"]["forward_backward"]
    assert f"{order['auto']:.1f}, that of `nn.Conv2d` {order['conv']:.1f}" in pages["index"]
    for line in exponents.values():
        for phase in PHASES:
            assert line[phase]["auto"] < line[phase]["conv"] - 0.3
    assert order["auto"] < 1.3


def test_the_grid_of_layers(pages):
    rows = result("bench-layer")["rows"]
    for key, name in PHASES.items():
        assert f"{name} {min(ratios(rows, key)):.2f} to {max(ratios(rows, key)):.2f} times" in pages["speed"]
        worst = sorted(rows, key=lambda row: -row[key]["ratio"])[:5]
        assert all(row["kernel"] == 1 or row["group"] in ("C4", "D4") for row in worst)


def test_layers_in_space(pages):
    rows = result("bench-volume")["rows"]
    for row in rows:
        for key in PHASES:
            assert f"| {row[key]['ratio']:.2f} (" in pages["speed"]
            assert row[key]["ratio"] < 0.9
    cubes = {row["side"]: row["forward_backward"]["ratio"] for row in rows if row["fields"] == 4}
    assert cubes[17] > max(cubes[16], cubes[32])  # its rows are neither short nor whole cache lines
    memory = {row["fields"]: row["peak_memory"]["ratio"] for row in rows if row["group"] == "O" and row["side"] == 17}
    assert memory[1] > 1 > memory[2] > memory[4]


def test_networks(pages):
    groups = result("bench-networks")["groups"]
    for peer in ("escnn", "plain"):
        found = [g["systems"]["auto"]["forward_backward"][f"over_{peer}"]["ratio"] for g in groups]
        assert max(found) < 0.6
        assert all(f"| {ratio:.2f} (" in pages["speed"] for ratio in found)
    ours, escnn, e2cnn = (groups[0]["systems"][k]["construction_seconds"] for k in ("auto", "escnn", "e2cnn-diffop"))
    assert 20 * ours < escnn < e2cnn


def test_residual_networks(pages):
    for network in result("bench-resnet")["networks"]:
        for phase in PHASES:
            ours, escnn, plain, z2 = (
                network["systems"][k][phase]["images_per_second"] for k in ("auto", "escnn", "plain", "z2")
            )
            assert min(ours / escnn, ours / plain) > 1.1
            assert z2 > 2 * ours  # a loss
            for rate in (ours, escnn, plain, z2):
                assert (f"| {rate:.0f} |" if rate >= 20 else f"| {rate:.1f} |") in pages["speed"]
        assert network["systems"]["escnn"]["convolution_gflops"] == network["systems"]["dense"]["convolution_gflops"]


def test_two_processes():
    pdo, z2 = result("bench-scaling")["rows"]
    assert pdo["two"]["speed-up"]["ratio"] > pdo["two, synchronised BatchNorm"]["speed-up"]["ratio"] > 1.2
    assert z2["two, synchronised BatchNorm"]["speed-up"]["ratio"] < 1  # a loss


def test_starts(pages):
    first = result("bench-start")["first_layers"]
    for group, row in first.items():
        ours, dense, plain = (row[way]["first_layer_ms"] for way in ("auto", "dense", "plain"))
        assert f"| {group} | {ours:.0f} | {dense:.0f} | {plain:.0f} |" in pages["speed"]
        assert ours < 100 or group == "I"
        assert (ours < plain) == (group == "I")
    peers = result("bench-start-peers")["first_layers"]
    assert all(row["escnn"]["first_layer_ms"] > 4 * row["auto"]["first_layer_ms"] for row in peers.values())


def test_augmentation():
    measured = result("bench-augment")
    for case in measured["cases"]:
        for net in measured["parameters"]:
            assert case[f"percent of a step of {net}"]["median"] < measured["goal_percent_of_a_step"]
        assert case["largest_difference"] < 1e-4


def test_families(pages):
    runs = [run for run in result("families")["runs"] if run.get("init", "authors") == "authors"]

    def found(name, key):
        return [run[key] for run in runs if run["family"] == name]

    mean = {name: statistics.mean(found(name, "error %")) for name in {run["family"] for run in runs}}
    first = ("gaussian", "gaussian-raw", "band-limited")
    assert sorted(mean, key=mean.get)[:3] == list(first)
    spread = statistics.mean(statistics.stdev(found(name, "error %")) for name in first)
    assert mean["band-limited"] - mean["gaussian"] < spread  # not told apart
    assert mean["plain"] == max(mean.values())
    for name in ("paper", "gaussian", "plain"):
        assert f"| {mean[name]:.2f}" in pages["classification"]
    written = runpy.run_path(str(ROOT / "benchmarks" / "families.py"))["table"](result("families"))
    assert written in note("003-stencils")
    assert written in pages["classification"]
    key = "one random layer, 0.4 rad per pixel"
    ours, theirs, raw = (statistics.mean(found(name, key)) for name in ("gaussian", "paper", "gaussian-raw"))
    assert f"| {ours:.1e} |" in pages["equivariance"]
    assert theirs > 10 * ours
    assert raw > 0.1
    assert found("isotropic-eleven", "parameters")[0] < found("gaussian", "parameters")[0]


def test_peers(pages):
    systems = result("equivariance-comparison")["systems"]
    key = "errors at 33, 65, 129"
    one, three = (
        {name: row[key][kind] for name, row in systems.items()} for kind in ("regular -> regular", "three layers, ELU")
    )
    ours, escnn, e2cnn = (one[name][0] for name in ("gaussian", "escnn", "e2cnn-diffop"))
    assert f"relative error {ours:.1e}; escnn {escnn:.1e}, e2cnn's PDOs {e2cnn:.1e}" in pages["index"]
    assert ours < escnn < e2cnn
    assert three["gaussian"][0] < three["escnn"][0] < three["e2cnn-diffop"][0]
    assert three["band-limited"][-1] < three["escnn"][-1] < three["gaussian"][-1]  # a loss
    for name in ("gaussian-raw", "rotated-pixels"):
        assert one[name][-1] > 0.9 * one[name][0]  # no finer grid helps
    assert systems["e2cnn-diffop"]["test error %"] > 50  # did not learn


def test_equivariance_of_the_trained_network(pages):
    measured = result("equivariance-mnist-rot-small-gaussian-seed0")
    depth = list(measured["depth"]["45 degrees"].values())
    assert f"{depth[0]:.1e} behind the first layer, {depth[-1]:.1e} behind the last" in pages["index"]
    assert depth[0] < depth[-1] < max(depth)
    first, last, _ = measured["angle"].values()
    assert max(first[turn] for turn in ("90.0", "180.0", "270.0")) < 1e-6 < last["90.0"]
    waves = list(measured["frequency"]["layer 0"].values())
    assert waves[-1] > 0.5 > 1e-5 > waves[0]


def test_volumes(pages):
    rows = {row["net"]: row["error_percent"] for row in result("volumes")["rows"]}
    plain, ours = rows["plain, trained upright"], rows["24 rotations built in, trained upright"]
    for words, orientation in (("upright", "upright"), ("in any orientation", "any")):
        assert f"{words} {ours[orientation]['mean']:.1f}% and {plain[orientation]['mean']:.1f}%" in pages["index"]
    assert ours["any"]["mean"] + 3 * ours["any"]["sd"] < plain["any"]["mean"]
    assert ours["upright"]["mean"] > plain["upright"]["mean"]  # a loss
    assert ours["any"]["mean"] > 2 * ours["cube"]["mean"]


def test_flow(pages):
    rows = result("optical-flow")["rows"]
    upright = [row["endpoint_error_pixels"]["0"]["mean"] for row in rows]
    every = [row["mean_over_angles_pixels"]["mean"] for row in rows]
    for values, place in ((upright, "upright"), (every, "over all angles")):
        assert f"{place} {', '.join(f'{v:.2f}' for v in values)}" in pages["index"]
    plain, anywhere, regular, irreducible = rows
    for row in (regular, irreducible):
        assert row["mean_over_angles_pixels"]["mean"] < plain["mean_over_angles_pixels"]["mean"] / 2
        assert 0.9 < row["parameters"] / plain["parameters"] < 1.1
        assert row["train_seconds"] > 2 * plain["train_seconds"]  # a loss
    assert every[2] < every[3] < every[1]
    assert upright[0] < upright[1]
    assert anywhere["parameters"] == plain["parameters"]
    rates = result("tuning-optical-flow")["validation_endpoint_error_pixels"]
    for net in (regular, irreducible):
        found = rates[net["net"]]
        assert min(found, key=found.get) == f"{net['learning_rate']:g}, 5 epochs" == list(found)[-1]


def test_representations(pages):
    measured = result("bench-representations")
    for key in PHASES:
        assert max(ratios(measured["layers"], key)) < 1.1
        assert all(f"| {ratio:.2f} (" in pages["speed"] for ratio in ratios(measured["layers"], key))
    gates = [row for row in measured["between"] if row["case"].endswith("GatedActivation")]
    assert min(ratios(gates)) > 2  # a loss
    plane = [row["median_ms"] for row in measured["construction"] if not row["case"].startswith(("O,", "nn"))]
    assert max(plane) < measured["cold_goal_ms"]


def test_comparison_of_systems(pages):
    measured = result("compare-mnist-rot")
    assert table(measured) in note("006-systems")
    assert table(measured) in pages["classification"]
    rows = measured["systems"]
    for name, row in rows.items():  # the Neural ODE and its twin are as published
        assert 20_000 <= row["parameters"] <= 132_000 or name.startswith("neural-ode")
    for name in ("z2cnn", "p4cnn", "sfcnn", "pdo-gaussian"):
        assert len(rows[name]["errors %"]) == 3
    assert abs(rows["e2cnn"]["error %"] - rows["pdo-e2cnn"]["error %"]) < 0.1  # not told apart
    p4, pdo = rows["p4cnn"], rows["pdo-gaussian"]
    assert p4["error %"] < pdo["error %"]  # a loss
    assert p4["seconds an epoch"] < 0.6 * pdo["seconds an epoch"]
    assert pdo["equivariance error at 90"] > 0.1 > 1e-10 > p4["equivariance error at 90"]


def test_cifar(pages):
    rows = result("cifar-narrow")["rows"]
    for row in rows:
        assert f"{row['title']} {row['test_error_percent']:.2f}%" in pages["index"]
        errors = ", ".join(f"{error:.1f}" for error in row["valid_error_by_epoch"])
        cells = f"| {row['parameters']:,} | {row['test_error_percent']:.2f} | {errors} | {row['minutes']:.0f} |"
        assert cells in note("008-training")
        assert cells in pages["classification"]
        assert row["selection"].endswith("test set read once")
        assert row["quarter_turn"] > 0.5  # none is invariant
    z2, *ours = rows
    assert all(row["test_error_percent"] < z2["test_error_percent"] - 5 for row in ours)
    assert all(abs(row["parameters"] / z2["parameters"] - 1) < 0.02 for row in ours)
    assert all(row["minutes"] > 3 * z2["minutes"] for row in ours)  # a loss


def test_larger_network(pages):
    run = result("mnist-rot-large-seed0")
    assert (
        f"{run['parameters']:,} parameters, {run['settings']['epochs']} epochs on 10,000 images"
        in pages["classification"]
    )
    assert f"**{run['test_error_percent']:.2f}%**" in pages["classification"]
    assert run["selection"].endswith("test set read once")


def test_laws_of_pdes(pages):
    texts = (note("007-pdes"), pages["restoration"])
    measured = result("pde-laws")
    for schemes, wanted in zip(measured["change when turned by 30 degrees"].values(), (2, 4), strict=True):
        orders = [math.log2(errors[-2] / errors[-1]) for errors in schemes.values()]
        for text in texts:
            assert f"orders {min(orders):.2f} to {max(orders):.2f}" in text
            assert f"at most {max(errors[-1] for errors in schemes.values()):.1e}" in text
        assert min(orders) > wanted - 0.1
    orders = [math.log2(errors[-2] / errors[-1]) for errors in measured["error of solvers"].values()]
    assert ", ".join(f"{order:.2f}" for order in orders) in texts[0]
    assert all(f"observed order {order:.2f}" in texts[1] for order in orders)
    moved = measured["change by batch-mates"]
    assert [moved[solver] for solver in ("euler", "midpoint", "rk4")] == [0, 0, 0]
    for errors in ([v for k, v in moved.items() if "dopri5" in k], measured["error of adjoint gradients"].values()):
        assert ", ".join(f"{error:.1e}" for error in errors) in texts[0]
        assert all(f"| {error:.1e} |" in texts[1] for error in errors)
    for kept in measured["numbers kept for a gradient"].values():
        assert all(f"{kept:,}" in text for text in texts)


@pytest.mark.parametrize("name", ["denoise", "deblur", "inpaint", "demosaick", "edges", "text"])
def test_tables_of_restoration(name, pages):
    written = restoration_table(result(f"restoration-{name}"))
    assert written in note("007-pdes")
    assert written in pages["restoration"]


def test_denoising(pages):
    rows = result("restoration-denoise")["systems"]
    psnr = {name: list(row["psnr"].values()) for name, row in rows.items()}
    for name in ("neural-pde", "lpde-general", "dncnn", "tnrd", "bm3d", "tv-flow"):
        assert f"{rows[name]['title']} {psnr[name][0]:.2f}" in pages["index"]
    classical = ("heat", "perona-malik", "mean-curvature", "tv-flow", "tv")
    for place in range(2):
        assert psnr["lpde-general"][place] > max(psnr[name][place] for name in classical) + 1
        assert psnr["neural-pde"][place] > psnr["dncnn"][place] - 0.3
        assert psnr["tnrd"][place] > psnr["neural-pde"][place]  # losses, from here
        assert psnr["lpde"][place] < psnr["tv-flow"][place]
    assert psnr["bm3d"][0] > max(psnr[name][0] for name in rows if "pde" in name)
    assert rows["tnrd"]["seconds"] < rows["neural-pde"]["seconds"]
    assert rows["neural-pde"]["parameters"] < rows["dncnn"]["parameters"] / 10


def test_inpainting():
    rows = result("restoration-inpaint")["systems"]
    steady = rows["harmonic"]["psnr"]
    for name in ("perona-malik", "tv-flow"):
        assert rows[name]["psnr"] == pytest.approx(steady, abs=0.01)


def test_lower_precision(pages):
    (row,) = result("precision")["rows"]
    found = row["precisions"]
    base, whole = found["float32, torch"], found["int8, onnxruntime"]
    assert whole["equivariance_error_90"] == 0
    assert whole["speed"] > 2
    assert abs(whole["test_error_percent"] - base["test_error_percent"]) < 0.1
    assert whole["bytes"] < 0.3 * base["bytes"]
    assert found["bfloat16, torch"]["speed"] < 0.5  # a loss
    for name, values in found.items():
        error, speed, size = f"{values['test_error_percent']:.2f}", f"{values['speed']:.2g}", f"{values['bytes']:,}"
        turn = f"{values['equivariance_error_90']:.1e}"
        assert f"| {name} | {error} | {speed} | {size} | {turn} |" in note("009-convert")
        assert (
            f"| {name} | {error} | {values['same_class_percent']:.2f} | {speed} | {size} | {turn} |"
            in pages["conversion"]
        )


def test_converted_networks(pages):
    rows = result("convert")["rows"]
    written = runpy.run_path(str(ROOT / "benchmarks" / "convert.py"))["table"](rows)
    assert written in note("009-convert")
    assert written in pages["conversion"]
    before, after = ([row["error_quarter_turn_before"] for row in rows], [row["errors"]["90 degrees"] for row in rows])
    assert f"by {min(before):.1e} to {max(before):.1e} before, at most {max(after):.1e} after" in pages["index"]
    assert max(after) < 1e-5 < min(before)
    sizes = [row["parameters"][1] / row["parameters"][0] - 1 for row in rows]
    assert max(map(abs, sizes)) < 0.05
    assert f"within {100 * max(map(abs, sizes)):.1f}%" in pages["conversion"]
    at45 = {row["title"]: row["errors"]["45 degrees"] for row in rows if "45 degrees" in row["errors"]}
    patches = next(title for title in at45 if "ConvNeXt" in title)
    assert at45[patches] > 1 > 5 * max(error for title, error in at45.items() if title != patches)
    assert min(row["slower"] for row in rows) > 4  # a loss


def test_segmentation(pages):
    rows = result("segmentation")["rows"]
    for row in rows:
        upright, turned = row["upright"]["mean_iou"], row["turned"]["mean_iou"]
        assert f"{row['title']} {upright:.2f} and {turned:.2f}" in pages["index"]
        cells = (f"{row['parameters']:,}", f"{upright:.3f}", f"{turned:.3f}", f"{row['train_seconds'] / 60:.0f}")
        for text in (note("009-convert"), pages["conversion"]):
            assert f"| {row['title']} | {' | '.join(cells)} |" in text
    plain, anywhere, p4, p8 = ([row[k]["mean_iou"] for k in ("upright", "turned")] for row in rows)
    assert p8[1] > p4[1] > anywhere[1] > plain[1]
    assert min(p4[0], p8[0]) > plain[0] - 0.05
    assert [row["quarter_turn"] < 1e-5 for row in rows] == [False, False, True, True]
    assert min(row["train_seconds"] for row in rows[2:]) > 2 * rows[0]["train_seconds"]  # a loss
