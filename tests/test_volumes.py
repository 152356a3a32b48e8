"""Volumes in any orientation, the networks and the recipe that classify them."""

import json
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from conftest import relative
from typer.testing import CliRunner

import pdoconv as pdo
from pdoconv.cli import app
from pdoconv.data import Split, shapes
from pdoconv.data.shapes import TETRACUBES, centred, draw, orientations
from pdoconv.export import OnnxFile
from pdoconv.grid import move
from pdoconv.models import volume_plain, volume_small
from pdoconv.recipes import VolumesSmall, recipe, volumes_small
from pdoconv.training.images import ImageData

CUBE = pdo.octahedral()


def drawn(cubes, size=15):
    return torch.from_numpy(draw(cubes[None], size))[None]


def nearest(a, b, group=CUBE):
    """Smallest largest difference between one volume and the turned copies of another."""
    return min(float((move(drawn(a), g) - drawn(b)).abs().max()) for g in group.matrices)


def test_shapes_are_the_same_again_and_for_one_seed_only_the_orientation_differs():
    first, again, other = (shapes(40, "any", seed=s) for s in (3, 3, 4))
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert first.images.shape == (40, 15, 15, 15)
    assert first.images.dtype == first.labels.dtype == np.uint8
    assert np.array_equal(np.bincount(first.labels), np.full(8, 5))
    assert len(shapes(600, "any", seed=3).images) == 600  # more than are drawn at a time


def test_volume_of_turned_cubes_is_the_turned_volume():
    rng = np.random.default_rng(0)
    cubes = 2.5 * centred("left screw") + rng.normal(size=3)
    for g in CUBE.matrices:
        for size in (15, 16):
            assert relative(drawn(cubes @ g.T, size), move(drawn(cubes, size), g)) < 1e-12
    wrong = drawn(cubes @ CUBE.matrices[4])  # the inverse of a third of a turn
    assert relative(wrong, move(drawn(cubes), CUBE.matrices[4])) > 0.1


def test_mirror_images_and_all_classes_differ_under_every_rotation_of_the_cube():
    cubes = {name: 2.5 * centred(name) for name in TETRACUBES}
    for a, b in combinations(TETRACUBES, 2):
        assert nearest(cubes[a], cubes[b]) > 0.2, (a, b)
    with_mirrors = pdo.octahedral(inversion=True)
    assert nearest(cubes["left screw"], cubes["right screw"], with_mirrors) < 1e-12
    masses = [float(drawn(c, 21).sum()) for c in cubes.values()]
    assert max(masses) / min(masses) < 1.001


