"""The benchmarks start, plan within their budget, and compare what they say."""

import json
import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

import pdoconv as pdo

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_ratios_alternate_and_keep_the_spread(capsys):
    import common

    order = []
    result = common.ratios(lambda: order.append("a"), lambda: order.append("b"), rounds=4, title="x")
    assert "".join(order) == "ababab" + "abbaabba"
    assert result["quartile_low"] <= result["ratio"] <= result["quartile_high"]
    assert result["rounds"] == 4
    assert "x: round 4" in capsys.readouterr().err


def test_ratios_of_known_times(capsys):
    import common

    ours, peer = iter([9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0]), iter([9.0, 9.0, 9.0, 2.0, 2.0, 2.0, 2.0])
    result = common.ratios(lambda: next(ours), lambda: next(peer), rounds=4, title="x")
    assert result == {
        "ratio": 1.25,
        "quartile_low": 0.625,
        "quartile_high": 1.875,
        "ours_ms": 2500.0,
        "peer_ms": 2000.0,
        "rounds": 4,
    }
    assert common.ratio([3.0], [2.0])["quartile_low"] == 1.5


def test_rounds_follow_the_budget(capsys):
    import common

    calls = {"a": lambda: 1.0}
    assert len(common.alternate(calls, title="x", seconds=0.0, least=5)["a"]) == 5
    assert len(common.alternate(calls, title="x", seconds=9.0)["a"]) == common.MOST_ROUNDS


def test_cases_obey_the_budget():
    import cases

    grid = cases.grid()
    assert len(grid) == len(set(grid)) == 5 + 5 * 10
    assert [(c.group, c.fields, c.batch()) for c in grid if c.goal] == [("C8", 32, 16), ("C16", 16, 16), ("D8", 16, 16)]
    for case in grid:
        for seconds in (0.1, 1.5):
            batch = case.batch(seconds)
            flops = 6 * case.channels**2 * case.kernel**2 * case.pixels**2 * batch
            assert 1 <= batch <= 16
            assert batch == 1 or flops <= seconds * cases.RATE
            assert batch == 16 or flops * (batch + 1) / batch > seconds * cases.RATE
    assert {c.batch() for c in grid} >= {1, 16}
    for group in cases.CENTRES:
        for axis, values in cases.LINES.items():
            assert [getattr(c, axis) for c in cases.line(grid, axis, group)] == list(values)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_narrow_layer_has_the_nearest_number_of_parameters(kernel):
    import cases

    def count(channels):
        return sum(p.numel() for p in nn.Conv2d(channels, channels, kernel).parameters())

    for parameters in (1, 500, 106_528):
        c = cases.narrow_channels(parameters, kernel)
        assert c >= 1
        others = [abs(count(max(1, other)) - parameters) for other in (c - 1, c + 1)]
        assert abs(count(c) - parameters) <= min(others)


def test_exponent_of_a_power():
    import group_order

    sizes = [2, 4, 8, 12, 16]
    assert group_order.slope(sizes, [99.0, *(n**1.5 for n in sizes[1:])]) == 1.5


def test_representations_print_as_they_are_written():
    import representations

    for case in representations.COLD + representations.LAYERS:
        assert [str(kind) for kind in case.types()] == [f"{case.group}: {text}" for text in (case.into, case.out)]
    assert {case.types()[side].channels for case in representations.LAYERS for side in (0, 1)} == {96}
    assert len({case.title for case in representations.COLD}) == 6 * 6 + 2 + 2


def test_representations_measure_a_small_layer(monkeypatch, capsys):
    import representations

    monkeypatch.setattr(representations, "BATCH", 1)
    monkeypatch.setattr(representations, "PIXELS", 8)
    case = representations.Case("small", "C4", "1 irrep(1)", "1 regular", 3)
    row = representations.layer(case, rounds=2)
    assert row["parameters"][1] == 2 * 4 * 9 + 4
    assert all(row[phase]["rounds"] == 2 for phase in ("forward_backward", "inference"))
    gate = representations.compare("gate", pdo.GatedActivation(case.types()[0]), nn.ReLU(), rounds=2)
    assert gate["in_type"] == "C4: 1 trivial + 1 irrep(1)"
    first, plain = representations.construction([case], processes=1)
    assert first["median_ms"] == first["most_ms"] > 0
    assert "goal_met" in first
    assert "goal_met" not in plain


def test_networks_have_equal_channels():
    import tutorial_network as tutorial

    assert (
        [8 * n for n in tutorial.fields(8)]
        == [16 * n for n in tutorial.fields(16)]
        == [4 * n for n in tutorial.fields(4)]
    )
    assert min(tutorial.fields(16, 0.01)) == 1
    with pytest.raises(ValueError, match="Unknown system 'x'"):
        tutorial.build("x")


@pytest.mark.parametrize(
    "script",
    [
        "layer_speed",
        "volume_speed",
        "group_order",
        "start_speed",
        "start_worker",
        "networks",
        "network_worker",
        "representations",
    ],
)
def test_help(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(BENCHMARKS / f"{script}.py"), run_name="__main__")
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_worker_answers_commands():
    words = ["--system", "plain", "--batch", "2", "--fields-scale", "0.04"]
    call = subprocess.run(
        [sys.executable, str(BENCHMARKS / "network_worker.py"), *words],
        input="step\nmemory\neval\nquit\n",
        capture_output=True,
        text=True,
        check=True,
    )
    built, step, memory, infer = (json.loads(line) for line in call.stdout.splitlines())
    assert built["parameters"] > 1000
    assert memory["peak_mb"] == max(built["construction_mb"], memory.get("training_mb", memory["peak_mb"]))
    assert all(math.isfinite(each["seconds"]) and each["seconds"] > 0 for each in (step, infer))
