"""Lower precision: int8 files keep the 90-degree law to the last bit, bfloat16 ones are the rounded network."""

import copy
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from conftest import relative, season
from torch import nn
from typer.testing import CliRunner

import pdoconv as pdo
from pdoconv.cli import app
from pdoconv.data import MnistRot, Split
from pdoconv.export import bfloat16_onnx, precision, quantise_onnx, to_onnx
from pdoconv.export.helpers import session
from pdoconv.recipes import MnistRotSmall, mnist_rot_small
from pdoconv.training.folder import RunFolder, write_json

C8 = pdo.cyclic(8)
FIELD = C8.regular(2)
QUARTER = 2  # of C8
LOWER = {"int8": quantise_onnx, "bfloat16": bfloat16_onnx}


def body():
    return season(
        pdo.Sequential(
            pdo.PDOConv2d(C8.trivial(1), FIELD, padding=2), pdo.BatchNorm2d(FIELD), nn.ReLU(), pdo.MaxPool2d(FIELD, 2),
            pdo.PDOConv2d(FIELD, FIELD, padding=2), pdo.BatchNorm2d(FIELD), nn.ReLU(),
        )
    ).float()  # fmt: skip


class Files(SimpleNamespace):
    def run(self, path, x):
        return torch.from_numpy(session(path.read_bytes()).run(None, {"x": x.numpy()})[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network, its file, and the images that it is measured on."""
    torch.manual_seed(0)
    net, folder = body(), tmp_path_factory.mktemp("files")
    to_onnx(net, folder / "float32.onnx", (1, 1, 12, 12), sizes="fixed")
    return Files(net=net, source=folder / "float32.onnx", images=torch.randn(40, 1, 12, 12))


def change_by_turning(call, x):
    return float((call(x.rot90(1, (2, 3))) - FIELD.transform(call(x), QUARTER)).abs().max())


def test_int8_keeps_the_law_without_any_error(made, tmp_path):
    before = made.source.read_bytes()
    written = quantise_onnx(made.source, tmp_path / "int8.onnx", made.images)
    assert made.source.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["int8.onnx"]
    assert written.bytes == (tmp_path / "int8.onnx").stat().st_size
    x = torch.randn(8, 1, 12, 12)
    y, exact = made.run(tmp_path / "int8.onnx", x), made.net(x)
    assert 0 < written.difference < 0.05
    assert 1e-4 < relative(y, exact) < 0.2  # coarse, and near
    assert change_by_turning(lambda x: made.run(tmp_path / "int8.onnx", x), x) == 0


def test_int8_weights_are_the_same_numbers_in_other_places(made, tmp_path):
    quantise_onnx(made.source, tmp_path / "int8.onnx", made.images)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    weights = [name for name, w in values.items() if w.ndim == 4]
    assert len(weights) == 2
    for name in weights:
        w, scales = values[name], values[name.replace("_quantized", "_scale")]
        assert w.dtype == np.int8
        assert abs(w.astype(int)).max() <= 64
        place = torch.from_numpy(FIELD.permutation(QUARTER))
        across = place if w.shape[1] > 1 else torch.zeros(1, dtype=torch.long)
        kernels = torch.tensor(w)
        assert torch.equal(kernels[place][:, across].rot90(1, (2, 3)), kernels)
        assert np.array_equal(scales[place], scales)
        assert not torch.equal(kernels[:, across].rot90(1, (2, 3)), kernels)


def test_int8_of_a_network_without_the_symmetry_has_none(made, tmp_path):
    """The measure tells: one kernel changed by a fifth."""
    plain = pdo.export(made.net)
    plain[0].weight.data[0] *= 1.2
    to_onnx(plain, tmp_path / "plain.onnx", (1, 1, 12, 12), sizes="fixed")
    quantise_onnx(tmp_path / "plain.onnx", tmp_path / "int8.onnx", made.images)
    assert change_by_turning(lambda x: made.run(tmp_path / "int8.onnx", x), made.images[:8]) > 1e-2


def test_bfloat16_file_is_the_network_with_rounded_weights(made, tmp_path):
    target = tmp_path / "bfloat16.onnx"
    written = bfloat16_onnx(made.source, target, made.images)
    rounded = pdo.export(made.net)
    for name, parameter in rounded.named_parameters():
        if name.endswith("weight"):
            parameter.data = parameter.data.bfloat16().float()
    y = made.run(target, made.images)
    assert relative(y, rounded(made.images)) < 1e-5
    assert relative(y, made.net(made.images)) > 1e-4  # what the rounding costs
    assert written.difference < 0.02
    assert written.bytes < 0.75 * made.source.stat().st_size


def test_bfloat16_and_autocast_in_torch(made):
    plain, x = pdo.export(made.net), made.images[:4]
    exact = made.net(x)
    low = copy.deepcopy(plain).bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        mixed = plain(x)
    for y in (low, mixed):
        assert 1e-4 < relative(y.float(), exact) < 0.05


@pytest.mark.parametrize("kind", LOWER)
def test_far_off_outputs_are_refused(kind, made, tmp_path, monkeypatch):
    target = tmp_path / "lower.onnx"
    target.write_bytes(b"precious")
    monkeypatch.setitem(precision.LIMITS, kind, 1e-6)
    with pytest.raises(ValueError, match=r"differ by .* of their size: nothing was written"):
        LOWER[kind](made.source, target, made.images)
    assert target.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["lower.onnx"]


@pytest.mark.parametrize("kind", LOWER)
def test_arguments(kind, made, tmp_path):
    lower, target, images = LOWER[kind], tmp_path / "lower.onnx", made.images
    with pytest.raises(FileNotFoundError, match="write it with to_onnx first"):
        lower(tmp_path / "none.onnx", target, images)
    with pytest.raises(FileNotFoundError, match="make it first"):
        lower(made.source, tmp_path / "no" / "lower.onnx", images)
    with pytest.raises(ValueError, match="the same file"):
        lower(made.source, made.source, images)
    with pytest.raises(ValueError, match=r"Expected images \('batch', 1, 12, 12\)"):
        lower(made.source, target, images[:, :, 1:])
    with pytest.raises(ValueError, match=r"Expected images .*, received \(0, 1, 12, 12\)"):
        lower(made.source, target, images[:0])
    with pytest.raises(ValueError, match="not finite"):
        lower(made.source, target, images / 0)
    (tmp_path / "damaged.onnx").write_bytes(made.source.read_bytes()[:100])
    with pytest.raises(ValueError, match="is not an ONNX file with one input"):
        lower(tmp_path / "damaged.onnx", target, images)
    quantise_onnx(made.source, tmp_path / "int8.onnx", images)
    with pytest.raises(ValueError, match="not a network in float32"):
        lower(tmp_path / "int8.onnx", target, images)
    assert not target.exists()


def few(count):
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 255, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10)


@pytest.mark.slow
def test_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", lambda: MnistRot(few(300), few(10), few(10)))
    folder, settings = RunFolder(tmp_path / "run"), MnistRotSmall(fields=1)
    folder.path.mkdir()
    write_json(folder.config, {"recipe": "mnist-rot-small", "settings": vars(settings)})
    folder.save_model(season(settings.network()).float(), "mnist-rot-small", settings, [127.0], [74.0])
    sizes = {}
    for kind in ("float32", "bfloat16", "int8"):
        file = tmp_path / f"{kind}.onnx"
        shown = CliRunner().invoke(app, ["export", str(folder.path), "--onnx", str(file), "--precision", kind])
        assert shown.exit_code == 0, shown.output
        assert "(batch, 1, 28, 28)" in shown.output
        assert "fixed to 28 x 28" in shown.output
        sizes[kind] = file.stat().st_size
    assert sizes["int8"] < sizes["bfloat16"] < sizes["float32"]
    assert len(list(tmp_path.iterdir())) == 4
    shown = CliRunner().invoke(app, ["export", str(folder.path), "--precision", "int4"])
    assert shown.exit_code == 1
    assert "--precision must be one of float32, bfloat16, int8, received 'int4'" in shown.output
