"""Recipes of colour images on a handful of pictures: settings, the command line, resuming, export."""

import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import relative
from safetensors.torch import load_file
from typer.testing import CliRunner

from pdoconv.cli import app
from pdoconv.data import ImageSet, Split
from pdoconv.recipes import Cifar10, Cifar10Authors, Cifar100, Cifar100Authors, Stl10, cifar, recipe_of
from pdoconv.training.classifier import tenths
from pdoconv.training.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("default")
SMALL = ["--widths", "2,3,4", "--units", "1", "--batch-size", "8", "--precision", "32-true", "--devices", "1"]


def few_images(classes=10):
    rng = np.random.default_rng(0)

    def split(n):
        images = rng.integers(0, (256, 128, 64), (n, 32, 32, 3)).transpose(0, 3, 1, 2).astype(np.uint8)
        return Split(np.ascontiguousarray(images), (np.arange(n) % classes).astype(np.uint8))

    return ImageSet(split(40), split(12), split(20), "CIFAR-10", tuple(f"class {i}" for i in range(classes)))


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    monkeypatch.setattr(cifar, "cifar10", few_images)
    monkeypatch.chdir(tmp_path)


def cli(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def ok(*words):
    shown = cli(*words)
    assert shown.exit_code == 0, (shown.output, shown.exception)
    return shown.output


def refused(*words):
    shown = cli(*words)
    assert shown.exit_code == 1, shown.output
    assert isinstance(shown.exception, SystemExit), shown.exception  # a message, not a traceback
    return shown.output


# settings


def test_authors_schedule():
    """Of their script: 300 epochs of SGD, a tenth of the rate from epochs 150 and 225 on."""
    for settings, classes in ((Cifar10Authors(), 10), (Cifar100Authors(), 100)):
        assert (settings.epochs, settings.batch_size, settings.optimizer, settings.lr) == (300, 128, "sgd", 0.1)
        assert (settings.weight_decay, settings.schedule, settings.crop, settings.flip) == (1e-3, "steps", 4, True)
        assert (settings.label_smoothing, settings.ema, settings.mixup, settings.rotate) == (0, 0, 0, 0)
        assert settings.precision == "32-true"
        assert (settings.classes, settings.channels, settings.image_shape) == (classes, 3, (32, 32))
        assert sum(p.numel() for p in settings.network().parameters()) == {10: 2_621_693, 100: 2_654_183}[classes]
    for steps in (1, 7, 351, 390):
        rates = [tenths(epoch * steps / (300 * steps), 0) for epoch in range(300)]
        assert rates == [1.0] * 150 + [0.1] * 75 + [0.01] * 75


def test_modern_recipe_is_a_tenth_as_long():
    settings = Cifar10()
    assert settings.epochs * 10 == Cifar10Authors().epochs
    assert (settings.schedule, settings.optimizer, settings.precision) == ("cosine", "sgd", "bf16-mixed")
    assert settings.ema > 0.99
    assert settings.label_smoothing > 0
    assert Cifar100().classes == 100
    assert Stl10().image_shape == (96, 96)


def test_fields_are_arguments_of_the_network():
    settings = Cifar10(network_name="pdo-resnet26-p6", widths=[2, 3], units=1, group="p4", filters="gaussian")
    assert settings.widths == (2, 3)  # as read from a file
    net = settings.network()
    assert net.in_type.group.name == "C4"
    assert len(net.features) == 1 + 2 + 2
    assert Cifar10(network_name="z2-resnet26").config() == {"classes": 10}
    assert Stl10(network_name="z2-resnet26").config() == {"classes": 10, "layout": "symmetric", "head": 64}
    for name in ("resnet", "p4cnn"):
        with pytest.raises(ValueError, match=f"Expected a network for colour images, one of .*, received '{name}'"):
            Cifar10(network_name=name)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"optimizer": "adam"}, "Expected optimizer 'adamw' or 'sgd' .* received 'adam', 'cosine'"),
        ({"schedule": "linear"}, "schedule 'one-cycle', 'cosine' or 'steps', received 'sgd', 'linear'"),
        ({"ema": 1.0}, r"Expected ema in \[0, 1\), received 1.0"),
        ({"ema": -0.1}, "Expected ema"),
        ({"warmup": 0.0}, r"warmup in \(0, 1\)"),
        ({"label_smoothing": 1.0}, r"label_smoothing in \[0, 1\)"),
        ({"lr": 0.0}, "Expected lr > 0"),
        ({"weight_decay": -1.0}, "weight_decay >= 0"),
        ({"crop": -1}, "crop must be a whole number of pixels >= 0, received -1"),
        ({"cutout": 1.5}, "cutout must be a whole number of pixels"),
        ({"rotate": 181.0}, "rotate must be the largest angle, 0 to 180 degrees, received 181.0"),
        ({"mixup": float("inf")}, "mixup must be a finite alpha >= 0, received inf"),
        ({"flip": 1}, "flip must be True or False, received 1"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"train_on": "test"}, "train_on 'train' or 'all'"),
        ({"precision": "16-mixed"}, "precision '32-true' or 'bf16-mixed'"),
    ],
)
def test_settings_out_of_range(bad, message):
    with pytest.raises(ValueError, match=message):
        Cifar10(**bad)


