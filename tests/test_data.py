import hashlib
import importlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pdoconv.data import mnist_rot
from pdoconv.data import mnist_rot as loader
from pdoconv.data.files import data_root
from pdoconv.data.mnist_rot import REGENERATED, Split, rotate

module = importlib.import_module("pdoconv.data.mnist_rot")
SOURCE = Path(__file__).parents[1] / "data" / "mnist.npz"


def test_regenerated_set_and_what_is_kept(tmp_path, capsys):
    shutil.copy(SOURCE, tmp_path)
    data = mnist_rot(tmp_path)
    assert data.title == "MNIST-rot (regenerated)"
    assert data.fingerprint == REGENERATED
    assert [split.images.shape for split in data] == [(10000, 28, 28), (2000, 28, 28), (50000, 28, 28)]
    assert all(a.dtype == np.uint8 for split in data for a in split)
    (train_x, train_y), _, (test_x, test_y) = data
    assert (len(train_x), len(train_y), len(test_x), len(test_y)) == (10000, 10000, 50000, 50000)
    kept = tmp_path / "mnist_rot_regenerated.npz"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mnist.npz", kept.name]
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])  # an interrupted write
    assert mnist_rot(tmp_path).fingerprint == REGENERATED
    assert "half-written or corrupt" in capsys.readouterr().err
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    kept.write_bytes(bytes(flipped))
    assert mnist_rot(tmp_path).fingerprint == REGENERATED
    assert kept.read_bytes() == whole


def test_rotation_is_counter_clockwise_and_exact_at_quarter_turns():
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28), dtype=np.uint8)
    quarter = np.array([np.pi / 2])
    assert (rotate(image, quarter)[0] == np.rot90(image[0])).all()
    assert (rotate(image, 0 * quarter) == image).all()
    assert (rotate(image, -quarter)[0] != np.rot90(image[0])).any()


def test_rotation_equals_a_loop():
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28), dtype=np.uint8)
    angle, expected = 0.7, np.zeros((28, 28), np.uint8)
    for row in range(28):
        for column in range(28):
            x, y = column - 13.5, 13.5 - row
            c = np.cos(angle) * x + np.sin(angle) * y + 13.5
            r = 13.5 - (-np.sin(angle) * x + np.cos(angle) * y)
            r0, c0, total = int(np.floor(r)), int(np.floor(c)), 0.0
            for dr in (0, 1):
                for dc in (0, 1):
                    if 0 <= r0 + dr < 28 and 0 <= c0 + dc < 28:
                        weight = (1 - abs(r - r0 - dr)) * (1 - abs(c - c0 - dc))
                        total += weight * float(image[0, r0 + dr, c0 + dc])
            expected[row, column] = np.rint(total)
    assert (rotate(image, np.array([angle]))[0] == expected).all()


@pytest.fixture
def small(monkeypatch):
    """The same formats with 20 + 10 + 30 images."""
    for name, value in (("TRAIN", 20), ("VALID", 10), ("TEST", 30)):
        monkeypatch.setattr(module, name, value)


def write_amat(folder, rows=(30, 30), spoil=None):
    rng = np.random.default_rng(0)
    tables = []
    for name, n in zip(module.AMAT, rows, strict=True):
        table = np.column_stack([rng.integers(0, 256, (n, 784)) / 255, rng.integers(0, 10, n)])
        np.savetxt(folder / name, table, fmt="%.6f")
        tables.append(table)
    if spoil:
        path = folder / module.AMAT[1]
        path.write_text(spoil(path.read_text()))
    return tables


def check_published(data, tables):
    assert data.title == "MNIST-rot"
    assert [len(split.images) for split in data] == [20, 10, 30]
    assert (data.train.images.reshape(20, -1) == np.rint(tables[0][:20, :-1] * 255)).all()
    assert (data.test.labels == tables[1][:, -1]).all()


def test_published_amat_files(tmp_path, small):
    tables = write_amat(tmp_path)
    check_published(mnist_rot(tmp_path), tables)


def test_published_zip(tmp_path, small, monkeypatch):
    tables = write_amat(tmp_path)
    archive = tmp_path / "mnist_rotation_new.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in module.AMAT:
            file.write(tmp_path / name, name)
            (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"not the expected file .*was not used"):
        mnist_rot(tmp_path)
    monkeypatch.setattr(module, "ZIP_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    check_published(mnist_rot(tmp_path), tables)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],  # half-written, in the middle of a row
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),  # a row is missing
        lambda text: text.replace("0.5", "x", 1),
        lambda text: text.replace("0.5", "nan", 1),
        lambda text: text.replace("0.5", "7.5", 1),
        lambda text: "",
    ],
)
@pytest.mark.filterwarnings("ignore:.*input contained no data")
def test_spoiled_amat(tmp_path, small, spoil):
    write_amat(tmp_path, spoil=spoil)
    with pytest.raises(ValueError, match="was not used"):
        mnist_rot(tmp_path)


def test_one_amat_missing(tmp_path, small):
    write_amat(tmp_path)
    (tmp_path / module.AMAT[0]).unlink()
    with pytest.raises(FileNotFoundError, match="but not mnist_all_rotation"):
        mnist_rot(tmp_path)


def test_truncated_source(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(SOURCE.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="half-written, corrupt or another"):
        mnist_rot(tmp_path)
    assert not (tmp_path / "mnist_rot_regenerated.npz").exists()


def test_nothing_there(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="has neither"):
        mnist_rot(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        mnist_rot(tmp_path / "no")
    monkeypatch.setenv("PDOCONV_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.setenv("PDOCONV_DATA", str(tmp_path / "no"))
    with pytest.raises(FileNotFoundError, match="PDOCONV_DATA"):
        data_root()


def test_split_names():
    assert Split._fields == ("images", "labels")
    assert loader.__name__ == "mnist_rot"
