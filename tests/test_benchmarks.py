"""The benchmarks start, plan within their budget, and compare what they say."""

import json
import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pdoconv as pdo
from pdoconv.data import MnistRot, Split
from pdoconv.recipes import mnist_rot_small, volumes_small

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


def test_resnets_have_the_layout_of_the_library():
    import resnets

    config = {"widths": (4, 6), "units": 2, "kernel_size": 3, "eps": 1e-5}
    ours = pdo.models.PreActResNet(pdo.cyclic(1), filters=pdo.filters.rotated(), **config)
    plain = resnets.plain([4, 6], units=2, kernel_size=3)
    for theirs, own in zip(plain.parameters(), ours.parameters(), strict=True):
        theirs.data = own.detach().clone().reshape(theirs.shape)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(plain(x), ours(x))
    plain.features[3].shortcut.weight.data *= 2  # the law is not blind to a part of the network
    assert not torch.allclose(plain(x), ours(x), rtol=1e-3)


def test_resnets_have_the_sizes_they_promise():
    import resnets

    def parameters(system, network):
        return sum(p.numel() for p in resnets.build(system, resnets.NETWORKS[network]).parameters())

    assert parameters("auto", "resnet44") == 2_621_693
    assert parameters("z2", "resnet44") == 2_636_074
    assert parameters("auto", "narrow") == parameters("dense", "narrow")
    with pytest.raises(ValueError, match="Unknown system 'x'"):
        resnets.build("x", resnets.NETWORKS["narrow"])


@pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
def test_resnets_have_equal_convolutions():
    import resnet_speed
    import resnets

    work = {
        name: resnets.convolution_gflops(resnets.build(name, resnets.NETWORKS["narrow"])) for name in ("dense", "z2")
    }
    work["plain"] = resnets.convolution_gflops(resnets.plain([32, 64, 128], units=1, kernel_size=5))
    resnet_speed.check_equal(work)
    first = 2 * 32 * 32 * 32 * 25 * 3
    assert first / 1e9 < work["z2"]["convolution_gflops"] < work["plain"]["convolution_gflops"] / 5
    with pytest.raises(RuntimeError, match="Expected networks with equal convolutions, received GFLOP per image"):
        resnet_speed.check_equal({"dense": work["dense"], "plain": work["z2"]})


def test_resnet_speeds_of_known_times():
    import resnet_speed

    times = {"auto": [100.0, 200.0, 400.0], "escnn": [200.0, 400.0, 400.0], "z2": [50.0, 50.0, 50.0]}
    rows = resnet_speed.speeds(times, batch=32)
    assert [rows[name]["images_per_second"] for name in times] == [160.0, 80.0, 640.0]
    assert rows["auto"]["over_escnn"] == {"ratio": 2.0, "quartile_low": 1.0, "quartile_high": 2.0}
    assert "over_z2" not in rows["z2"]
    built = {"parameters": 1234, "construction_seconds": 0.5, "peak_mb": 10.0}
    systems = {name: {**built, "forward_backward": row, "inference": row} for name, row in rows.items()}
    lines = resnet_speed.table({"network": "narrow", "batch": 32, "systems": systems}).splitlines()
    assert lines[1].split() == ["auto", "1,234", "0.50", "10", *["160.00", "2.00", "1.00-2.00", "-", "0.25"] * 2]
    assert len({len(line) for line in lines}) == 1


def digits(n):
    images = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)
    return Split(images, (np.arange(n) % 10).astype(np.uint8))


@pytest.mark.filterwarnings("default")
def test_families_train_and_measure(monkeypatch):
    import families

    monkeypatch.setattr(mnist_rot_small, "mnist_rot", lambda: MnistRot(digits(128), digits(20), digits(30)))
    monkeypatch.setattr(families, "BUDGET", families.BUDGET | {"epochs": 1})
    monkeypatch.setattr(families, "equivariance", lambda net, name: {"logits, digits": 0.5})
    row = families.train("gaussian", 0, "authors", *digits(40))
    assert (row["family"], row["parameters"]) == ("gaussian", 26_550)
    assert row["error %"] * 40 / 100 == pytest.approx(round(row["error %"] * 40 / 100))  # of 40 images


@pytest.mark.filterwarnings("default")
def test_volumes_measure_every_orientation(monkeypatch, tmp_path):
    import volumes

    for module in (volumes, volumes_small):
        monkeypatch.setattr(module, "TEST", 16)
    monkeypatch.setattr(volumes_small, "VALID", 8)
    settings = volumes_small.VolumesSmall(epochs=1, samples=16, batch_size=8, fields=1)
    found = volumes.errors(settings, tmp_path)
    assert found["train_images"] == 16
    assert all(found[orientation] % 6.25 == 0 for orientation in volumes.ORIENTATIONS)
    assert volumes.errors(settings, tmp_path) == found  # the run is not repeated


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
        "resnet_speed",
        "resnet_worker",
        "augment_speed",
        "cifar",
        "scaling",
    ],
)
def test_help(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(BENCHMARKS / f"{script}.py"), run_name="__main__")
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("script", "options"),
    [("network_worker.py", ["--fields-scale", "0.04"]), ("resnet_worker.py", ["--network", "narrow"])],
)
def test_worker_answers_commands(script, options):
    call = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--system", "plain", "--batch", "2", *options],
        input="step\nmemory\neval\nquit\n",
        capture_output=True,
        text=True,
        check=True,
    )
    built, step, memory, infer = (json.loads(line) for line in call.stdout.splitlines())
    assert built["parameters"] > 1000
    assert memory["peak_mb"] == max(built["construction_mb"], memory.get("training_mb", memory["peak_mb"]))
    assert all(math.isfinite(each["seconds"]) and each["seconds"] > 0 for each in (step, infer))
