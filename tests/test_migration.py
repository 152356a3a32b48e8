"""docs/migrate.md: its names exist, and what it says about escnn holds where escnn is installed."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

import pdoconv as pdo

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "migrate.md"
ESCNN = ROOT / ".venv-escnn" / "bin" / "python"
ROUNDING = 2e-6


@pytest.fixture(scope="module")
def found():
    if not ESCNN.exists():
        pytest.skip("escnn is not installed: make bench-peers makes .venv-escnn")
    script = ROOT / "benchmarks" / "escnn_migration.py"
    done = subprocess.run([ESCNN, script, PAGE], capture_output=True, text=True, timeout=900, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_names_of_this_package_exist():
    text = PAGE.read_text()
    for name in set(re.findall(r"\bpdo((?:\.\w+)+)", text)):
        place = pdo
        for part in name[1:].split("."):
            assert hasattr(place, part), name
            place = getattr(place, part)
    for name in set(re.findall(r"\bnn\.(\w+)", text.replace("enn.", ""))):
        assert hasattr(nn, name), name


def test_the_table_can_be_typed_in():
    group, x = pdo.cyclic(16), torch.zeros(1, 32, 8, 8)
    a = b = t = type_a = type_b = group.regular(2)
    net = pdo.Sequential(pdo.PDOConv2d(a, b, 5, padding=2), pdo.BatchNorm2d(b)).eval()
    known = {"pdo": pdo, "nn": nn, "group": group, "x": x, "a": a, "b": b, "t": t, "net": net, "k": 1, "g": 4}
    known |= {"type_a": type_a, "type_b": type_b, "type": t}
    rows = re.findall(r"^\| .* \| (.*) \| .*\|$", PAGE.read_text(), re.MULTILINE)
    expressions = [code for row in rows for code in re.findall(r"`([^`]*[(+][^`]*)`", row)]
    assert len(expressions) > 30
    for code in expressions:
        assert eval(code, known) is not None, code  # the page is our own


@pytest.mark.slow
def test_names_of_escnn_exist(found):
    e2cnns, optional = {"R2Diffop"}, {"R2PointConv", "R3PointConv"}  # the latter need torch-geometric
    assert set(found["missing"]) == e2cnns | optional


@pytest.mark.slow
def test_the_network_of_the_page(found):
    networks = found["networks"]
    ours, theirs = networks["parameters"]
    assert ours == theirs
    assert f"{ours:,} parameters" in PAGE.read_text()
    assert networks["left over"] < ROUNDING
    assert networks["logits differ"] < 1e-4 < 0.1 < networks["logits differ before"]
    assert networks["error of the peer at 90 degrees"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["C4", "D4", "D4, axis 0", "y to -y", "O"])
def test_order_of_channels(found, name):
    orders = found["orders"]
    assert orders[f"{name}: left over"] < 1e-6
    assert orders[name] < ROUNDING
    if name != "O":
        assert orders[f"{name}: left over between"] < 1e-6
        assert orders[f"{name} between"] < ROUNDING
    if name != "y to -y":
        assert orders[f"{name}, shuffled"] > 0.3


@pytest.mark.slow
def test_layers_that_the_table_calls_equal(found):
    layers = dict(found["layers"])
    assert layers.pop("GatedNonLinearity1, random bias") > 0.1
    assert layers.pop("NormPool") < 1e-4  # smoothed at zero
    assert layers.pop("NormNonLinearity") < 1e-4
    assert len(layers) == 11
    assert max(layers.values()) < ROUNDING


@pytest.mark.slow
def test_irreducible_fields_have_the_same_matrices(found):
    assert max(found["irreducible"].values()) < 1e-6
    assert found["quotient"] < 1e-9


@pytest.mark.slow
def test_as_many_weights(found):
    assert len(found["weights"]) == 6
    assert all(ours == theirs for ours, theirs in found["weights"].values())


@pytest.mark.slow
def test_what_fails_with_escnn(found):
    assert found["tools"] == {"state_dict": False, "pickle": False, "torch.export": False}
