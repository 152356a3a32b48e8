"""Runs on a handful of images: what they leave behind, how they resume, and what they refuse."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_run import few_images
from typer.testing import CliRunner

from pdoconv.cli import app
from pdoconv.data import Split
from pdoconv.recipes import MnistRotSmall, mnist_rot_small, recipe
from pdoconv.training.folder import RunFolder
from pdoconv.training.images import ImageData
from pdoconv.training.run import train

pytestmark = pytest.mark.filterwarnings("default")
NAME = "mnist-rot-small"
QUICK = {"epochs": 2, "batch_size": 16, "precision": "32-true"}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", few_images)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist_rot_small, "mnist_rot", few_images)
        run = tmp_path_factory.mktemp("runs") / "whole"
        return run, train(NAME, MnistRotSmall(**QUICK), run, result=run.parent / "copy.json")


def test_result_has_what_a_number_depends_on(finished):
    run, content = finished
    assert json.loads((run / "result.json").read_text()) == content
    assert json.loads((run.parent / "copy.json").read_text()) == content
    assert content["parameters"] == 26_747
    assert (content["train_images"], content["valid_images"], content["test_images"]) == (48, 20, 30)
    assert 0 <= content["test_error_percent"] <= 100
    for key in (
        "settings",
        "data_sha256_16",
        "train_seconds",
        "versions",
        "hardware",
        "commit",
        "command",
        "selection",
    ):
        assert key in content
    assert (run / "learning_curve.png").stat().st_size > 5000


def test_resume_gives_the_weights_of_an_undisturbed_run(finished, tmp_path):
    run, _ = finished
    settings = MnistRotSmall(**QUICK)
    assert train(NAME, settings, tmp_path / "parts", stop_after=1) is None
    assert not (tmp_path / "parts" / "result.json").exists()
    train(NAME, settings, tmp_path / "parts", resume=True)
    whole, parts = (load_file(r / "model.safetensors") for r in (run, tmp_path / "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    other = train(NAME, MnistRotSmall(**QUICK | {"seed": 1}), tmp_path / "other")
    different = load_file(tmp_path / "other" / "model.safetensors")
    assert other is not None
    assert not torch.equal(whole["0.weight"], different["0.weight"])


def test_damaged_checkpoint_is_skipped_with_a_warning(tmp_path):
    settings, run = MnistRotSmall(**QUICK | {"epochs": 3}), tmp_path / "run"
    train(NAME, settings, run, stop_after=2)
    newest = RunFolder(run).newest_checkpoint()
    newest.write_bytes(newest.read_bytes()[:1000])  # an interrupted write
    with pytest.warns(UserWarning, match="damaged and was skipped"):
        assert RunFolder(run).newest_checkpoint() != newest
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="damaged and was skipped"),
        pytest.raises(ValueError, match=r"No checkpoint in .* can be read"),
    ):
        train(NAME, settings, run, resume=True)


def test_nothing_is_overwritten(finished, tmp_path):
    run, _ = finished
    settings = MnistRotSmall(**QUICK)
    with pytest.raises(FileExistsError, match="finished run"):
        train(NAME, settings, run)
    with pytest.raises(FileExistsError, match="not overwritten"):
        train(NAME, settings, tmp_path / "new", result=run.parent / "copy.json")
    assert not (tmp_path / "new").exists()
    train(NAME, settings, tmp_path / "half", stop_after=1)
    with pytest.raises(FileExistsError, match="add --resume"):
        train(NAME, settings, tmp_path / "half")
    with pytest.raises(ValueError, match=r"was started with lr 0.01, not 0.5"):
        train(NAME, MnistRotSmall(**QUICK | {"lr": 0.5}), tmp_path / "half", resume=True)
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        train(NAME, settings, tmp_path / "none", resume=True)


def test_damaged_model_is_not_used(finished, tmp_path):
    run, _ = finished
    copy = RunFolder(tmp_path)
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    with pytest.raises(FileNotFoundError, match="no trained model yet"):
        copy.load_model()
    whole = (run / "model.safetensors").read_bytes()
    for damaged in (whole[:5000], b"", b"x" * 100):
        copy.model.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged or of another network"):
            copy.load_model()
    metadata = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    marked = json.loads(metadata["pdoconv"])["filters"][0].encode()
    copy.model.write_bytes(whole.replace(marked, b"0" * len(marked)))
    with pytest.raises(ValueError, match="made with filters '0000"):
        copy.load_model()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be understood"):
        copy.load_model()


def test_loss_that_is_not_finite(tmp_path):
    with pytest.raises(ValueError, match=r"training loss became .* with a lower learning rate"):
        train(NAME, MnistRotSmall(**QUICK | {"lr": 1e30, "epochs": 3}), tmp_path / "run")


def test_bad_settings():
    for bad in (
        {"epochs": 0},
        {"lr": 0.0},
        {"dropout": 1.0},
        {"train_on": "test"},
        {"precision": "16"},
        {"seed": -1},
        {"lr": float("nan")},
        {"label_smoothing": 2.0},
    ):
        with pytest.raises(ValueError, match="Expected"):
            MnistRotSmall(**bad)
    with pytest.raises(ValueError, match="Unknown recipe 'x': expected one of mnist-rot-small"):
        recipe("x")


def test_bad_images():
    good = few_images().train
    images = good.images.astype(np.float32)
    images[3, 4, 5] = np.nan
    for bad, message in (
        (Split(images, good.labels), "not finite"),
        (Split(good.images, good.labels[:-1]), "n labels"),
        (Split(good.images[0], good.labels), "at least one batch|n labels"),
    ):
        with pytest.raises(ValueError, match=message):
            ImageData(bad, None, None, batch_size=4)
    with pytest.raises(ValueError, match="at least one batch of 100 images, received 48"):
        ImageData(good, None, None, batch_size=100)


def test_standardisation_uses_the_training_set_alone():
    data = few_images()
    images = ImageData(data.train, data.valid, data.test, batch_size=4)
    x = images.standardise(torch.from_numpy(data.train.images))
    assert abs(float(x.mean())) < 1e-4
    assert abs(float(x.std()) - 1) < 1e-3


def test_every_epoch_has_its_own_order_and_shows_each_image_once():
    images = ImageData(few_images().train, None, None, batch_size=16)
    loader, orders = images.train_dataloader(), []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        orders.append(torch.cat([x.float() for x, _ in loader]))
    assert not torch.equal(*orders)
    assert torch.equal(*(o.flatten(1).sum(1).sort().values for o in orders))


def run_cli(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


def test_command_line(finished, tmp_path):
    run, content = finished
    shown = run_cli("evaluate", run, "--split", "test")
    assert shown.exit_code == 0, shown.output
    assert f'"test_error_percent": {content["test_error_percent"]}' in shown.output
    shown = run_cli("measure", run, "--step", 45)
    assert shown.exit_code == 0, shown.output
    assert (run / f"equivariance-{run.name}.png").stat().st_size > 5000
    table = json.loads((run / f"equivariance-{run.name}.json").read_text())
    first = table["angle"]["layer 0"]
    assert max(first[a] for a in ("0.0", "90.0", "180.0", "270.0")) < 1e-5 < first["45.0"]
    assert len(table["angle"]["output (invariance)"]) == 9
    assert list(table["depth"]["45 degrees"]) == list(dict.fromkeys(table["depth"]["45 degrees"]))
    assert len(table["frequency"]) == 6
    shown = run_cli("export", run, "--onnx", tmp_path / "net.onnx")
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "net.onnx").exists()
    shown = run_cli("table", run / "result.json", run.parent / "copy.json")
    error = content["test_error_percent"]
    assert f"| 48 | 2 | 26,747 | {error:.2f} ± 0.00 | 2 |" in shown.output
    words = ["train", NAME, "--run", tmp_path / "run", "--epochs", 1, "--batch-size", 16, "--precision", "32-true"]
    shown = run_cli(*words, "--seed", 3, "--train-on", "all", "--devices", "1")
    assert shown.exit_code == 0, shown.output
    assert "test error" in shown.output
    settings = json.loads((tmp_path / "run" / "result.json").read_text())["settings"]
    assert (settings["epochs"], settings["seed"], settings["train_on"]) == (1, 3, "all")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "x"], "Unknown recipe"),
        (["train", NAME, "--epochs", "0"], "epochs >= 1"),
        (["train", NAME, "--devices", "abc"], "devices must be"),
        (["train", NAME, "--stop-after", "0"], "stop_after must be"),
        (["train", NAME, "--batch-size", "20000"], "at least one batch"),
        (["train", NAME, "--run", "nowhere", "--resume"], "no config.json"),
        (["table", "nowhere.json"], "No such file"),
        (["table", __file__], "not the result of a run"),
        (["evaluate", "nowhere"], "not a run's folder"),
        (["measure", "nowhere"], "not a run's folder"),
        (["measure", "nowhere", "--step", "0"], "--step"),
        (["measure", "os:sep"], "no torch module"),
        (["train", "mnist-rot-small", "--filters", "best"], "Unknown filter family"),
        (["export", "nowhere"], "not a run's folder"),
        (["evaluate", "nowhere", "--split", "train"], "'valid' or 'test'"),
    ],
)
def test_command_line_errors(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = run_cli(*words)
    assert shown.exit_code == 1
    assert message in shown.output
    assert not any(tmp_path.iterdir())
