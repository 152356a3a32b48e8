"""CIFAR and STL-10 from every form in which they are distributed; real files only where they are at hand."""

import hashlib
import importlib
import io
import os
import pickle
import struct
import tarfile
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from pdoconv.data import cifar10, cifar100, stl10
from pdoconv.data.files import data_folders
from pdoconv.data.pickled import read_pickle

cifar = importlib.import_module("pdoconv.data.cifar")
stl = importlib.import_module("pdoconv.data.stl10")
REAL = [folder for folder in data_folders() if (folder / "cifar10" / "labels.npz").exists()]


class Python2(pickle._Pickler):
    """Writes what Python 2 wrote: protocol 2, strings of bytes, and numpy's old module."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, text):
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    def save_global(self, thing, name=None):
        module = {"_reconstruct": "numpy.core.multiarray"}.get(thing.__name__, "numpy")
        self.write(f"c{module}\n{thing.__name__}\n".encode())
        self.memoize(thing)

    dispatch[bytes] = dispatch[str] = save_string
    dispatch[type] = save_global
    dispatch[type(np.empty(0).__reduce__()[0])] = save_global
    dispatch[type(np.dtype)] = save_global


def python2(thing):
    buffer = io.BytesIO()
    Python2(buffer, 2).dump(thing)
    return buffer.getvalue()


@pytest.fixture
def small(monkeypatch):
    """75 training, 5 validation and 16 test images, and files of them: CIFAR-10 and CIFAR-100."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (96, 3, 32, 32), dtype=np.uint8)
    tens = rng.integers(0, 10, 96, dtype=np.uint8)
    fine = np.concatenate([np.arange(95), [99]]).astype(np.uint8)
    for name, value in (("TRAIN", 75), ("VALID", 5), ("TEST", 16)):
        monkeypatch.setattr(cifar, name, value)
    cuts = np.split(np.arange(96), [75, 80])
    arrays = {f"x {n}": images[k] for n, k in zip(("train", "valid", "test"), cuts, strict=True)}
    arrays |= {f"y {n}": tens[k] for n, k in zip(("train", "valid", "test"), cuts, strict=True)}
    monkeypatch.setattr(cifar, "CIFAR10", {n: hashlib.sha256(a.tobytes()).hexdigest()[:16] for n, a in arrays.items()})
    return images, tens, fine, fine // 5


def files10(images, labels):
    """Contents of the two forms."""
    binary, pickled = {}, {}
    for k in range(6):
        part = slice(16 * k, 16 * k + 16)
        name = f"data_batch_{k + 1}" if k < 5 else "test_batch"
        binary[f"{name}.bin"] = np.concatenate([labels[part, None], images[part].reshape(16, -1)], axis=1).tobytes()
        pickled[name] = python2({"data": images[part].reshape(16, -1), "labels": labels[part].tolist()})
    binary["batches.meta.txt"] = ("\n".join(cifar.CLASSES) + "\n\n").encode()
    pickled["batches.meta"] = python2({"label_names": list(cifar.CLASSES)})
    return {"cifar-10-batches-bin": binary, "cifar-10-batches-py": pickled}


def files100(images, fine, coarse):
    binary, pickled = {}, {}
    for name, part in (("train", slice(0, 80)), ("test", slice(80, 96))):
        rows = images[part].reshape(-1, 3072)
        binary[f"{name}.bin"] = np.concatenate([coarse[part, None], fine[part, None], rows], axis=1).tobytes()
        labels = {"fine_labels": fine[part].tolist(), "coarse_labels": coarse[part].tolist()}
        pickled[name] = python2({"data": rows, **labels})
    names = {"fine_label_names": [f"f{k}" for k in range(100)], "coarse_label_names": [f"c{k}" for k in range(20)]}
    binary |= {f"{key}.txt": "\n".join(value).encode() for key, value in names.items()}
    pickled["meta"] = python2(names)
    return {"cifar-100-binary": binary, "cifar-100-python": pickled}


