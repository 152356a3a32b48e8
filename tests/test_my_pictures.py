"""`pdoconv train --data FOLDER`: from a folder of pictures to the result, and what is said when it is wrong."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import pdoconv as pdo
from pdoconv.cli import app
from pdoconv.data import cifar10
from pdoconv.recipes import Pictures
from pdoconv.training.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("default")
SIDE = 16


def picture(kind, number, side=SIDE):
    """A disc or a ring on noise, at a place of its own."""
    rng = np.random.default_rng([number, kind])
    row, column = rng.uniform(5, side - 6, 2)
    y, x = np.mgrid[:side, :side]
    radius = np.hypot(y - row, x - column)
    shape = radius < 3.5 if kind else abs(radius - 3) < 1
    noise = rng.integers(0, 60, (side, side, 3))
    return (noise + 180 * shape[..., None]).astype(np.uint8)


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A folder of two classes of 30 pictures, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for kind, name in enumerate(("rings", "discs")):
        (tmp_path / "shapes" / name).mkdir(parents=True)
        for number in range(30):
            Image.fromarray(picture(kind, number)).save(tmp_path / "shapes" / name / f"{number:02}.png")
    return tmp_path / "shapes"


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


QUICK = ("--group", "p4", "--widths", "3,4", "--precision", "32-true")


def test_from_a_folder_to_a_network(shapes):
    done = run("train", "--data", "shapes", *QUICK, "--epochs", 12, "--max-time", 10)
    assert done.exit_code == 0, done.output
    folder = RunFolder(shapes.parent / "runs" / "pictures-seed0")
    result = json.loads(folder.result.read_text())
    assert (result["train_images"], result["valid_images"], result["test_images"]) == (42, 6, 12)
    assert result["settings"]["names"] == ["discs", "rings"]
    assert (result["settings"]["size"], result["settings"]["colours"]) == (SIDE, 3)
    assert result["test_error_percent"] <= 25  # 50 by chance
    net, mean, std = folder.load_model()
    x = (torch.tensor(picture(0, 99)).permute(2, 0, 1)[None].double() - mean) / std
    with torch.no_grad():
        turned = torch.stack([net.double()(x.rot90(k, (2, 3))) for k in range(4)])
    assert (turned - turned[0]).abs().max() < 1e-9 * turned.abs().max()  # a quarter turn changes nothing
    shown = run("evaluate", folder.path)
    assert shown.exit_code == 0, shown.output
    assert '"valid_images": 6' in shown.output
    shown = run("export", folder.path, "--onnx", shapes.parent / "net.onnx")
    assert shown.exit_code == 0, shown.output
    assert f"(batch, 3, {SIDE}, {SIDE})" in shown.output
    shown = run("save", folder.path, shapes.parent / "net.safetensors")
    assert shown.exit_code == 0, shown.output
    pixels = torch.tensor(picture(0, 99)).permute(2, 0, 1)[None]
    with torch.no_grad():
        loaded = pdo.load(shapes.parent / "net.safetensors").double()(pixels.double() / 255)
        assert torch.allclose(loaded, net(x), rtol=1e-5, atol=1e-6)  # the file alone, told nothing of the network


def test_a_run_goes_on_without_being_told_the_folder_again(shapes):
    first = run("train", "--data", "shapes", *QUICK, "--epochs", 2, "--stop-after", 1, "--run", "mine")
    assert "Go on: pdoconv train --resume mine" in first.output
    done = run("train", "--resume", "mine")
    assert done.exit_code == 0, done.output
    assert RunFolder(shapes.parent / "mine").result.exists()


@pytest.mark.parametrize(
    ("spoil", "words", "message"),
    [
        (lambda folder: folder.rename(folder.parent / "shape"), (), "shapes does not exist (did you mean shape?)"),
        (lambda folder: (folder / "discs" / "03.png").write_bytes(b"\x89PNG not really"), (), "03.png"),
        (lambda folder: [file.unlink() for file in sorted((folder / "discs").iterdir())[1:]], (), "discs"),
        (lambda folder: None, ("--size", "-3"), "size >= 0"),
        (lambda folder: None, ("--group", "p"), "group"),
        (lambda folder: None, ("--group", "Oh"), "finite group of the plane"),
        (lambda folder: None, ("--group", "SO2"), "finite group of the plane"),
        (lambda folder: None, ("--fields", "3"), "pictures has no setting --fields"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(shapes, spoil, words, message):
    spoil(shapes)
    shown = run("train", "--data", "shapes", *words)
    assert shown.exit_code == 1
    assert message in shown.output.replace("\n", " ")
    assert not (shapes.parent / "runs").exists()


def test_pictures_need_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "give the folder of your pictures with --data" in run("train", "pictures").output
    assert "or --data with a folder" in run("train").output
    (tmp_path / "mine").mkdir()
    assert "given with --data mine" in run("train", "mine").output


@pytest.mark.parametrize(
    ("size", "group", "widths"), [(32, "p8", (4, 8, 16)), (96, "p8", (4, 4, 4, 8, 16)), (8, "p4", (32,))]
)
def test_the_network_follows_from_the_size(size, group, widths):
    settings = Pictures(group=group)
    assert settings._widths(size) == widths


def test_mixed_pictures_are_told(shapes):
    for number in range(5):
        Image.fromarray(picture(0, number, 24)[..., 0]).save(shapes / "rings" / f"gray{number}.png")
    shown = run("train", "--data", "shapes", *QUICK, "--epochs", 1)
    assert shown.exit_code == 0, shown.output
    assert "gray" in shown.output
    assert "sizes" in shown.output


def test_real_pictures(tmp_path, monkeypatch):
    """Frogs and ships, where CIFAR-10 is there."""
    try:
        data = cifar10()
    except FileNotFoundError:
        pytest.skip("no CIFAR-10 here")
    monkeypatch.chdir(tmp_path)
    for label in (6, 8):
        (tmp_path / "real" / data.classes[label]).mkdir(parents=True)
        for number in np.flatnonzero(data.train.labels == label)[:20]:
            image = Image.fromarray(data.train.images[number].transpose(1, 2, 0))
            image.save(tmp_path / "real" / data.classes[label] / f"{number}.png")
    shown = run("train", "--data", "real", *QUICK, "--epochs", 2)
    assert shown.exit_code == 0, shown.output
