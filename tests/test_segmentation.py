"""Training of U-Nets on scenes: what is learned, measured, resumed and refused."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import relative
from torch import nn

from pdoconv.data import Scenes, digit_scenes
from pdoconv.recipes.segmentation import SYSTEMS, Segmentation
from pdoconv.training import segmenter
from pdoconv.training.segmenter import Batches, as_input, measure, train_segmenter

TINY = {"scenes": 16, "epochs": 3, "batch": 8, "lr": 0.01}


@pytest.fixture(scope="module")
def scenes():
    return digit_scenes(16), digit_scenes(4, source="valid")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_systems_have_equal_parameters():
    counts = {name: sum(p.numel() for p in Segmentation(name).network().parameters()) for name in SYSTEMS}
    assert counts["plain"] == counts["plain-turned"]
    assert all(abs(count / counts["plain"] - 1) < 0.05 for count in counts.values())
    net = Segmentation("p8").network().eval()
    x = torch.randn(2, 1, 64, 64)
    assert relative(net(x.rot90(1, (2, 3))), net(x).rot90(1, (2, 3))) < 1e-4
    plain = Segmentation("plain").network().eval()
    assert relative(plain(x.rot90(1, (2, 3))), plain(x).rot90(1, (2, 3))) > 0.1  # negative control
    assert relative(Segmentation("p8").network().eval()(x), net(x)) == 0  # of one seed
    assert relative(Segmentation("p8", seed=1).network().eval()(x), net(x)) > 0.1


def test_batches_depend_on_seed_and_step_alone(scenes):
    settings = Segmentation("p4", **TINY)
    whole = list(Batches(scenes[0], settings))
    assert len(whole) == settings.steps == 6
    for start in (1, 4):
        for (x, y), (u, v) in zip(whole[start:], Batches(scenes[0], settings, start), strict=True):
            assert torch.equal(x, u)
            assert torch.equal(y, v)
    first, second = (torch.cat([x for x, _ in whole[i : i + 2]]) for i in (0, 2))
    assert not torch.equal(first, second)  # another order
    assert relative(first.sum((0, 1)), second.sum((0, 1))) < 1e-4  # of the same scenes, every one once
    turned = list(Batches(scenes[0], Segmentation("plain-turned", **TINY)))
    angles = [torch.cat([x for x, _ in turned[i : i + 2]]).sum((0, 1)) for i in (0, 2)]
    assert relative(*angles) > 0.01  # drawn anew
    again = list(Batches(scenes[0], Segmentation("plain-turned", **TINY), 3))
    assert torch.equal(again[0][0], turned[3][0])


def test_measures_of_known_answers():
    """IoU and Dice by hand, of all pixels together, mean over the classes."""

    class Fixed(nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer, self.unused = answer, nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return 20.0 * torch.nn.functional.one_hot(self.answer[: len(x)], 10).permute(0, 3, 1, 2).float()

    labels = np.arange(40, dtype=np.uint8).reshape(1, 5, 8) % 10
    scenes, settings = Scenes(np.zeros((1, 5, 8), np.uint8), labels), Segmentation()
    right = measure(Fixed(torch.from_numpy(labels).long()), scenes, settings)
    assert right["mean_iou"] == right["dice"] == 1
    assert right["loss"] < 1e-6
    guess = torch.from_numpy(labels).long()
    guess[guess == 3] = 4  # class 3 is missed, 4 has twice its pixels
    wrong = measure(Fixed(guess), scenes, settings)
    assert wrong["mean_iou"] == pytest.approx((8 + 0 + 1 / 2) / 10, abs=1e-4)
    assert wrong["dice"] == pytest.approx((8 + 0 + 2 / 3) / 10, abs=1e-4)
    assert wrong["loss"] == pytest.approx(4 * 20 / (36 + 4 * 0.1), rel=1e-3)  # background weighs a tenth


def test_train_resume_and_read_again(scenes, tmp_path, monkeypatch, capsys):
    settings = Segmentation("p4", **TINY)
    net, result = train_segmenter(settings, *scenes, tmp_path / "whole")
    assert "p4: step 6/6" in capsys.readouterr().err
    assert result["train_loss"] < math.log(10)
    assert set(result["valid"]) == {"mean_iou", "dice", "loss"}
    assert result == json.loads((tmp_path / "whole" / "result.json").read_text())
    assert not net.training

    class Stops(Batches):
        def __iter__(self):
            for place, batch in enumerate(super().__iter__()):
                if place == 5:
                    raise RuntimeError("the power went")
                yield batch

    with monkeypatch.context() as patch:
        patch.setattr(segmenter, "Batches", Stops)
        with pytest.raises(RuntimeError, match="the power went"):
            train_segmenter(settings, *scenes, tmp_path / "cut")
    assert not (tmp_path / "cut" / "result.json").exists()
    again, resumed = train_segmenter(settings, *scenes, tmp_path / "cut")
    assert resumed["valid"] == result["valid"]
    x, _ = as_input(scenes[1].upright())
    with torch.no_grad():
        assert torch.equal(again(x), net(x))
        reread, known = train_segmenter(settings, *scenes, tmp_path / "whole")
        assert torch.equal(reread(x), net(x))
    assert known == result
    with pytest.raises(ValueError, match="other settings or scenes: choose another folder"):
        train_segmenter(Segmentation("p4", **TINY | {"lr": 0.02}), *scenes, tmp_path / "whole")
    with pytest.raises(ValueError, match="other settings or scenes"):
        train_segmenter(settings, digit_scenes(16, seed=1), scenes[1], tmp_path / "whole")
    with pytest.raises(ValueError, match="Expected 16 training scenes, received 4"):
        train_segmenter(settings, scenes[1], scenes[1], tmp_path / "other")


def test_a_loss_that_is_not_finite_stops_the_run(scenes, tmp_path):
    net = Segmentation("plain", **TINY).network()
    with torch.no_grad():
        next(net.parameters()).fill_(math.nan)
    module = segmenter.SegmenterModule(net, Segmentation("plain", **TINY))
    with pytest.raises(ValueError, match="training loss became nan: lower the learning rate"):
        module.training_step(next(iter(Batches(scenes[0], Segmentation("plain", **TINY)))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "p5"}, "Unknown system 'p5': expected one of plain"),
        ({"epochs": 0}, "epochs >= 1"),
        ({"scenes": 8, "batch": 16}, "at least a batch of scenes"),
        ({"lr": 0.0}, "lr > 0"),
        ({"background": 0.0}, r"background in \(0, 1\]"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Segmentation(**options)


def test_the_comparison_in_small(tmp_path, monkeypatch, capsys):
    benchmarks = Path(__file__).parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    import segmentation

    for name, value in (("ANGLES", (0, 90)), ("VALID", 2), ("TEST", 3), ("CURVE", 3)):
        monkeypatch.setattr(segmentation, name, value)
    result = tmp_path / "segmentation.json"
    words = ["--systems", "plain", "p4", "--seeds", "1", "--scenes", "16", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["segmentation.py", *words, "--runs", str(tmp_path), "--result", str(result)])
    segmentation.main()
    content = json.loads(result.read_text())
    assert [row["system"] for row in content["rows"]] == ["plain", "p4"]
    plain, p4 = content["rows"]
    assert p4["quarter_turn"] < 1e-4 < 1e-2 < plain["quarter_turn"]
    assert len(plain["curve"]) == 2
    assert result.with_suffix(".png").stat().st_size > 10_000
    assert "| Equivariant U-Net, p4 |" in capsys.readouterr().out