def test_networks_name_their_recipes():
    for name in ("pdo-wrn26-p8", "gcnn-resnet44-p4m", "hexaconv-p6m", "z2-resnet26", "wrn-28-10", "resnet-1001"):
        assert recipe_of(name) == ("cifar10", {"network_name": name})
    assert recipe_of("pdo-mnist-large") == ("mnist-rot-large", {})
    assert recipe_of("pdo-resnet45") == ("pdo-resnet45", {})


# runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "cifar10", few_images)
        words = ["--layout", "symmetric", "--epochs", "2", "--mixup", "0.2", "--cutout", "4", "--run", run]
        output = ok("train", "pdo-resnet44-p8", *SMALL, *words)
    return run, output, json.loads((run / "result.json").read_text())


def test_a_network_by_name(finished):
    run, output, result = finished
    assert result["recipe"] == "cifar10"
    given = {"network_name": "pdo-resnet44-p8", "layout": "symmetric", "widths": [2, 3, 4], "units": 1, "epochs": 2}
    assert given.items() <= result["settings"].items()
    assert (result["train_images"], result["valid_images"], result["test_images"]) == (40, 12, 20)
    assert f"CIFAR-10: test error {result['test_error_percent']:.2f}% on 20 images" in output
    assert f"{result['parameters']} parameters, 2 epochs" in output
    assert (run / "learning_curve.png").exists()
    shown = json.loads(re.search(r"\{.*\}", ok("evaluate", run, "--split", "test"), re.DOTALL).group())
    assert shown["test_error_percent"] == result["test_error_percent"]


def test_the_average_of_weights_is_what_is_saved(finished):
    run, _, _ = finished
    saved = load_file(run / "model.safetensors")
    newest = torch.load(RunFolder(run).newest_checkpoint(), weights_only=True)["state_dict"]
    for key, value in saved.items():
        assert torch.equal(value, newest[f"average.module.{key}"]), key
    moved = [key for key, value in saved.items() if not torch.equal(value, newest[f"net.{key}"])]
    assert {"features.0.weight", "features.1.preactivation.0.running_mean", "classifier.bias"} <= set(moved)