@pytest.mark.parametrize("orientation", ["upright", "cube", "any"])
def test_orientations(orientation):
    matrices = orientations(2000, orientation, np.random.default_rng(0))
    assert np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
    assert np.allclose(np.linalg.det(matrices), 1)
    angles = np.degrees(np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    to_cube = np.degrees(np.arccos(np.clip((np.einsum("nij,gij->ng", matrices, CUBE.matrices).max(1) - 1) / 2, -1, 1)))
    assert (angles.max() < 45.001) == (orientation == "upright")
    assert (to_cube.max() < 45.001) == (orientation != "any")
    if orientation == "any":  # uniform: the mean of the angle is pi / 2 + 2 / pi
        assert abs(angles.mean() - np.degrees(np.pi / 2 + 2 / np.pi)) < 3
        assert np.abs(matrices.mean(0)).max() < 0.05


def test_shapes_fit_into_the_volume():
    quiet = shapes(200, "any", seed=0).images.astype(float)
    rim = np.ones((15, 15, 15), bool)
    rim[1:-1, 1:-1, 1:-1] = False
    assert abs(quiet[:, rim].mean() - 40) < 2


def test_bad_arguments_of_shapes():
    for bad in ({"samples": 0}, {"orientation": "sideways"}, {"seed": -1}, {"size": 3}):
        with pytest.raises(ValueError, match="shapes: expected samples >= 1"):
            shapes(**{"samples": 4} | bad)


def trained_once(net):
    """BatchNorm statistics away from their start."""
    net.double().train()
    with torch.no_grad():
        net(torch.randn(4, 1, 7, 7, 7, dtype=torch.float64))
    return net.eval()


@pytest.mark.parametrize("name", ["O", "D4"])
def test_network_answers_alike_for_all_rotations(name):
    group = pdo.group(name, dim=3)
    net, x = trained_once(volume_small(group=group, fields=1)), torch.randn(1, 1, 7, 7, 7, dtype=torch.float64)
    turned = torch.cat([move(x, g) for g in CUBE.matrices])
    with torch.no_grad():
        logits, reference = net(turned), net(x)
    errors = (logits - reference).abs().amax(1) / reference.abs().max()
    inside = [any(np.allclose(g, h) for h in group.matrices) for g in CUBE.matrices]
    assert sum(inside) == group.order
    for error, of_group in zip(errors, inside, strict=True):
        assert (error < 1e-10) == of_group


def test_plain_network_does_not():
    net, x = trained_once(volume_plain()), torch.randn(1, 1, 7, 7, 7, dtype=torch.float64)
    assert all(relative(net(move(x, g)), net(x)) > 1e-4 for g in CUBE.matrices[1:])


def test_handedness_is_seen_by_rotations_and_not_with_reflections():
    pair = torch.cat([drawn(11 / 6 * centred(f"{side} screw"), 11) for side in ("left", "right")])
    for inversion in (False, True):
        net = trained_once(volume_small(group=pdo.octahedral(inversion=inversion), fields=1))
        with torch.no_grad():
            left, right = net(pair)
        assert torch.allclose(left, right, atol=1e-10) == inversion


def test_parameters_are_nearly_equal():
    ours, plain = (sum(p.numel() for p in net.parameters()) for net in (volume_small(), volume_plain()))
    assert (ours, plain) == (9720, 10166)
    assert abs(plain / ours - 1) < 0.05


def test_network_refuses_a_group_of_the_plane():
    with pytest.raises(ValueError, match="dimension"):
        volume_small(group=pdo.cyclic(4))


def test_settings():
    assert recipe("volumes-small") is VolumesSmall
    for bad in (
        {"epochs": 0},
        {"samples": 0},
        {"filters": "paper"},
        {"orientation": "down"},
        {"test_orientation": ""},
        {"lr": -1.0},
    ):
        with pytest.raises(ValueError, match="Expected"):
            VolumesSmall(**bad)


def test_data_of_the_recipe(monkeypatch):
    monkeypatch.setattr(volumes_small, "TEST", 16)
    settings = VolumesSmall(samples=24, train_on="all")
    data = settings.data()
    training, validation = settings.splits(data)
    assert (len(training.images), validation, len(data.test.images)) == (24 + volumes_small.VALID, None, 16)
    images = ImageData(training, validation, data.test, batch_size=4)
    volumes, labels = images.on_after_batch_transfer(next(iter(images.train_dataloader())), 0)
    assert volumes.shape == (4, 1, 15, 15, 15)
    assert labels.dtype == torch.int64
    with pytest.raises(ValueError, match="or volumes"):
        ImageData(Split(data.test.images.reshape(16, 15, -1)[:, 0], data.test.labels), None, None, batch_size=4)


def cli(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("filters", ["default", "plain"])
def test_command_line(filters, tmp_path, monkeypatch):
    monkeypatch.setattr(volumes_small, "TEST", 16)
    monkeypatch.setattr(volumes_small, "VALID", 8)
    run = tmp_path / "run"
    words = ["--samples", 16, "--batch-size", 8, "--fields", 1, "--epochs", 1, "--precision", "32-true"]
    shown = cli("train", "volumes-small", "--run", run, "--filters", filters, "--accelerator", "cpu", *words)
    assert shown.exit_code == 0, shown.output
    result = json.loads((run / "result.json").read_text())
    assert (result["train_images"], result["test_images"]) == (16, 16)
    assert result["data"] == "tetracubes, trained upright, tested any"
    shown = cli("measure", run)
    assert shown.exit_code == 1
    assert "classifies volumes" in shown.output
    written = []

    def to_onnx(net, path, shape):
        written.append(shape)
        return OnnxFile(("batch", *shape[1:]), 25, "")

    monkeypatch.setattr(sys.modules["pdoconv.export"], "to_onnx", to_onnx)
    shown = cli("export", run, "--onnx", tmp_path / "net.onnx")
    assert shown.exit_code == 0, shown.output
    assert written == [(1, 1, 15, 15, 15)]
    assert "(batch, 1, 15, 15, 15)" in shown.output


def test_setting_of_another_recipe_is_refused(tmp_path):
    shown = cli("train", "mnist-rot-small", "--run", tmp_path / "run", "--samples", 16)
    assert shown.exit_code == 1
    assert "mnist-rot-small has no setting --samples" in shown.output