def write_folder(root, name, files):
    (root / name).mkdir(exist_ok=True)
    for key, content in files.items():
        (root / name / key).write_bytes(content)


def write_archive(path, name, files):
    with tarfile.open(path, "w:gz") as archive:
        for key, content in files.items():
            member = tarfile.TarInfo(f"{name}/{key}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_mosaics(root, images, labels):
    folder = root / "cifar10"
    folder.mkdir()
    for k in range(6):
        tiles = images[16 * k : 16 * k + 16].reshape(4, 4, 3, 32, 32)
        mosaic = Image.fromarray(np.ascontiguousarray(tiles.transpose(0, 3, 1, 4, 2).reshape(128, 128, 3)))
        mosaic.save(folder / ("test.webp" if k == 5 else f"train{k + 1}.webp"), lossless=True)
    np.savez(folder / "labels.npz", y_train=labels[:80], y_test=labels[80:])
    return folder


def check(data, images, labels, title, classes):
    assert data.title == title
    assert len(data.classes) == classes
    assert [len(split.images) for split in data[:3]] == [75, 5, 16]
    assert np.array_equal(np.concatenate([split.images for split in data[:3]]), images)
    assert np.array_equal(np.concatenate([split.labels for split in data[:3]]), labels)
    assert all(array.dtype == np.uint8 for split in data[:3] for array in split)


@pytest.mark.parametrize("form", [0, 1])
def test_official_forms_of_cifar10(tmp_path, small, monkeypatch, form):
    images, labels, *_ = small
    known = cifar.FORMS10[form]
    files = files10(images, labels)[known.folder]
    archive = tmp_path / known.archive
    md5 = write_archive(archive, known.folder, files)
    with pytest.raises(ValueError, match=r"not the expected file .*was not used"):
        cifar10(tmp_path)
    renewed = tuple(f._replace(md5=md5) if f is known else f for f in cifar.FORMS10)
    monkeypatch.setattr(cifar, "FORMS10", renewed)
    check(cifar10(tmp_path), images, labels, "CIFAR-10", 10)
    assert cifar10(tmp_path).classes == cifar.CLASSES
    assert [file.name for file in tmp_path.iterdir()] == [archive.name]  # nothing was unpacked
    archive.unlink()
    write_folder(tmp_path, known.folder, files)
    monkeypatch.setenv("PDOCONV_DATA", str(tmp_path))
    check(cifar10(), images, labels, "CIFAR-10", 10)


def test_mosaics_of_cifar10(tmp_path, small):
    images, labels, *_ = small
    folder = write_mosaics(tmp_path, images, labels)
    check(cifar10(tmp_path), images, labels, "CIFAR-10", 10)
    whole = (folder / "train3.webp").read_bytes()
    (folder / "train3.webp").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"train3.webp: expected a mosaic of 4 x 4 images"):
        cifar10(tmp_path)
    Image.new("RGB", (64, 128)).save(folder / "train3.webp", lossless=True)
    with pytest.raises(ValueError, match=r"train3.webp: expected a mosaic of 4 x 4 images"):
        cifar10(tmp_path)
    (folder / "train3.webp").unlink()
    with pytest.raises(FileNotFoundError, match=r"cifar10 lacks train3.webp"):
        cifar10(tmp_path)
    (folder / "train3.webp").write_bytes(whole)
    np.savez(folder / "labels.npz", y_train=labels[:79], y_test=labels[80:])
    with pytest.raises(ValueError, match="expected 96 labels, received 95"):
        cifar10(tmp_path)
    (folder / "labels.npz").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"labels.npz cannot be read"):
        cifar10(tmp_path)


def test_other_pixels_or_labels_are_not_cifar10(tmp_path, small):
    images, labels, *_ = small
    for k, (wrong_images, wrong_labels) in enumerate(
        [(images[::-1], labels), (images.transpose(0, 1, 3, 2), labels), (images, (labels + 1) % 10)]
    ):
        folder = tmp_path / str(k)
        folder.mkdir()
        write_folder(folder, "cifar-10-batches-bin", files10(wrong_images, wrong_labels)["cifar-10-batches-bin"])
        with pytest.raises(ValueError, match=r"not CIFAR-10 as published: [xy] .*not used"):
            cifar10(folder)