@pytest.mark.parametrize("resume", [["cifar10", "--resume", "--run"], ["--resume"], ["--run", "RUN", "--resume"]])
def test_resume(finished, tmp_path, resume):
    """In any of its forms, with the settings that the run was started with: the weights of an undisturbed one."""
    whole, _, result = finished
    run = tmp_path / "run"
    words = ["--layout", "symmetric", "--epochs", "2", "--mixup", "0.2", "--cutout", "4", "--run", run]
    output = ok("train", "pdo-resnet44-p8", *SMALL, *words, "--stop-after", 1)
    assert f"Stopped after 1 of 2 epochs, step 5. Go on: pdoconv train --resume {run}" in " ".join(output.split("\n"))
    assert not (run / "result.json").exists()
    resume = [str(run) if word == "RUN" else word for word in resume]
    ok("train", *resume, *([] if str(run) in resume else [run]), "--devices", 1)
    again = json.loads((run / "result.json").read_text())
    assert again["settings"] == result["settings"]
    old, new = (load_file(folder / "model.safetensors") for folder in (whole, run))
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_resume_with_what_is_not_so(tmp_path):
    words = ["train", "z2-resnet26", *SMALL, "--epochs", 2, "--run", tmp_path / "run", "--stop-after", 1]
    ok(*words)
    run = tmp_path / "run"
    assert "add --resume" in refused(*words)
    assert "was started with lr 0.2, not 0.5" in refused("train", "--resume", run, "--lr", 0.5)
    other = refused("train", "z2-resnet44", "--run", run, "--resume")
    assert "was started with network_name 'z2-resnet26', not 'z2-resnet44'" in other
    for name in ("mnist-rot-small", "cifar100"):
        assert f"was started as cifar10, not as {name}" in refused("train", name, "--run", run, "--resume")
    assert "is not a run's folder" in refused("train", "--resume", tmp_path / "nowhere")
    assert not (run / "result.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cifar10", "--widths", "x"], "--widths: expected whole numbers with commas between, received 'x'"),
        (["cifar10", "--widths", "2,,3"], "--widths: expected whole numbers"),
        (["cifar10", "--widths", "0,1,2", "--network", "z2-resnet26"], "number of fields must be a whole number"),
        (["cifar10", "--samples", "3", "--size", "9"], "cifar10 has no setting --samples, --size: leave it out"),
        (["mnist-rot-small", "--network", "z2-resnet26"], "mnist-rot-small has no setting --network"),
        (["mnist-rot-small", "--data", "x"], "mnist-rot-small has no setting --data"),
        ([], "Expected the name of a recipe, or --data with a folder of your own pictures, received neither"),
        (["--resume"], "Expected the name of a recipe, or --data"),
        (["pictures"], "give the folder of your pictures with --data"),
        (["pdo-resnet45"], "Unknown recipe 'pdo-resnet45': expected one of mnist-rot-small"),
        (["cifar10", "--network", "p4cnn"], "network for colour images, one of hexaconv-p6, .* received 'p4cnn'"),
        (["cifar10", "--layout", "odd"], "layout must be one of"),
        (["cifar10", "--group", "p5x"], "p5x"),
        (["cifar10", "--filters", "best"], "Unknown filter family 'best'"),
        (["cifar10", "--optimizer", "adam"], "Expected optimizer 'adamw' or 'sgd'"),
        (["cifar10", "--crop", "-1"], "crop must be a whole number"),
        (["cifar10", "--units", "1", "--batch-size", "41"], "at least one batch of 41 images, received 40"),
        (["cifar10", "--max-time", "0"], "max_minutes must be a positive number"),
    ],
)
def test_messages(words, message, tmp_path):
    assert re.search(message, refused("train", *words))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["authors", "symmetric"])
def test_export_of_a_colour_run(finished, layout, tmp_path):
    """ONNX gives the network's logits, and the command says how pixels become inputs."""
    run = finished[0]
    if layout == "authors":
        run = tmp_path / "run"
        ok("train", "cifar10", "--network", "pdo-resnet26-p6", *SMALL, "--epochs", 1, "--run", run)
    output = ok("export", run, "--onnx", tmp_path / "net.onnx")
    assert "Inputs: (batch, 3, 32, 32)" in output
    numbers = [
        [float(n) for n in re.findall(r"[\d.]+\d", part)] for part in re.findall(r"(?:mean|std) ([\d., ]+)", output)
    ]
    images, _ = few_images().train
    assert np.allclose(numbers, [images.mean((0, 2, 3)), images.std((0, 2, 3))], atol=1e-4)
    net, mean, std = RunFolder(run).load_model()
    assert mean.shape == std.shape == (3, 1, 1)
    x = ((torch.from_numpy(images[:5]).double() - mean) / std).float()
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert relative(torch.from_numpy(logits), net(x)) < 1e-4
    operations = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert operations.count("BatchNormalization") == 4  # before each unit and at the end: the shortcut reads its input
