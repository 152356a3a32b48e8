"""The trained networks that come with the package: each loads, says what it is, and its figures are in results/."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ORACLES
from runs import command

import pdoconv as pdo
from pdoconv.data import mnist_rot
from pdoconv.files import read
from pdoconv.models import pretrained
from pdoconv.models.pretrained import WEIGHTS
from pdoconv.pde import LearnedPDE

ROOT = Path(__file__).parents[1]
NETWORKS = tuple(sorted(file.stem for file in WEIGHTS.glob("*.safetensors")))
SECTIONS = ("Data", "Training", "File made by", "Results", "Input", "Output", "Limits", "Licence")


def figures(card):
    """What a card says: the results file, the system in it, and parameters."""
    text = " ".join(card.split())
    file = re.search(r"`results/([\w.-]+)`(?:, system `([\w-]+)`)?", text)
    assert file is not None
    numbers = re.search(r"([\d,]+) parameters", text)
    assert numbers is not None
    return ROOT / "results" / file[1], file[2], int(numbers[1].replace(",", "")), text


def test_names():
    assert {"mnist-rot-small", "cifar10-p4", "cifar10-p8", "lpde-denoise-25", "lpde-inpaint"} <= set(pretrained())
    assert sorted(file.stem for file in WEIGHTS.glob("*.md")) == sorted(pretrained())
    for wanted in (pdo.models.load, pdo.models.card):
        with pytest.raises(
            ValueError, match=r"No trained model '../x' comes with pdoconv: expected one of cifar10-p4, "
        ):
            wanted("../x")


@pytest.mark.parametrize("name", pretrained())
def test_every_model_and_its_card(name):
    net, card = pdo.models.load(name), pdo.models.card(name)
    assert not net.training
    assert card.startswith(f"# {name}\n")
    assert re.findall(r"^\* \*\*([\w ]+):\*\*", card, re.MULTILINE) == list(SECTIONS)
    path, system, parameters, text = figures(card)
    assert path.is_file()
    assert parameters == sum(p.numel() for p in net.parameters())
    results = json.loads(path.read_text())
    if isinstance(net, LearnedPDE):
        found = results["systems"][system]
        assert all(f"{value:.2f} dB" in text for value in found["psnr"].values())
    else:
        found = results if system is None else {row["system"]: row for row in results["rows"]}[system]
        error = found["test_error_percent"]
        assert f"Test error {error}%" in text or f"Test error {error:.2f}%" in text
        about = read(WEIGHTS / f"{name}.safetensors").about
        assert about["result"]["test_error_percent"] == error
        assert about["settings"]["seed"] == found["settings"]["seed"]
        assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 2**20
    assert found["parameters"] == parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_take_images_between_0_and_1(name):
    net = pdo.models.load(name)
    channels = 1 if name.startswith("mnist") else 3
    side = 28 if channels == 1 else 32
    with pytest.warns(UserWarning, match="breaks the exact symmetry") if channels == 3 else torch.no_grad():
        logits = net(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 10)
    with pytest.raises(ValueError, match=r"floats in \[0, 1\], received torch.uint8"):
        net(torch.zeros(1, channels, side, side, dtype=torch.uint8))


def test_digits_are_read():
    """A thousand test digits; black on white, as the control, most are not."""
    test = mnist_rot().test
    images, labels = (torch.from_numpy(np.array(part[:1000])) for part in test)
    net, x = pdo.models.load("mnist-rot-small"), images[:, None].float() / 255
    with torch.no_grad():
        wrong = float((net(x).argmax(1) != labels).float().mean())
        other = float((net(1 - x[:100]).argmax(1) != labels[:100]).float().mean())
    path, _, _, _ = figures(pdo.models.card("mnist-rot-small"))
    expected = json.loads(path.read_text())["test_error_percent"] / 100
    assert abs(wrong - expected) < 4 * np.sqrt(expected / 1000)
    assert other > 0.5


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_can_be_trained_on_and_exported(name):
    net = pdo.models.load(name)
    assert all(p.requires_grad for p in net.parameters())
    side = 28 if name.startswith("mnist") else 33
    x = torch.rand(1, 1 if side == 28 else 3, side, side)
    plain = pdo.export(net)
    with torch.no_grad():
        assert torch.allclose(plain(x), net(x), atol=1e-4)
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in plain[1].modules()) or side == 33


def test_equations_restore():
    """The same file as `pdoconv.pde.restore` takes."""
    image = torch.rand(1, 1, 16, 16)
    net = pdo.models.load("lpde-denoise-25")
    with torch.no_grad():
        assert torch.allclose(net(image).clamp(0, 1), pdo.pde.restore(image, task="denoise", sigma=25), atol=1e-6)


def test_command_makes_such_a_file(tmp_path):
    from dataclasses import asdict

    from pdoconv.recipes import MnistRotSmall

    run, out = tmp_path / "run", tmp_path / "net.safetensors"
    shown = command("save", run, out)
    assert shown.exit_code == 1
    assert "is not a run's folder" in shown.output
    run.mkdir()
    settings = asdict(MnistRotSmall(filters="gaussian", fields=1))
    (run / "config.json").write_text(json.dumps({"recipe": "mnist-rot-small", "settings": settings}))
    (run / "model.safetensors").write_bytes((ORACLES / "run_of_0_1_0.safetensors").read_bytes())
    (run / "result.json").write_text('{"test_error_percent": 90}')
    shown = command("save", run, out)
    assert shown.exit_code == 0, shown.output
    assert f"Model: {out}. Load it with pdoconv.load; inputs are floats in [0, 1]." in shown.output
    assert pdo.load(out)[0].mean.item() == pytest.approx(33.3 / 255)
    shown = command("save", run, out)
    assert shown.exit_code == 1
    assert "is not overwritten" in shown.output


@pytest.mark.slow
def test_wheel_holds_weights_and_cards(tmp_path):
    call = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(call, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for name in pretrained():
        assert f"pdoconv/models/weights/{name}.md" in held
    for name in NETWORKS:
        assert f"pdoconv/models/weights/{name}.safetensors" in held