@pytest.mark.parametrize("form", [0, 1])
def test_official_forms_of_cifar100(tmp_path, small, monkeypatch, form):
    images, _, fine, coarse = small
    known = cifar.FORMS100[form]
    files = files100(images, fine, coarse)[known.folder]
    md5 = write_archive(tmp_path / known.archive, known.folder, files)
    monkeypatch.setattr(cifar, "FORMS100", (known._replace(md5=md5),))
    check(cifar100(tmp_path), images, fine, "CIFAR-100", 100)
    (tmp_path / known.archive).unlink()
    write_folder(tmp_path, known.folder, files)
    check(cifar100(tmp_path, "coarse"), images, coarse, "CIFAR-100 (20 classes)", 20)
    assert cifar100(tmp_path).classes[99] == "f99"
    assert cifar100(tmp_path, "coarse").classes[19] == "c19"
    with pytest.raises(ValueError, match=r"'fine' .* or 'coarse' .*received 'medium'"):
        cifar100(tmp_path, "medium")


def test_damaged_folders(tmp_path, small):
    images, labels, fine, coarse = small
    files = files10(images, labels)
    folder = tmp_path / "cifar-10-batches-bin"
    write_folder(tmp_path, folder.name, files[folder.name])
    (folder / "test_batch.bin").write_bytes(files[folder.name]["test_batch.bin"][:-1])
    with pytest.raises(ValueError, match=r"test_batch.bin in .*expected 16 records of 3073 bytes, received 49167"):
        cifar10(tmp_path)
    (folder / "test_batch.bin").write_bytes(b"\x0a" + files[folder.name]["test_batch.bin"][1:])
    with pytest.raises(ValueError, match=r"test_batch.bin in .*expected labels 0..9, received 10"):
        cifar10(tmp_path)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"cifar-10-batches-bin lacks test_batch.bin"):
        cifar10(tmp_path)
    binary = files100(images, fine, coarse)["cifar-100-binary"]
    write_folder(tmp_path, "cifar-100-binary", {**binary, "fine_label_names.txt": b"one\ntwo"})
    with pytest.raises(ValueError, match=r"fine_label_names.txt in .*names of 100 classes, received 2"):
        cifar100(tmp_path)


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["PDOCONV_TEST_EVIL"],)


