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
    assert f"**{statistics.mean(errors):.2f}%**" in readme
    assert f"({each}, standard deviation {statistics.stdev(errors):.2f})" in readme
    assert f"{runs[0]['parameters']:,}" in readme
    assert all(run["selection"].endswith("test set read once") for run in runs)
    demo = result("demo.json")
    assert f"{demo['test_error_percent']:.2f}% after {demo['settings']['epochs']} epochs" in readme


def test_speed(readme):
    rows = result("bench-layer.json")["rows"]
    for key in ("forward_backward", "inference"):
        ratios = [row[key]["ratio"] for row in rows]
        assert f"{min(ratios):.2f} to {max(ratios):.2f}" in readme


def test_equivariance(readme):
    curves = result("equivariance-mnist-rot-small-seed0.json")
    first, features = curves["first layer"], curves["features, angles of C8"]
    for curve in (first, features):
        assert f"{curve['45']:.1e} at 45 degrees, {curve['90']:.0e} at 90" in readme
