"""A user's own pictures: how they may be arranged, what is done to them, and what each mistake is told."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from pdoconv.data import folder as pictures_of
from pdoconv.data import list_pictures, picture_classes, read_pictures
from pdoconv.data.picture_files import centre_square, read_header, read_pixels

RNG = np.random.default_rng(0)


def noise(*shape, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return array


def make(root, counts=(5, 5), shape=(12, 12, 3)):
    """Class folders a, b, ... of different pictures; returns them by path."""
    return {
        root / name / f"{k}.png": save(root / name / f"{k}.png", noise(*shape))
        for name, count in zip("abcdef", counts, strict=False)
        for k in range(count)
    }


def png(path, values, filters=(0, 1, 2)):
    """Write 16-bit PNG of 1 to 4 channels, which Pillow does not; rows take the filters in turn."""
    height, width, channels = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    data, above, step = b"", np.zeros(rows.shape[1], int), 2 * channels
    for k, row in enumerate(rows):
        kind = filters[k % len(filters)]
        before = {0: 0, 1: np.concatenate([np.zeros(step, int), row[:-step]]), 2: above}[kind]
        data += bytes([kind]) + ((row - before) % 256).astype(np.uint8).tobytes()
        above = row
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    )
    whole = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + whole)


def tiff(path, values, order="<", planar=1):
    """Write an uncompressed 16-bit TIFF in colour."""
    height, width, channels = values.shape
    pixels = (values if planar == 1 else values.transpose(2, 0, 1)).astype(f"{order}u2").tobytes()
    start = 8 + len(pixels)
    plane = len(pixels) // channels
    strips = channels if planar == 2 else 1
    after = start + 2 + 12 * 10 + 4
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, after),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, strips, 8 if strips == 1 else after + 2 * channels),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, strips, len(pixels) if strips == 1 else after + 2 * channels + 4 * strips),
        (284, 3, 1, planar),
    ]
    entries = b""
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        entries += struct.pack(
            f"{order}HHI" + ("HH" if short else "I"), tag, kind, count, *((value, 0) if short else (value,))
        )
    extra = struct.pack(f"{order}{channels}H", *[16] * channels)
    extra += struct.pack(f"{order}{2 * strips}I", *[8 + k * plane for k in range(strips)], *[plane] * strips)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    path.write_bytes(head + pixels + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + extra)


# --- one file


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_16_bits_of_png(tmp_path, channels):
    values = noise(9, 7, channels, dtype=np.uint16)
    png(tmp_path / "a.png", values)
    gray = channels < 3
    assert read_header(tmp_path / "a.png") == (9, 7, 1 if gray else 3, 16)
    colours = np.repeat(values[..., :1], 3, 2) if gray else values[..., :3]
    assert np.array_equal(read_pixels(tmp_path / "a.png", 3), colours)
    found = read_pixels(tmp_path / "a.png", 1)
    assert found.dtype == np.uint16
    assert np.abs(found - colours @ [0.299, 0.587, 0.114]).max() <= 0.5 + 1e-6
    assert np.abs(read_pixels(tmp_path / "a.png", 3) % 256).max() > 0  # low bytes are there


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_16_bits_of_tiff(tmp_path, order):
    values = noise(9, 7, 3, dtype=np.uint16)
    tiff(tmp_path / "a.tif", values, order)
    assert read_header(tmp_path / "a.tif") == (9, 7, 3, 16)
    assert np.array_equal(read_pixels(tmp_path / "a.tif", 3), values)
    tiff(tmp_path / "b.tif", values, order, planar=2)  # Pillow reads these wrongly
    for read in (read_header, lambda file: read_pixels(file, 3)):
        with pytest.raises(ValueError, match="16 bits are stored in separate planes"):
            read(tmp_path / "b.tif")
    gray = noise(5, 6, dtype=np.uint16)
    Image.fromarray(gray).save(tmp_path / "c.tif", compression="tiff_lzw")
    assert np.array_equal(read_pixels(tmp_path / "c.tif", 1), gray)


WRITTEN = {"1": "png tif bmp", "L": "png tif bmp", "LA": "png tif", "P": "png tif bmp", "gray P": "png tif bmp"}
WRITTEN |= {"RGB": "png tif bmp webp", "RGBA": "png tif webp", "CMYK": "tif jpg"}


@pytest.mark.parametrize(("mode", "ending"), [(mode, e) for mode, endings in WRITTEN.items() for e in endings.split()])
def test_modes(tmp_path, mode, ending):
    source = Image.fromarray(np.kron(noise(4, 4, 3), np.ones((4, 4, 1), np.uint8)))
    source = source.quantize(16) if mode == "P" else source.convert("L" if mode == "gray P" else mode)
    if mode == "gray P":
        source = source.quantize(16)
    file = tmp_path / f"a.{ending}"
    options = {"lossless": True} if ending == "webp" else {"quality": 100} if ending == "jpg" else {}
    source.save(file, **options)
    gray = mode in ("1", "L", "LA", "gray P")
    assert read_header(file) == (16, 16, 1 if gray else 3, 8)
    expected = np.asarray(source.convert("RGB"))
    assert read_pixels(file, 3).dtype == np.uint8
    assert np.abs(read_pixels(file, 3).astype(int) - expected).max() <= (40 if ending == "jpg" else 0)
    assert read_pixels(file, 1).shape == (16, 16)


def test_orientation_and_transparency(tmp_path):
    values = noise(6, 9, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(values).save(tmp_path / "a.tif", exif=exif)
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read_pixels(tmp_path / name, 3), np.rot90(values, -1))
    source = Image.fromarray(values).quantize(8)
    source.save(tmp_path / "b.png", transparency=bytes([0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_pixels(tmp_path / "b.png", 3), np.asarray(source.convert("RGB")))
    clear = np.dstack([values, np.zeros((6, 9), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "c.png")
    assert np.array_equal(read_pixels(tmp_path / "c.png", 3), values)


def test_files_that_are_refused(tmp_path):
    frames = [Image.fromarray(noise(5, 5, 3)) for _ in range(3)]
    for name in ("a.tif", "a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(ValueError, match="it holds 3 pages or frames, expected one"):
            read_header(tmp_path / name)
    for array in (np.zeros((3, 3), np.float32), np.zeros((3, 3), np.int32)):
        Image.fromarray(array).save(tmp_path / "b.tif")
        for read in (read_header, lambda file: read_pixels(file, 1)):
            with pytest.raises(ValueError, match="signed or of more than 16 bits"):
                read(tmp_path / "b.tif")
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none.png")


def test_folder_of_pictures_reads_deep_colours(tmp_path):
    values = noise(4, 5, 3, dtype=np.uint16)
    png(tmp_path / "a.png", values)
    assert np.array_equal(pictures_of(tmp_path, channels=3)[0], np.rint(values / 257).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_centre_square(dtype):
    ramp = np.arange(15 * 10, dtype=dtype).reshape(10, 15)
    assert np.array_equal(centre_square(ramp, 10), ramp[:, 2:12])
    assert np.array_equal(centre_square(ramp.T, 10), ramp.T[2:12])
    blocks = np.kron(noise(4, 4, 3, dtype=dtype), np.ones((8, 8, 1), dtype))
    fine = noise(64, 64, dtype=dtype)
    small = centre_square(fine, 8).astype(float)
    aliased = fine[4::8, 4::8].astype(float)
    assert small.std() < 0.3 * aliased.std()  # averages, not samples
    assert centre_square(blocks, 4).shape == (4, 4, 3)
    assert centre_square(blocks, 4).dtype == dtype
    top = np.iinfo(dtype).max
    assert (centre_square(np.full((7, 9), top, dtype), 20) == top).all()


# --- arrangements


def count(listing):
    return len(listing.train), len(listing.valid), len(listing.test)


def test_class_folders_are_divided_by_class_and_seed(tmp_path):
    made = make(tmp_path / "mine", (30, 3))
    listing = list_pictures(tmp_path / "mine")
    assert count(listing) == (22, 4, 7)
    for part, counts in ((listing.train, [21, 1]), (listing.valid, [3, 1]), (listing.test, [6, 1])):
        assert np.bincount([label for _, label in part]).tolist() == counts
    assert {file for part in (listing.train, listing.valid, listing.test) for file, _ in part} == set(made)
    assert (listing.classes, listing.size, listing.channels, listing.bits) == (("a", "b"), 12, 3, 8)
    assert listing.title == "mine"
    assert listing.notes == (
        "No split was given: 22 for training, 4 for validation, 7 for test, drawn from each class by seed 0.",
    )
    assert list_pictures(tmp_path / "mine") == listing
    assert list_pictures(tmp_path / "mine", seed=1).test != listing.test
    data = read_pictures(listing)
    assert data.title == "mine"
    assert data.classes == ("a", "b")
    for split, part in zip(data[:3], (listing.train, listing.valid, listing.test), strict=True):
        assert split.images.dtype == split.labels.dtype == np.uint8
        assert split.labels.tolist() == [label for _, label in part]
        for image, (file, _) in zip(split.images, part, strict=True):
            assert np.array_equal(image, made[file].transpose(2, 0, 1))
    assert set(data.fingerprint) == {"x train", "x valid", "x test", "y test"}


@pytest.mark.parametrize("valid", ["valid", "val", None])
def test_given_folders(tmp_path, valid):
    made = make(tmp_path / "train", (10, 12)) | make(tmp_path / "test", (2, 1))
    if valid:
        made |= make(tmp_path / valid, (1, 2))
    listing = list_pictures(tmp_path)
    assert {file for file, _ in listing.test} == {f for f in made if (tmp_path / "test") in f.parents}
    assert count(listing) == ((22, 3, 3) if valid else (19, 3, 3))  # an eighth of 10 and of 12, rounded
    assert listing.classes == ("a", "b")
    assert any("No validation pictures" in note for note in listing.notes) == (not valid)
    source = tmp_path / (valid or "train")
    assert all(source in file.parents for file, _ in listing.valid)


def test_classes_called_train_and_test(tmp_path):
    """A class may be called train, as in CIFAR-100; folders beside train/ and test/ are left out with a note."""
    for name in ("train", "car"):
        make(tmp_path / name, ())
        for k in range(3):
            save(tmp_path / name / f"{k}.png", noise(8, 8))
    assert list_pictures(tmp_path).classes == ("car", "train")
    other = tmp_path / "other"
    make(other / "train", (3, 3)), make(other / "test", (1, 1)), make(other / "later", (1, 1))
    listing = list_pictures(other)
    assert count(listing) == (4, 2, 2)
    assert "Not used, being no pictures of a class (1): later." in listing.notes


def test_csv(tmp_path):
    made = make(tmp_path / "files", (6, 6))
    names = [str(file.relative_to(tmp_path)) for file in made]
    table = tmp_path / "pictures.csv"
    lines = [f"{name},{'cat' if k % 2 else 'dog, big'!r}" for k, name in enumerate(names)]
    table.write_text("file,label\n" + "\n".join(line.replace("'", '"') for line in lines), encoding="utf-8-sig")
    listing = list_pictures(table)
    assert count(listing) == (8, 2, 2)
    assert listing.classes == ("cat", "dog, big")
    assert listing.title == "pictures"
    splits = ["train"] * 6 + ["Val"] * 2 + ["test"] * 4
    rows = [f"{name}, {'ab'[k % 2]} ,{split}" for k, (name, split) in enumerate(zip(names, splits, strict=True))]
    table.write_text("file,label,split\n" + "\n".join(rows))
    listing = list_pictures(table)
    assert count(listing) == (6, 2, 4)
    assert {file: label for file, label in listing.train} == {tmp_path / n: k % 2 for k, n in enumerate(names[:6])}
    assert listing.notes == ()
    assert len(read_pictures(listing).test.images) == 4


def test_hidden_files_nested_folders_and_others(tmp_path):
    make(tmp_path, (3, 3))
    save(tmp_path / "a" / "day 2" / "x.PNG", noise(12, 12, 3))
    for name in (".DS_Store", ".git/a.png", "a/.hidden.png", "a/._1.png", "a/__MACOSX/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "a" / "labels.json").write_text("x")
    save(tmp_path / "loose.png", noise(5, 5))
    listing = list_pictures(tmp_path)
    assert sum(count(listing)) == 7
    assert "Not used, being no pictures of a class (3): loose.png, notes.txt, labels.json." in listing.notes


# --- what is done to pictures


def test_mixed_sizes(tmp_path):
    made = make(tmp_path, (3, 3), (10, 10, 3))
    save(tmp_path / "a" / "wide.png", noise(20, 31, 3))
    save(tmp_path / "b" / "tall.png", noise(25, 10, 3))
    listing = list_pictures(tmp_path)
    assert listing.size == 10  # the median of 10, ..., 10, 20
    assert any(
        note.startswith(
            "Pictures have 3 sizes, from 10 x 10 to 25 x 10 pixels (height x width): the shorter side is scaled"
        )
        for note in listing.notes
    )
    data = read_pictures(listing)
    assert data.train.images.shape[1:] == (3, 10, 10)
    squares = {
        file: image
        for part, split in zip((listing.train, listing.test), (data.train, data.test), strict=True)
        for (file, _), image in zip(part, split.images, strict=True)
    }
    assert all(np.array_equal(squares[f], made[f].transpose(2, 0, 1)) for f in squares if f in made)  # not resampled
    assert list_pictures(tmp_path, size=7).size == 7
    assert read_pictures(list_pictures(tmp_path, size=30)).train.images.shape[1:] == (3, 30, 30)
    for file in made:
        save(file, noise(300, 400))
    assert list_pictures(tmp_path).size == 224
    one = tmp_path / "one"
    make(one, (3, 3), (6, 8))
    assert any("All pictures are 6 x 8 pixels (height x width)" in note for note in list_pictures(one).notes)
    assert list_pictures(one).size == 6


def test_mixed_colours(tmp_path):
    make(tmp_path, (3, 3))
    gray = save(tmp_path / "a" / "gray.png", noise(12, 12))
    listing = list_pictures(tmp_path)
    assert listing.channels == 3
    assert "1 of 7 pictures are gray: they are repeated over three channels." in listing.notes
    every = {
        f: image
        for image, (f, _) in zip(
            np.concatenate([s.images for s in read_pictures(listing)[:3]]),
            listing.train + listing.valid + listing.test,
            strict=True,
        )
    }
    assert (every[tmp_path / "a" / "gray.png"] == gray).all()
    listing = list_pictures(tmp_path, channels=1)
    assert "6 of 7 pictures are in colour: they become gray (ITU-R 601 luma)." in listing.notes
    assert read_pictures(listing).train.images.shape[1:] == (12, 12)
    make(tmp_path, (4, 3), (12, 12))
    assert list_pictures(tmp_path).channels == 1
    assert read_pictures(list_pictures(tmp_path, channels=3)).test.images.shape[1:] == (3, 12, 12)


def test_mixed_bits(tmp_path):
    made = make(tmp_path, (3, 3), (12, 12))
    deep = noise(12, 12, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "b" / "deep.png")
    made[tmp_path / "b" / "deep.png"] = deep
    listing = list_pictures(tmp_path)
    assert listing.bits == 16
    assert "6 of 7 pictures have 8 bits, the others 16: 8-bit values are multiplied by 257." in listing.notes
    data = read_pictures(listing)
    assert data.train.images.dtype == np.uint16
    for split, part in zip(data[:3], (listing.train, listing.valid, listing.test), strict=True):
        for image, (file, _) in zip(split.images, part, strict=True):
            assert np.array_equal(image, made[file] * (1 if made[file].dtype == np.uint16 else np.uint16(257)))


def test_copies_are_counted(tmp_path):
    make(tmp_path / "train", (4, 4)), make(tmp_path / "valid", (1, 1)), make(tmp_path / "test", (2, 2))
    assert not any("copies" in note for note in list_pictures(tmp_path).notes)
    source = (tmp_path / "train" / "a" / "0.png").read_bytes()
    for name in ("test/a/copy1.png", "test/b/copy2.png"):
        (tmp_path / name).write_bytes(source)
    found = [note for note in list_pictures(tmp_path).notes if "copies" in note]
    assert len(found) == 1
    assert found[0].startswith("Warning: 2 of 6 test pictures are copies of training pictures")
    assert "copy1.png of " in found[0]
    (tmp_path / "valid" / "a" / "copy.png").write_bytes(source)
    assert any("1 of 3 validation pictures are copies" in note for note in list_pictures(tmp_path).notes)


def test_many_classes(tmp_path):
    for k in range(257):
        for i in range(3):
            (tmp_path / f"{k:03d}").mkdir(exist_ok=True)
            Image.fromarray(np.full((2, 2), k % 256, np.uint8)).save(tmp_path / f"{k:03d}" / f"{i}.bmp")
    data = read_pictures(list_pictures(tmp_path))
    assert data.test.labels.dtype == np.int64
    assert data.test.labels.max() == 256


def test_memory(tmp_path, monkeypatch):
    make(tmp_path, (3, 3))
    assert picture_classes.available_memory() > 10**7
    monkeypatch.setattr(picture_classes, "available_memory", lambda: 6 * 3 * 144)
    read_pictures(list_pictures(tmp_path))
    monkeypatch.setattr(picture_classes, "available_memory", lambda: 6 * 3 * 144 - 1)
    with pytest.raises(ValueError, match=r"6 pictures of 12 x 12 pixels need .* smaller size, such as 8\."):
        read_pictures(list_pictures(tmp_path))


# --- mistakes


def test_wrong_paths(tmp_path):
    make(tmp_path / "my_images", (3, 3))
    with pytest.raises(FileNotFoundError, match=r"my_imges does not exist \(did you mean .*my_images\?\)"):
        list_pictures(tmp_path / "my_imges")
    with pytest.raises(FileNotFoundError, match=r"my_imges/a/b does not exist \(did you mean .*my_images\?\)"):
        list_pictures(tmp_path / "my_imges" / "a" / "b")
    with pytest.raises(FileNotFoundError, match=r"zzz does not exist: give a folder"):
        list_pictures(tmp_path / "zzz")
    with pytest.raises(ValueError, match=r"0.png is a file, expected one folder for each class"):
        list_pictures(tmp_path / "my_images" / "a" / "0.png")
    with pytest.raises(ValueError, match=r"received one, my_images: .*or give the folder of class folders .*my_images"):
        list_pictures(tmp_path)
    for arguments in ({"size": 0}, {"channels": 2}, {"seed": -1}):
        with pytest.raises(ValueError, match="expected size >= 1, channels 1"):
            list_pictures(tmp_path / "my_images", **arguments)


def test_wrong_arrangements(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no pictures, of those that end in .png, .*one folder for each"):
        list_pictures(tmp_path)
    make(tmp_path, (7,))
    with pytest.raises(
        ValueError, match=r"has 7 pictures \(0.png, .* and 2 more\) but no class folders.*/a/cats/1.png"
    ):
        list_pictures(tmp_path / "a")
    with pytest.raises(ValueError, match=r"at least two classes, received one, a: add the pictures of another class\."):
        list_pictures(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="class folders without pictures: empty"):
        list_pictures(tmp_path)
    save(tmp_path / "empty" / "1.png", noise(5, 5))
    save(tmp_path / "empty" / "2.png", noise(5, 5))
    with pytest.raises(
        ValueError, match=r"3 or more pictures of each class, .*\(training, validation, test\), received 2 of empty"
    ):
        list_pictures(tmp_path)


def test_wrong_splits(tmp_path):
    make(tmp_path / "train", (3, 3)), make(tmp_path / "val", (1, 1))
    with pytest.raises(ValueError, match=r"expected the folders train/, test/ .*received train, val: add test/"):
        list_pictures(tmp_path)
    make(tmp_path / "test", (1, 1, 1))
    with pytest.raises(ValueError, match=r"1 or more training pictures of each class, .*\(training\), received 0 of c"):
        list_pictures(tmp_path)
    make(tmp_path / "train", (3, 3, 1, 1))
    assert "Classes without test pictures: d." in list_pictures(tmp_path).notes
    make(tmp_path / "valid", (1, 1))
    with pytest.raises(ValueError, match="received test, train, val, valid: remove valid/ or val/"):
        list_pictures(tmp_path)
    other = tmp_path / "other"
    make(other / "train", (3, 1)), make(other / "test", (1, 1))
    with pytest.raises(ValueError, match=r"2 or more training pictures .*\(training, validation\), received 1 of b"):
        list_pictures(other)
    flat = tmp_path / "flat"
    for name in ("train/1.png", "test/1.png"):  # not two classes called train and test
        save(flat / name, noise(5, 5))
    with pytest.raises(ValueError, match="but no class folders"):
        list_pictures(flat)


def test_wrong_csv(tmp_path):
    make(tmp_path, (6,))
    table = tmp_path / "table.csv"
    good = [f"a/{k}.png,{'xy'[k % 2]}" for k in range(6)]

    def refused(text, error, match):
        table.write_text(text) if isinstance(text, str) else table.write_bytes(text)
        with pytest.raises(error, match=match):
            list_pictures(table)

    refused("", ValueError, r"table.csv cannot be read: expected the columns file,label .*received nothing")
    refused("name;label\n", ValueError, r"separated by commas, received name;label")
    refused("file,label\n", FileNotFoundError, "names no pictures")
    refused("file,label\na/0.png,é\n".encode("latin1"), ValueError, "Save it as CSV in UTF-8")
    missing = ["a/10.png,x", ",x", *(f"b/{k}.png,x" for k in range(4))]
    refused(
        "\n".join(["file,label", *good, *missing]),
        FileNotFoundError,
        r"names 6 files that are not there: a/10.png in line 8 \(did you mean .*png\?\), nothing in line 9, .*more",
    )
    refused("\n".join(["file,label", *good, "a/0.png,"]), ValueError, "received none in line 8")
    refused("\n".join(["file,label", *good, "a/0.png,x"]), ValueError, r"more than once: .*a/0.png")
    split = [f"{row},{'train' if k < 4 else 'test'}" for k, row in enumerate(good)]
    refused("\n".join(["file,label,split", *split[:5], "a/5.png,x,tets"]), ValueError, "received 'tets' in line 7")
    refused("\n".join(["file,label,split", *split[:4]]), ValueError, "for training and for the test, received 4 and 0")


def test_corrupt_pictures_are_named_at_once(tmp_path):
    make(tmp_path, (6, 6), (40, 40, 3))
    files = [tmp_path / name for name in ("a/1.png", "b/2.png", "b/3.png")]
    whole = {file: file.read_bytes() for file in files}
    for file in files[:2]:
        file.write_bytes(whole[file][: len(whole[file]) // 2])  # the header is sound
    with pytest.raises(
        ValueError, match=r"cannot be read \(2\): .*a/1.png \(.*truncated.*\), .*b/2.png \(.*Replace or"
    ):
        read_pictures(list_pictures(tmp_path))
    files[2].write_text("no picture")
    with pytest.raises(ValueError, match=r"cannot be read \(3\): .*b/3.png .*a/1.png .*b/2.png") as caught:
        list_pictures(tmp_path)
    assert "a/0.png" not in str(caught.value)
    for file in files:
        file.write_bytes(whole[file])
    read_pictures(list_pictures(tmp_path))
    frames = [Image.fromarray(noise(40, 40, 3)) for _ in range(2)]
    frames[0].save(tmp_path / "a" / "pages.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"pages.tif \(it holds 2 pages or frames"):
        list_pictures(tmp_path)


def test_pictures_that_disappear_or_change(tmp_path):
    make(tmp_path, (6, 6))
    listing = list_pictures(tmp_path)
    (tmp_path / "a" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"are gone \(1\): .*a/2.png\. Bring them back"):
        read_pictures(listing)
    save(tmp_path / "a" / "2.png", noise(30, 20, dtype=np.uint16))
    assert read_pictures(listing).train.images.shape[1:] == (3, 12, 12)