def test_pickles_run_nothing(tmp_path, small, monkeypatch):
    mark = tmp_path / "mark"
    monkeypatch.setenv("PDOCONV_TEST_EVIL", str(mark))
    images, labels, *_ = small
    write_folder(tmp_path, "cifar-10-batches-py", files10(images, labels)["cifar-10-batches-py"])
    target = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    good = target.read_bytes()
    for protocol in (0, 2, 5):
        target.write_bytes(pickle.dumps({"labels": Evil()}, protocol))
        with pytest.raises(ValueError, match=r"data_batch_2 in .*asks for (posix|nt)\.\w+, and only arrays"):
            cifar10(tmp_path)
        assert not mark.exists()
    pickle.loads(pickle.dumps(Evil()))  # an ordinary reader runs it
    assert mark.exists()
    for damaged in (good[: len(good) // 2], b"", b"text"):
        target.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"data_batch_2 in .*cannot be read"):
            cifar10(tmp_path)
    with pytest.raises(ValueError, match="x: expected a dictionary, received list"):
        read_pickle(pickle.dumps([1]), "x")
    rows = images[:16].reshape(16, -1)
    for wrong in (rows[:15], rows.astype(np.int16), None):
        target.write_bytes(python2({"data": wrong, "labels": [0] * 16}))
        with pytest.raises(ValueError, match=r"data_batch_2 in .*expected 'data', a uint8 array of shape \(16, 3072\)"):
            cifar10(tmp_path)
    for wrong in ([0] * 15, [0.5] * 16, [-1] * 16, None):
        target.write_bytes(python2({"data": rows, "labels": wrong}))
        with pytest.raises(ValueError, match=r"data_batch_2 in .*expected labels, 16 integers"):
            cifar10(tmp_path)


def test_incomplete_archive(tmp_path, small, monkeypatch):
    images, labels, *_ = small
    known = cifar.FORMS10[0]
    files = files10(images, labels)[known.folder]
    files.pop("data_batch_3.bin")
    md5 = write_archive(tmp_path / known.archive, known.folder, files)
    monkeypatch.setattr(cifar, "FORMS10", (known._replace(md5=md5),))
    with pytest.raises(ValueError, match=r"cifar-10-binary.tar.gz lacks cifar-10-batches-bin/data_batch_3.bin"):
        cifar10(tmp_path)


def test_nothing_there(tmp_path):
    (tmp_path / "cifar10").mkdir()  # someone's own folder of that name
    with pytest.raises(FileNotFoundError, match=r"CIFAR-10 was not found: looked for .*tar.gz.*batches-py/.*mosaics"):
        cifar10(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"CIFAR-100 was not found: looked for cifar-100-binary.tar.gz"):
        cifar100(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"STL-10 was not found: looked for stl10_binary.tar.gz"):
        stl10(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        cifar10(tmp_path / "no")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="no CIFAR-10 at hand")
def test_real_cifar10():
    data = cifar10()
    for split, counts in ((data.train, None), (data.test, 1000)):
        assert split.images.shape[1:] == (3, 32, 32)
        assert counts is None or (np.bincount(split.labels) == counts).all()
    assert (np.bincount(data.train.labels) + np.bincount(data.valid.labels) == 5000).all()
    assert data.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert data.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    whole = np.concatenate([data.train.images, data.valid.images])
    assert np.abs(whole.mean((0, 2, 3)) - [125.30692, 122.95039, 113.86538]).max() < 1e-4  # as published everywhere


def test_stl10(tmp_path, monkeypatch):
    monkeypatch.setattr(stl, "TRAIN", 20)
    monkeypatch.setattr(stl, "TEST", 7)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (27, 3, 96, 96), dtype=np.uint8), rng.integers(0, 10, 27, dtype=np.uint8)
    files = {"class_names.txt": b"airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n"}
    for name, part in (("train", slice(0, 20)), ("test", slice(20, 27))):
        files[f"{name}_X.bin"] = images[part].transpose(0, 1, 3, 2).tobytes()  # column by column
        files[f"{name}_y.bin"] = (labels[part] + 1).tobytes()
    archive = tmp_path / "stl10_binary.tar.gz"
    md5 = write_archive(archive, "stl10_binary", files)
    with pytest.raises(ValueError, match="not the expected file"):
        stl10(tmp_path)
    monkeypatch.setattr(stl, "MD5", md5)
    held = np.array([9, 19])
    kept = np.setdiff1d(np.arange(20), held)
    for _ in range(2):  # from the archive, then from the folder
        data = stl10(tmp_path)
        for split, chosen in ((data.train, kept), (data.valid, held), (data.test, np.arange(20, 27))):
            assert np.array_equal(split.images, images[chosen])
            assert not np.array_equal(split.images, images[chosen].transpose(0, 1, 3, 2))
            assert np.array_equal(split.labels, labels[chosen])
        assert data.title == "STL-10"
        assert data.classes[7] == "monkey"
        archive.unlink(missing_ok=True)
        write_folder(tmp_path, "stl10_binary", files)
    for name, content, message in (
        ("train_X.bin", files["train_X.bin"][1:], "expected 552960 bytes, received 552959"),
        ("test_y.bin", b"\x00" + files["test_y.bin"][1:], r"test_y.bin in .*expected labels 1..10, received 0"),
        ("class_names.txt", b"airplane", "names of 10 classes, received 1"),
    ):
        write_folder(tmp_path, "stl10_binary", {**files, name: content})
        with pytest.raises(ValueError, match=message):
            stl10(tmp_path)
