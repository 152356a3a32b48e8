"""Runs that are stopped in time, at every step, and go on: the weights are those of an undisturbed run, bit for bit."""

import itertools
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from runs import NAME, SMALL, command, end, one_thread, options, program, same
from tiny_run import few_images

from pdoconv.recipes import MnistRotSmall, mnist_rot_small
from pdoconv.training import slots
from pdoconv.training.batches import TrainingBatches
from pdoconv.training.classifier import Classifier
from pdoconv.training.folder import RunFolder
from pdoconv.training.run import train

pytestmark = pytest.mark.filterwarnings("default")
RECIPES = {
    "one-cycle, AdamW, dropout": {"dropout": 0.2},
    "cosine, SGD, average": {"schedule": "cosine", "optimizer": "sgd", "ema": 0.9, "filters": "gaussian", "fields": 1},
    "augmentation": {"crop": 2, "flip": True, "rotate": 20.0, "cutout": 4, "mixup": 0.3, "dropout": 0.1, "ema": 0.5},
    "steps, all images, bfloat16": {"schedule": "steps", "train_on": "all", "precision": "bf16-mixed"},
}
STEPS = 6


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", few_images)


def stopped_at_every_step(settings, run, monkeypatch):
    """Go on for one step at a time; return the steps at which the run stopped."""
    clock = itertools.count(0, 60)  # a minute passes whenever it is looked at
    monkeypatch.setattr(slots, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    stops, done = [], None
    while done is None:
        done = train(NAME, settings, run, resume=bool(stops), max_minutes=0.5)
        newest = torch.load(RunFolder(run).newest_checkpoint(), weights_only=True)
        stops.append(newest["global_step"])
    return stops


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_stopped_at_every_step(changes, tmp_path, monkeypatch):
    settings = MnistRotSmall(**SMALL | changes)
    train(NAME, settings, tmp_path / "whole")
    steps = STEPS if settings.train_on == "train" else 8
    assert stopped_at_every_step(settings, tmp_path / "parts", monkeypatch) == list(range(1, steps + 1))
    assert same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("owner", "method"),
    [(TrainingBatches, "load_state_dict"), (Classifier, "on_train_batch_start")],
    ids=["place in the epoch", "seeds of dropout"],
)
def test_what_is_forgotten_shows(owner, method, tmp_path, monkeypatch):
    """Negative controls: other weights, if a resumed run has lost something."""
    monkeypatch.setattr(owner, method, lambda *args: None)
    settings = MnistRotSmall(**SMALL, dropout=0.2)
    train(NAME, settings, tmp_path / "whole")
    stopped_at_every_step(settings, tmp_path / "parts", monkeypatch)
    assert not same(tmp_path / "whole", tmp_path / "parts")


def test_stopped_after_every_epoch(tmp_path, capsys):
    settings = MnistRotSmall(**SMALL | {"epochs": 3}, flip=True)
    train(NAME, settings, tmp_path / "whole")
    for epochs in (1, 2):
        assert train(NAME, settings, tmp_path / "parts", resume=epochs > 1, stop_after=epochs) is None
        assert f"Stopped after {epochs} of 3 epochs, step {3 * epochs}. Go on: pdoconv" in capsys.readouterr().err
    assert train(NAME, settings, tmp_path / "parts", resume=True, stop_after=3) is not None  # that is its end
    assert same(tmp_path / "whole", tmp_path / "parts")


def signalled(monkeypatch, number, step):
    """Let the system send this process a signal in a step."""

    def start(self, batch, batch_idx, before=Classifier.on_train_batch_start):
        if self.global_step == step:
            os.kill(os.getpid(), number)
        before(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "on_train_batch_start", start)


@pytest.mark.parametrize(
    ("number", "step", "done"),
    [
        (signal.SIGTERM, 1, 2),
        (signal.SIGINT, 0, 1),
        (signal.SIGUSR1, 4, 5),
        (signal.SIGTERM, 2, 3),  # in the last step of an epoch
    ],
)
def test_signal_saves_and_stops(number, step, done, tmp_path, monkeypatch, capfd):
    settings, before = MnistRotSmall(**SMALL), signal.getsignal(number)
    train(NAME, settings, tmp_path / "whole")
    with monkeypatch.context() as patch:
        signalled(patch, number, step)
        with pytest.raises(SystemExit) as status:
            train(NAME, settings, tmp_path / "parts")
    assert status.value.code == 128 + number
    said = capfd.readouterr().err
    assert "Stopping after this step" in said
    assert f"step {done}. Go on: pdoconv train --resume {tmp_path / 'parts'}" in said
    assert signal.getsignal(number) == before
    train(NAME, settings, tmp_path / "parts", resume=True)
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_signal_in_the_last_step_changes_nothing(tmp_path, monkeypatch):
    signalled(monkeypatch, signal.SIGTERM, STEPS - 1)
    assert train(NAME, MnistRotSmall(**SMALL), tmp_path) is not None


def test_second_interrupt_ends_the_process(tmp_path, monkeypatch, capfd):
    def start(self, batch, batch_idx):
        if self.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Classifier, "on_train_batch_start", start)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        train(NAME, MnistRotSmall(**SMALL), tmp_path)
    assert signal.getsignal(signal.SIGINT) == before
    assert "The last checkpoint is kept: go on with --resume." in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch=000.ckpt"]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_program_that_is_asked_to_end(number, tmp_path):
    """As a queue, or Ctrl-C, ends a program; the command that it names goes on."""
    with one_thread():
        train(NAME, MnistRotSmall(**SMALL), tmp_path / "whole")
    run = tmp_path / "parts"
    process = program("train", NAME, *options(**SMALL, run=run), harm="save_every_step slow_steps:0.3")
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step=*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    status, said = end(process)
    assert status == 128 + number, said
    assert f"Go on: pdoconv train --resume {run}" in said
    assert not (run / "result.json").exists()
    with one_thread():
        shown = command("train", "--resume", run)
    assert shown.exit_code == 0, shown.output
    assert same(tmp_path / "whole", run)
