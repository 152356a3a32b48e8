"""Every figure in the README comes from a file in results/."""

import json
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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


def test_speed(readme):
    for name in ("bench-layer.json", "bench-volume.json"):
        rows = result(name)["rows"]
        for key in ("forward_backward", "inference"):
            ratios = [row[key]["ratio"] for row in rows]
            assert f"{min(ratios):.2f} to {max(ratios):.2f}" in readme


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


def test_equivariance_of_the_trained_network(readme):
    panels = result("equivariance-mnist-rot-small-gaussian-seed0.json")
    depth = list(panels["depth"]["45 degrees"].values())
    assert f"{depth[0]:.1e} behind the first layer, {depth[-1]:.1e} behind the last" in readme
