"""Data that disappears between the start of a run and its next slot: a clear message, and the run as it was."""

import shutil

import numpy as np
import pytest
from PIL import Image
from runs import NAME, SMALL, command, contents, options, same
from tiny_run import few_images

from pdoconv.data import mnist_rot
from pdoconv.recipes import mnist_rot_small

pytestmark = pytest.mark.filterwarnings("default")


def test_file_of_digits(tmp_path, monkeypatch):
    """The reader itself, on a folder from which mnist.npz was taken."""
    run = tmp_path / "run"
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", few_images)
    assert command("train", NAME, *options(**SMALL, run=run, stop_after=1)).exit_code == 0
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("PDOCONV_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", mnist_rot)
    before = contents(run)
    for words in (["train", "--resume", run], ["train", NAME, "--run", tmp_path / "new"]):
        shown = command(*words)
        assert shown.exit_code == 1
        assert f"pdoconv: {tmp_path / 'data'} has neither mnist_rotation_new.zip" in shown.output
    monkeypatch.setenv("PDOCONV_DATA", str(tmp_path / "gone"))
    assert f"Data folder {tmp_path / 'gone'} does not exist" in command("train", "--resume", run).output
    assert contents(run) == before
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", few_images)  # it is there again
    assert command("train", "--resume", run).exit_code == 0


def noise(folder, name, shape=(8, 8)):
    rng = np.random.default_rng(len(str(folder)) + int(name))
    (folder / f"{name}.png").parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{name}.png")


LOSSES = {
    "folder": (lambda pictures: shutil.rmtree(pictures), "pictures"),
    "class": (lambda pictures: shutil.rmtree(pictures / "cats"), "was started with the classes cats, dogs, owls"),
    "picture": (lambda pictures: (pictures / "cats" / "0.png").unlink(), "was started with another data"),
    "pixels": (lambda pictures: noise(pictures / "cats", "0", (9, 9)), "was started with another data"),
    "half of a picture": (
        lambda pictures: (pictures / "cats" / "0.png").write_bytes((pictures / "cats" / "0.png").read_bytes()[:60]),
        "0.png",
    ),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Pictures, a run on them that was stopped, and the same undisturbed."""
    root = tmp_path_factory.mktemp("own")
    for kind in ("cats", "dogs", "owls"):
        for number in range(12):
            noise(root / "pictures" / kind, str(number))
    words = ["train", "--data", root / "pictures", "--group", "p4", "--widths", 2, "--epochs", 2]
    words += ["--precision", "32-true", "--size", 8]
    assert command(*words, "--run", root / "whole").exit_code == 0
    assert command(*words, "--run", root / "run", "--stop-after", 1).exit_code == 0
    return root


@pytest.mark.parametrize("loss", LOSSES)
def test_pictures(loss, begun):
    lose, message = LOSSES[loss]
    shutil.copytree(begun / "pictures", begun / "copy")
    before = contents(begun / "run")
    lose(begun / "pictures")
    shown = command("train", "--resume", begun / "run")
    shutil.rmtree(begun / "pictures", ignore_errors=True)
    (begun / "copy").rename(begun / "pictures")
    assert shown.exit_code == 1
    assert "pdoconv: " in shown.output
    assert message in shown.output
    assert contents(begun / "run") == before


def test_pictures_that_are_there_again(begun, tmp_path):
    shutil.copytree(begun / "run", tmp_path / "run")
    shown = command("train", "--resume", tmp_path / "run")
    assert shown.exit_code == 0, shown.output
    assert same(begun / "whole", tmp_path / "run")
