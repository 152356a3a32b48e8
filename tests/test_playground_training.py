"""How the playground's networks are trained and measured: alike, resumed to the same weights, on digits kept apart."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pdoconv.playground.networks import ANGLES, turned

TINY = {"digits": 16, "epochs": 2, "batch": 8}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import playground

    return playground


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def digits(script):
    (images, labels), test = script.mnist()
    assert (len(images), len(test[0])) == (50_000, 10_000)  # the last 10,000 training digits are kept apart
    return images[:200], labels[:200]


def test_training_goes_on_to_the_same_weights(script, digits, tmp_path, monkeypatch, capsys):
    settings = script.Settings(**TINY)
    whole, known = script.train(digits, settings, tmp_path / "whole.pt")
    assert known["epochs"] == 2
    assert known["trained_on"]["versions"]["torch"] == torch.__version__
    pictures = script.pictures

    def stopped(training, asked, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return pictures(training, asked, epoch)

    monkeypatch.setattr(script, "pictures", stopped)
    with pytest.raises(KeyboardInterrupt):
        script.train(digits, settings, tmp_path / "parts.pt")
    monkeypatch.setattr(script, "pictures", pictures)
    parts, again = script.train(digits, settings, tmp_path / "parts.pt")
    assert again["train_loss"] == known["train_loss"]
    for name, net in whole.items():
        assert not net.training
        other = parts[name].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in net.state_dict().items()), name
    with pytest.raises(ValueError, match=r"parts.pt belongs to other settings: remove it"):
        script.train(digits, replace(settings, lr=0.02), tmp_path / "parts.pt")


def test_pictures_depend_on_seed_and_epoch_alone(script, digits, capsys):
    settings = script.Settings(**TINY)
    images, labels = script.pictures(digits, settings, 0)
    assert images.shape == (16, 1, 36, 36)
    assert torch.equal(labels[::2], labels[1::2])  # two views of a digit lie side by side
    assert not torch.equal(images[::2], images[1::2])
    again = script.pictures(digits, settings, 0)
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])
    assert not torch.equal(images, script.pictures(digits, settings, 1)[0])
    drawn = script.draws(digits, replace(settings, digits=200), 0)
    angles = np.array([degrees for _, degrees, _, _ in drawn])
    assert 20 < np.abs(angles).max() <= 22.5  # half a step of C8, no more
    assert max(abs(s) for _, _, shift, _ in drawn for s in shift) <= 1
    assert 0.85 <= min(s for *_, s in drawn) < max(s for *_, s in drawn) <= 1.1
    place, degrees, shift, scale = drawn[3]
    expected = turned(digits[0][place], degrees, shift=shift, scale=scale)
    found = script.pictures(digits, replace(settings, digits=200), 0)[0]
    assert torch.equal(found[3, 0], torch.from_numpy(expected))


class Sums(torch.nn.Module):
    """Logits that say whether the upper half has more ink than the lower: class 0 or 1."""

    def forward(self, x):
        rows = x.sum((1, 3))
        y = torch.stack([rows[:, :18].sum(1), rows[:, 18:].sum(1)], 1)
        return torch.cat([y, torch.full((len(x), 8), -1.0)], 1), x, x


class Ink(torch.nn.Module):
    """Logits of the ink alone, which no turn changes: class 0."""

    def forward(self, x):
        return torch.cat([x.sum((1, 2, 3))[:, None], torch.zeros(len(x), 9)], 1), x, x


def test_measures_are_right_for_known_networks(script, digits, capsys):
    nets = {"constant": Ink(), "halves": Sums()}
    images, labels = digits[0][:6], digits[1][:6]
    found = script.measured(nets, (images, labels), 6, 4)
    constant, halves = found["constant"], found["halves"]
    assert constant["error_upright"] == pytest.approx((labels != 0).mean())
    assert constant["error_any_angle"] == pytest.approx((labels[:4] != 0).mean(), rel=1e-3)
    assert constant["constant_class"] == 1
    assert constant["right_at_all_angles"] == pytest.approx((labels[:4] == 0).mean(), rel=1e-3)
    assert constant["logits_change_max"] < 0.01
    assert len(constant["error_by_angle"]) == len(ANGLES) == 72
    assert halves["constant_class"] == 0  # a half turn exchanges the halves
    assert halves["logits_change_max"] > constant["logits_change_max"]


def test_changes_are_relative_to_upright(script):
    logits = torch.zeros(1, 72, 10)
    logits[0, :, 3] = 2.0
    logits[0, 9, 4] = 1.0  # at 45 degrees
    logits[0, 18, 5] = 3.0  # at 90 degrees: another class
    found = script.constancy(list(logits), torch.tensor([3]))
    assert found["logits_change_max"] == 1.5
    assert found["logits_change_quarter_turns"] == 1.5
    assert found["logits_change_eighth_turns"] == pytest.approx(0.5 / 4)
    assert found["constant_class"] == found["right_at_all_angles"] == 0
    assert math.isclose(found["error_any_angle"], 1 / 72, rel_tol=1e-3)
