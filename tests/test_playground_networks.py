"""The playground's networks, as the browser has them: the committed files in onnxruntime."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import relative
from torch import nn

from pdoconv.data.files import data_root
from pdoconv.measure import fitted_order
from pdoconv.playground import families, networks, written
from pdoconv.playground.networks import ANGLES, turned

ort = pytest.importorskip("onnxruntime")
MODELS = Path(networks.__file__).parent / "static" / "models"
RESULT = Path(__file__).parents[1] / "results" / "playground.json"
MANIFEST = json.loads((MODELS / "manifest.json").read_text(encoding="utf-8"))
NAMES = ("equivariant", "plain")
QUARTER = len(ANGLES) // 4


def session(name):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # as in the browser
    return ort.InferenceSession(str(MODELS / name), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def digits():
    content = json.loads((MODELS / "digits.json").read_text(encoding="utf-8"))
    return [(d["label"], d["index"], np.array(d["pixels"], np.uint8).reshape(28, 28)) for d in content["digits"]]


def all_logits(name, digits, angles):
    """Logits `(digits, angles, 10)` of a network."""
    run = session(f"{name}.onnx")
    return np.array([[run.run(["logits"], {"x": turned(d, a)[None, None]})[0][0] for a in angles] for d in digits])


@pytest.fixture(scope="module")
def around(digits):
    """Logits at all 72 angles; of the equivariant network of a quarter: the others are the same, as is tested."""
    images = [image for _, _, image in digits]
    quarter = all_logits("equivariant", images, ANGLES[:QUARTER])
    return {"equivariant": np.tile(quarter, (1, 4, 1)), "plain": all_logits("plain", images, ANGLES)}


def run_layer(name):
    run = session(f"layer-{name}.onnx")
    return lambda x: run.run(["y"], {"x": x.astype(np.float32)})[0]


def wander(logits):
    """Largest change of the logits over the angles, relative to upright ones, for each digit."""
    return (np.linalg.norm(logits - logits[:, :1], axis=2) / np.linalg.norm(logits[:, :1], axis=2)).max(1)


def test_the_class_stays_at_every_angle(around):
    classes = {name: logits.argmax(2) for name, logits in around.items()}
    constant = {name: int((c == c[:, :1]).all(1).sum()) for name, c in classes.items()}
    assert constant["equivariant"] >= 18  # of 20
    assert constant["plain"] <= 8  # negative control
    assert np.median(wander(around["equivariant"])) < 0.15
    assert np.median(wander(around["plain"])) > 1


def test_upright_digits_are_read(around, digits):
    labels = np.array([label for label, _, _ in digits])
    for name in NAMES:
        assert (around[name][:, 0].argmax(1) == labels).sum() >= 19, name


def test_quarter_turns_are_exact(around, digits):
    images = [image for _, _, image in digits]
    for start in (0, 35):  # so the angles of one quarter tell all
        turns = all_logits("equivariant", images[::2], [start + angle for angle in (0, 90, 180, 270)])
        for digit in turns:
            assert max(relative(logits, digit[0]) for logits in digit[1:]) < 1e-5
    changed = [relative(digit[QUARTER], digit[0]) for digit in around["plain"]]
    assert min(changed) > 1e-2  # negative control


@pytest.mark.parametrize("part", ["first", "last"])
def test_the_group_axis_rolls(part, digits):
    run, about = session("equivariant.onnx"), MANIFEST["networks"]["equivariant"][part]
    shape = (about["fields"], about["group_order"], about["side"], about["side"])

    def maps(angle):
        return run.run([part], {"x": turned(digits[4][2], angle)[None, None]})[0].reshape(shape)

    before, quarter, eighth = maps(0), maps(90), maps(45)
    for steps in (1, 2):
        turned_along = np.roll(np.rot90(before, steps, (2, 3)), 2 * steps, 1)
        assert relative(maps(90 * steps), turned_along) < 1e-5
    only_turned = np.rot90(before, 1, (2, 3)).copy()
    assert relative(quarter, only_turned) > 0.1  # the axis does not stay
    assert relative(quarter, np.roll(only_turned, -2, 1)) > 0.1  # nor roll the other way
    shuffled = before[:, np.random.default_rng(0).permutation(8)]
    assert relative(quarter.mean((2, 3)), np.roll(shuffled, 2, 1).mean((2, 3))) > 0.1
    means, along = eighth.mean((2, 3)), np.roll(before, 1, 1).mean((2, 3))
    others = [relative(means, np.roll(before, k, 1).mean((2, 3))) for k in (0, 2, 4)]
    assert relative(means, along) < 0.5 * min(others)  # 45 degrees: by one place, approximately


def test_pictures_turn_exactly_by_quarters(digits):
    image = digits[3][2]
    upright = turned(image)
    assert upright.shape == (36, 36)
    assert upright.dtype == np.float32
    assert 0 <= upright.min() <= upright.max() <= 1
    for steps in (1, 2, 3):
        assert np.array_equal(turned(image, 90 * steps), np.rot90(upright, steps))  # counter-clockwise
    assert not np.array_equal(turned(image, 90), np.rot90(upright, -1))
    assert abs(turned(image, 37).sum() / upright.sum() - 1) < 0.01  # nothing leaves the picture
    assert relative(upright[4:32, 4:32], image / 255) < 0.2  # the digit itself, but for what is interpolated
    right, up = turned(image, shift=(1, 0)), turned(image, shift=(0, 1))
    assert np.array_equal(right[:, 1:], upright[:, :-1])
    assert np.array_equal(up[:-1], upright[1:])
    assert turned(image, scale=0.5).sum() == pytest.approx(upright.sum() / 4, rel=0.05)
    with pytest.raises(ValueError, match=r"expected a digit \(28, 28\) of uint8, received \(36, 36\)"):
        turned(upright)


def test_parameters_are_equal():
    counts = {name: sum(p.numel() for p in make().parameters()) for name, make in networks.NETWORKS.items()}
    assert abs(counts["equivariant"] / counts["plain"] - 1) < 0.02
    for name, count in counts.items():
        about = MANIFEST["networks"][name]
        assert about["parameters"] == count
        net, run = networks.NETWORKS[name]().eval(), session(f"{name}.onnx")
        with torch.no_grad():
            shapes = [tuple(y.shape) for y in net(torch.zeros(1, 1, 36, 36))]
        assert [tuple(y.shape) for y in run.get_outputs()] == shapes
        assert shapes == [(1, 10)] + [
            (1, about[part]["fields"] * about[part]["group_order"], about[part]["side"], about[part]["side"])
            for part in ("first", "last")
        ]
    assert MANIFEST["networks"]["equivariant"]["multiply_adds"] < 120e6


def test_figures_are_those_of_the_result_file():
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    for name in NAMES:
        about, row = MANIFEST["networks"][name], result["networks"][name]
        figures = [key for key in about if key in row]
        assert {"parameters", "error_upright", "error_any_angle", "constant_class", "logits_change_mean"} <= {*figures}
        assert all(about[key] == row[key] for key in figures)
        assert len(row["error_by_angle"]) == len(result["angles"]) == 72
        assert np.mean(row["error_by_angle"]) == pytest.approx(row["error_any_angle"], abs=1e-3)
    known = result["layers"]["families"]
    assert {f["name"]: f["errors"] for f in MANIFEST["layers"]["families"]} == known
    assert {name: families.layer_errors(name) for name in known} == {
        name: pytest.approx(errors, rel=1e-3, abs=1e-12) for name, errors in known.items()
    }
    equivariant, plain = (result["networks"][name] for name in NAMES)
    assert equivariant["constant_class"] > 0.95 > 0.5 > plain["constant_class"]
    assert equivariant["error_any_angle"] < plain["error_any_angle"] / 3


def test_files_are_small_and_say_nothing_of_where_they_were_made():
    sizes = {path.name: path.stat().st_size for path in MODELS.iterdir()}
    assert sizes["equivariant.onnx"] + sizes["plain.onnx"] < 1.5e6
    assert sum(sizes.values()) < 2.5e6
    onnx = pytest.importorskip("onnx")
    named = {f["file"] for f in (*MANIFEST["networks"].values(), *MANIFEST["layers"]["families"], MANIFEST["pde"])}
    named |= {task["file"] for task in MANIFEST["pde"]["tasks"]}
    named |= {
        MANIFEST["digits"]["file"],
        MANIFEST["photo"]["file"],
        MANIFEST["scene"]["file"],
        "manifest.json",
        "LICENSES.txt",
    }
    assert named == set(sizes)
    for name in (n for n in named if n.endswith(".onnx")):
        raw = (MODELS / name).read_bytes()
        assert b".py" not in raw, name
        assert all(18 <= known.version <= 21 for known in onnx.load_from_string(raw).opset_import), name


def test_example_digits_follow_their_rule(digits):
    with np.load(data_root() / "mnist.npz") as mnist:
        images, labels = mnist["x_test"], mnist["y_test"]
    assert [label for label, _, _ in digits] == [label for label in range(10) for _ in range(2)]
    for label, index, image in digits:
        assert labels[index] == label
        assert index in np.flatnonzero(labels == label)[:2]
        assert np.array_equal(images[index], image)


def test_photo_is_what_it_says():
    image = pytest.importorskip("PIL.Image")
    data = pytest.importorskip("skimage.data")
    with image.open(MODELS / "photo.png") as file:
        pixels = np.asarray(file)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - data.camera().reshape(128, 4, 128, 4).mean((1, 3))).max() <= 0.5


@pytest.mark.parametrize("name", families.FAMILIES)
def test_layer_files_have_the_errors_of_their_families(name):
    layer = run_layer(name)
    found = {f: families.law_error(layer, f) for f in families.FREQUENCIES}
    known = families.layer_errors(name)
    for f, error in found.items():
        assert error == pytest.approx(known[f"{f:g}"], rel=0.02, abs=1e-6)
        assert families.law_error(layer, f, 90) < 1e-6 or name == "untied"
    assert np.sqrt(np.mean(layer(families.patches(families.NORM_AT, 0.0)) ** 2)) == pytest.approx(1, rel=1e-5)


def test_families_have_their_orders():
    known = {name: families.layer_errors(name) for name in families.FAMILIES}
    orders = {name: fitted_order({f: known[name][f"{f:g}"] for f in (0.1, 0.2, 0.3, 0.4)}) for name in known}
    for name in ("gaussian", "isotropic", "band-limited"):
        assert orders[name] > 3.5, name
    assert 2 < orders["paper"] < 3.5
    for name in ("gaussian-raw", "interpolated", "untied"):
        assert abs(orders[name]) < 0.5, name  # these errors do not vanish on smooth pictures
    at = {name: errors["0.4"] for name, errors in known.items()}
    assert at["band-limited"] < at["gaussian"] < at["paper"] / 10 < at["interpolated"] / 10 < at["untied"] / 10
    assert at["untied"] > 1


def test_families_discretise_the_same_operators():
    upright = {name: families.kernels(name)[0::8] for name in families.FAMILIES}
    x = families.patches(0.2, 0.0)
    response = {name: families._outputs(w, x) for name, w in upright.items()}
    fits = {}
    for name, y in response.items():
        share = (y * response["isotropic"]).sum() / np.linalg.norm(y) / np.linalg.norm(response["isotropic"])
        fits[name] = math.sqrt(max(0.0, 1 - float(share) ** 2))
    assert all(fits[name] < 0.15 for name in ("gaussian", "band-limited")), fits
    assert fits["untied"] > 0.3


def test_layers_refuse_what_they_do_not_have():
    with pytest.raises(ValueError, match=r"Unknown family 'sobel': expected one of gaussian, paper"):
        families.kernels("sobel")
    with pytest.raises(ValueError, match=r"expected a multiple of 45 degrees, which C8 has, received 30"):
        families.law_error(lambda x: x, 0.4, 30)


class Moody(nn.Module):
    """Another output at every call."""

    def forward(self, x):
        return x + torch.rand_like(x)


def test_files_that_differ_from_torch_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"bad.onnx differs from torch by"):
        networks.write_onnx(Moody(), tmp_path / "bad.onnx", {"x": torch.rand(1, 2)}, ("y",))
    assert not list(tmp_path.iterdir())
    assert families.write_layer("paper", tmp_path / "layer.onnx") < 1e-5
    made = ort.InferenceSession(str(tmp_path / "layer.onnx"))
    x = families.patches(0.3, 10.0)[:7].astype(np.float32)
    assert relative(made.run(None, {"x": x})[0].reshape(7, 32), families._outputs(families.kernels("paper"), x)) < 1e-5


def test_the_manifest_is_what_the_code_says():
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    nets = {name: make() for name, make in networks.NETWORKS.items()}
    assert written.manifest(nets, result) == MANIFEST
