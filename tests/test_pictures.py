"""Pictures, what degrades them, and how near a restored one is to the clean one."""

import importlib
import itertools

import numpy as np
import pytest
import torch
import torchmetrics.functional.image as theirs
from conftest import relative
from PIL import Image
from scipy import ndimage

from pdoconv.data import (
    as_image,
    disc,
    folder,
    oriented,
    patches,
    picture_hash,
    pictures,
    synthetic,
    text,
)
from pdoconv.measure import psnr, ssim
from pdoconv.pde import degrade

scenes = importlib.import_module("pdoconv.data.scenes")
rotated = importlib.import_module("pdoconv.data.rotated")
MOVES = [lambda x, q=q, f=f: torch.rot90(x.flip(3) if f else x, q, (2, 3)) for q in range(4) for f in (0, 1)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small_set(count=12, side=20, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(side + k % 3, side + k % 2) for k in range(count)]
    return {f"{k:02d}": rng.integers(0, 256, shape, dtype=np.uint8) for k, shape in enumerate(shapes)}


def write(path, arrays):
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# --- where pictures come from


@pytest.mark.parametrize("place", ["set12.npz", "denoise/set12.npz"])
def test_sets_are_read_whole_and_in_order(tmp_path, monkeypatch, place):
    arrays = small_set()
    write(tmp_path / place, arrays)
    found = pictures("set12", tmp_path)
    assert same(found, list(arrays.values()))
    monkeypatch.setenv("PDOCONV_DATA", str(tmp_path))
    assert picture_hash(pictures("set12")) == picture_hash(found)
    assert picture_hash(found[::-1]) != picture_hash(found)
    assert picture_hash([found[0].T, *found[1:]]) != picture_hash(found)


def test_default_data_folders(tmp_path, monkeypatch):
    monkeypatch.delenv("PDOCONV_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data" / "set12.npz", small_set())
    assert same(pictures("set12"), list(small_set().values()))


def test_missing_sets_say_where_they_were_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"looked for .*denoise/bsd68.npz, .*bsd68.npz.* 68 uint8 .*synthetic"):
        pictures("bsd68", tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        pictures("bsd68", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"one of \('train400', 'bsd68', 'set12'\), received 'lena'.*folder"):
        pictures("lena", tmp_path)


def test_damaged_sets_are_refused(tmp_path):
    file = write(tmp_path / "set12.npz", small_set())
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for damaged in (whole[: len(whole) // 2], bytes(flipped), b"", b"not an archive"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"set12.npz is half-written or corrupt"):
            pictures("set12", tmp_path)
    file.write_bytes(whole)
    assert len(pictures("set12", tmp_path)) == 12
    few, floats, colour = small_set(11), small_set(), small_set()
    floats["00"] = floats["00"] / 255
    colour["00"] = colour["00"][..., None]
    for wrong in (few, floats, colour):
        write(file, wrong)
        with pytest.raises(ValueError, match="expected 12 uint8 arrays"):
            pictures("set12", tmp_path)


def test_own_folder(tmp_path):
    rng = np.random.default_rng(0)
    gray, colour = rng.integers(0, 256, (9, 12), dtype=np.uint8), rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    Image.fromarray(gray).save(tmp_path / "b.png")
    Image.fromarray(colour).save(tmp_path / "a.PNG")
    deep = np.arange(108, dtype=np.uint16).reshape(9, 12) * 257
    Image.fromarray(deep).save(tmp_path / "c.png")
    Image.fromarray(gray).save(tmp_path / "d.jpeg", quality=100)
    (tmp_path / "notes.txt").write_text("not a picture")
    a, b, c, d = folder(tmp_path)
    assert np.array_equal(b, gray)
    assert np.abs(a - colour @ [0.299, 0.587, 0.114]).max() < 1
    assert np.array_equal(c, np.arange(108).reshape(9, 12))
    assert np.abs(d.astype(float) - gray).max() < 8
    assert all(p.dtype == np.uint8 for p in (a, b, c, d))
    a, b, *_ = folder(tmp_path, channels=3)
    assert np.array_equal(a, colour)
    assert np.array_equal(b, np.repeat(gray[..., None], 3, 2))


def test_own_folder_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no picture that ends in .png"):
        folder(tmp_path)
    with pytest.raises(ValueError, match=r"channels 1 \(gray\) or 3"):
        folder(tmp_path, channels=2)
    file = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(file)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a.png cannot be read .*replace or remove"):
            folder(tmp_path)


def test_patches_repeat_when_resumed():
    made = synthetic(3, 32)
    first = list(itertools.islice(patches(made, batch=5, size=9, seed=3), 6))
    assert first[0].shape == (5, 1, 9, 9)
    assert first[0].dtype == torch.float32
    resumed = list(itertools.islice(patches(made, batch=5, size=9, seed=3, start=4), 2))
    assert all(torch.equal(a, b) for a, b in zip(first[4:], resumed, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], next(patches(made, batch=5, size=9, seed=4)))


def test_patches_are_parts_of_pictures_and_reach_every_place():
    picture = np.arange(20 * 12, dtype=np.uint8).reshape(20, 12)
    found = {}
    for symmetries in (False, True):
        batch = next(patches([picture], batch=600, size=3, symmetries=symmetries))
        found[symmetries] = {tuple(p.ravel().tolist()) for p in (batch * 255).round().to(torch.uint8).numpy()}
    windows = np.lib.stride_tricks.sliding_window_view(picture, (3, 3)).reshape(-1, 9)
    places = {tuple(w.tolist()) for w in windows}
    assert found[False] <= places
    assert len(found[False]) > 0.9 * len(places)
    turned = {
        tuple(np.rot90(w.reshape(3, 3)[:, ::f], q).ravel().tolist()) for w in windows for q in range(4) for f in (1, -1)
    }
    assert found[True] <= turned
    assert not found[True] <= places
    assert len(found[True] & places) < 0.3 * len(found[True])
    colour = next(patches(synthetic(2, 20, channels=3), batch=4, size=20))
    assert colour.shape == (4, 3, 20, 20)
    whole = torch.cat([as_image(p) for p in synthetic(2, 20, channels=3)])
    assert all(any(torch.equal(part, w) for w in whole) for part in colour)


def test_patches_errors():
    made = synthetic(2, 16)
    with pytest.raises(ValueError, match=r"sides of at least 17 pixels, received a picture \(16, 16\)"):
        patches(made, batch=2, size=17)
    with pytest.raises(ValueError, match="batch >= 1"):
        patches(made, batch=0, size=8)
    with pytest.raises(ValueError, match="at least one picture, received none"):
        patches([], batch=1, size=8)
    with pytest.raises(ValueError, match="all pictures gray or all in colour"):
        patches([made[0], synthetic(1, 16, channels=3)[0]], batch=1, size=8)
    with pytest.raises(ValueError, match=r"of uint8, received \(16, 16\) of float64"):
        as_image(made[0] / 255)


# --- made pictures


def spectral_exponent(values):
    """Slope of the power spectrum over frequency, both logarithmic, under a Hann window."""
    size = len(values)
    window = np.hanning(size) * np.hanning(size)[:, None]
    power = np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    edges = np.geomspace(0.03, 0.4, 10)
    rings = [(f > a) & (f <= b) for a, b in itertools.pairwise(edges)]
    return np.polyfit([np.log(f[r].mean()) for r in rings], [np.log(power[r].mean()) for r in rings], 1)[0]


def test_dead_leaves_resemble_natural_pictures():
    made = synthetic(8, 128, seed=1)
    assert -3.1 < np.mean([spectral_exponent(p / 255) for p in made]) < -1.9  # natural pictures: about -2
    noise = np.random.default_rng(0).integers(0, 256, (128, 128))
    assert abs(spectral_exponent(noise / 255)) < 0.3
    steps = np.concatenate([np.diff(p / 255.0, axis=1).ravel() for p in made])
    kurtosis = np.mean(steps**4) / np.mean(steps**2) ** 2
    assert kurtosis > 8  # few large steps at edges, most near 0; a Gaussian has 3
    across = np.concatenate([np.diff(p / 255.0, axis=0).ravel() for p in made])
    assert 0.8 < steps.std() / across.std() < 1.25  # no direction is preferred


def test_dead_leaves_depend_on_seed_and_number_alone():
    assert same(synthetic(3, 32, seed=2), synthetic(5, 32, seed=2)[:3])
    assert not same(synthetic(1, 32, seed=2), synthetic(1, 32, seed=3))
    gray, colour = synthetic(1, 32)[0], synthetic(1, 32, channels=3)[0]
    assert gray.shape == (32, 32)
    assert colour.shape == (32, 32, 3)
    assert gray.dtype == colour.dtype == np.uint8
    assert np.abs(np.diff(colour.astype(int), axis=2)).max() > 20
    with pytest.raises(ValueError, match="size >= 16"):
        synthetic(1, 8)


def test_text_is_where_the_map_says():
    found = text(6, 96, seed=1)
    assert found.images.shape == found.confidence.shape == (6, 1, 96, 96)
    assert torch.equal(found.images[:2], text(2, 96, seed=1).images)
    assert found.confidence.min() >= 0
    assert found.confidence.max() <= 1
    assert (found.confidence.flatten(1).amax(1) > 0.5).all()  # words everywhere
    assert found.confidence.mean() < 0.2
    bare = [scenes._leaves(np.random.Generator(np.random.PCG64([1, k, 1])), 96, 1, scenes.UNDER_TEXT) for k in range(6)]
    changed = (found.images - torch.cat([as_image(scenes.to_picture(b[..., 0])) for b in bare])).abs() > 0.02
    assert not changed[found.confidence == 0].any()
    assert changed[found.confidence > 0.8].float().mean() > 0.9
    assert changed.flip(3)[found.confidence > 0.8].float().mean() < 0.5
    upright = text(6, 96, seed=1, tilt=0)
    assert not torch.equal(upright.confidence, found.confidence)
    with pytest.raises(ValueError, match=r"tilt in 0\.\.180"):
        text(1, tilt=200)


# --- degradations


def test_noise_is_in_units_of_one_255th_and_not_clipped():
    clean = torch.full((2, 1, 300, 300), 0.9)
    observed = degrade.noise(clean, 25, generator())
    assert (psnr(observed, clean) - 20.17).abs().max() < 0.05
    assert observed.max() > 1
    assert torch.equal(observed, degrade.noise(clean, 25, generator()))
    assert not torch.equal(observed, degrade.noise(clean, 25, generator(1)))
    assert torch.allclose(degrade.noise(clean.double(), 25, generator()).float(), observed)
    with pytest.raises(ValueError, match="sigma >= 0 in units of 1/255, received -1"):
        degrade.noise(clean, -1)
    with pytest.raises(ValueError, match=r"float tensor \(batch, channels, height, width\)"):
        degrade.noise(clean[0], 25)


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_blur_equals_scipy(sigma):
    clean = torch.rand(2, 3, 40, 33, dtype=torch.float64)
    expected = ndimage.gaussian_filter(clean.numpy(), (0, 0, sigma, sigma), truncate=4, mode="mirror")
    assert relative(degrade.blur(clean, sigma), expected) < 1e-12
    wrong = ndimage.gaussian_filter(clean.numpy(), (0, 0, sigma, sigma), truncate=4, mode="nearest")
    assert relative(degrade.blur(clean, sigma), wrong) > 1e-3


def test_blur_errors():
    with pytest.raises(ValueError, match=r"reaches 6 pixels: expected larger images"):
        degrade.blur(torch.rand(1, 1, 6, 30))
    with pytest.raises(ValueError, match="sigma > 0"):
        degrade.blur(torch.rand(1, 1, 30, 30), 0)


def test_mask_keeps_its_share():
    known = degrade.mask((4, 3, 200, 100), 0.2, generator())
    assert known.shape == (4, 1, 200, 100)
    assert set(known.unique().tolist()) == {0, 1}
    assert abs(known.mean() - 0.2) < 5 * (0.16 / known.numel()) ** 0.5
    assert torch.equal(known, degrade.mask((4, 3, 200, 100), 0.2, generator()))
    assert degrade.mask((1, 1, 9, 9), 1).all()
    for wrong in (((9, 9), 0.5), ((1, 1, 9, 9), 0), ((1, 1, 9, 9), 1.2)):
        with pytest.raises(ValueError, match="0 < keep <= 1"):
            degrade.mask(*wrong)


def test_bayer_pattern():
    clean = torch.rand(1, 3, 5, 6) + 1
    observed, known = degrade.bayer(clean)
    for row in range(5):
        for column in range(6):
            channel = "RGGB"[2 * (row % 2) + column % 2]
            expected = [float(channel == c) for c in "RGB"]
            assert known[0, :, row, column].tolist() == expected
    assert torch.equal(observed, clean * known)
    with pytest.raises(ValueError, match="three channels"):
        degrade.bayer(clean[:, :1])


def test_bayer_commutes_on_odd_sides_alone():
    for move in MOVES:
        for part in range(2):
            odd = torch.rand(1, 3, 9, 9)
            assert torch.equal(degrade.bayer(move(odd))[part], move(degrade.bayer(odd)[part]))
    even = torch.rand(1, 3, 8, 8)
    assert not torch.equal(degrade.bayer(even.rot90(1, (2, 3)))[1], degrade.bayer(even)[1].rot90(1, (2, 3)))


def test_fill_keeps_known_pixels_and_constants():
    clean = torch.rand(2, 3, 60, 50)
    known = degrade.mask(clean.shape, 0.3, generator())
    filled = degrade.fill(clean * known, known)
    assert torch.equal(filled * known, clean * known)
    assert torch.equal(degrade.fill(torch.where(known > 0, clean, torch.nan), known), filled)
    assert 0 <= filled.min() < filled.max() <= 1
    levels = torch.rand(2, 3, 1, 1).expand_as(clean)
    assert torch.allclose(degrade.fill(levels * known, known), levels, atol=1e-6)
    hole = torch.ones(1, 1, 60, 50)
    hole[..., 10:50, 10:40] = 0  # wider than the finest Gaussian reaches
    assert torch.allclose(degrade.fill(levels[:1] * hole, hole), levels[:1], atol=1e-6)
    assert torch.equal(degrade.fill(clean, torch.ones_like(clean)), clean)


def test_fill_comes_near_a_smooth_picture():
    clean = degrade.blur(torch.cat([as_image(p) for p in synthetic(2, 96)]), 1.5)
    known = degrade.mask(clean.shape, 0.3, generator())
    filled = degrade.fill(clean * known, known)
    mean = torch.where(known > 0, clean, clean.mean((2, 3), keepdim=True))
    assert (psnr(filled, clean) > psnr(mean, clean) + 8).all()
    mosaic = degrade.bayer(clean.expand(-1, 3, -1, -1))
    assert (psnr(degrade.fill(*mosaic), clean.expand(-1, 3, -1, -1)) > 27).all()


def test_fill_errors():
    clean = torch.rand(1, 2, 9, 9)
    with pytest.raises(ValueError, match=r"mask of the image's shape \(1, 2, 9, 9\)"):
        degrade.fill(clean, torch.ones(1, 3, 9, 9))
    with pytest.raises(ValueError, match="received other values"):
        degrade.fill(clean, torch.full((1, 1, 9, 9), 0.5))
    known = torch.ones(1, 2, 9, 9)
    known[:, 1] = 0
    with pytest.raises(ValueError, match="known pixels in every image and channel"):
        degrade.fill(clean, known)


def test_what_is_not_random_commutes_with_quarter_turns_and_flips():
    clean = torch.rand(2, 3, 40, 31, dtype=torch.float64)
    known = degrade.mask(clean.shape, 0.3, generator())
    for move in MOVES:
        assert relative(degrade.blur(move(clean)), move(degrade.blur(clean))) < 1e-12
        assert relative(degrade.edges(move(clean)), move(degrade.edges(clean))) < 1e-12
        assert relative(degrade.fill(move(clean), move(known)), move(degrade.fill(clean, known))) < 1e-12
    turned = clean.rot90(1, (2, 3))
    assert relative(degrade.fill(turned, known.rot90(-1, (2, 3))), degrade.fill(clean, known).rot90(1, (2, 3))) > 0.1


def test_edges_of_a_ramp_a_step_and_a_turned_wave():
    x = torch.arange(60, dtype=torch.float64).expand(1, 1, 60, -1)
    ramp = degrade.edges(0.05 * x)[..., 8:-8, 8:-8]
    assert (ramp - 0.5).abs().max() < 1e-12
    step = degrade.edges((x >= 30).double() * 0.05 * (2 * np.pi) ** 0.5)
    assert abs(float(step[0, 0, 30, 29:31].max()) - 0.5) < 0.15  # sampled half a pixel beside the step
    assert step[..., :20].max() < 1e-12
    assert degrade.edges(x.expand(-1, 3, -1, -1) * 0.05 / 3**0.5).sub(0.5)[..., 8:-8, 8:-8].abs().max() < 1e-12
    centred, k = x - 29.5, 0.6
    strongest = []
    for angle in (0, 0.3, 0.7):  # along the wave the largest slope is the same in every orientation
        along = np.cos(angle) * centred + np.sin(angle) * centred.transpose(2, 3)
        found = degrade.edges(0.2 * torch.sin(k * along))[..., 10:-10, 10:-10]
        slope = 0.2 * k * np.exp(-(k**2) / 2) * torch.cos(k * along)[..., 10:-10, 10:-10]
        assert (found - slope**2 / (slope**2 + 0.05**2)).abs().max() < 1e-3
        strongest.append(float(found.max()))
    assert max(strongest) - min(strongest) < 1e-2


# --- the same content turned


def waves(fine, degrees, side=None, pitch=1, sigma=0.0):
    """A sum of waves up to 1 rad per fine pixel, turned, read on a grid; damped as a Gaussian does."""
    rng = np.random.default_rng(0)
    side = side or fine
    x = pitch * (np.arange(side) - (side - 1) / 2)
    x, y = np.meshgrid(x, -x)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y = c * x + s * y, -s * x + c * y
    total = np.zeros((side, side))
    for _ in range(12):
        k, heading, phase = rng.uniform(0.1, 1), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        damped = np.exp(-(sigma**2) * k**2 / 2)
        total += damped * np.cos(k * (np.cos(heading) * x + np.sin(heading) * y) + phase)
    return torch.as_tensor(total)[None, None]


@pytest.mark.parametrize("fine", [96, 97])
def test_turned_pictures_equal_the_closed_form_at_every_angle(fine):
    image = waves(fine, 0)
    for degrees in (0, 17, 45, 90, 133, -60):
        for sigma in (0.8, 1.0):
            found = oriented(image, degrees, sigma=sigma)
            side = found.shape[-1]
            inside = disc(side)
            expected = waves(fine, degrees, side, 2, sigma)
            assert relative(found[..., inside], expected[..., inside]) < 1e-4
            if degrees % 90:
                clockwise = waves(fine, -degrees, side, 2, sigma)
                assert relative(found[..., inside], clockwise[..., inside]) > 0.3
            undamped = waves(fine, degrees, side, 2)
            assert relative(found[..., inside], undamped[..., inside]) > 0.05


def test_interpolation_would_not_keep_sharpness_and_this_does():
    rough = torch.rand(4, 1, 256, 256, dtype=torch.float64, generator=generator())
    inside = disc(oriented(rough, 0).shape[-1])
    spread = {angle: float(oriented(rough, angle)[..., inside].std()) for angle in (0, 20, 45)}
    assert max(spread.values()) / min(spread.values()) < 1.03
    upright = oriented(rough, 0)
    theta = torch.tensor([[[0.5**0.5, -(0.5**0.5), 0], [0.5**0.5, 0.5**0.5, 0]]], dtype=torch.float64).expand(4, 2, 3)
    grid = torch.nn.functional.affine_grid(theta, list(upright.shape), align_corners=False)
    bilinear = torch.nn.functional.grid_sample(upright, grid, align_corners=False)
    assert float(bilinear[..., inside].std()) < 0.85 * spread[0]


@pytest.mark.parametrize("shape", [(64, 64), (63, 80), (90, 65)])
def test_turned_pictures_are_exact_at_quarter_turns(shape):
    image = torch.rand(1, 2, *shape, dtype=torch.float64)
    upright = oriented(image, 0)
    for quarters in (1, 2, 3):
        assert relative(oriented(image, 90 * quarters), upright.rot90(quarters, (2, 3))) < 1e-12
    assert relative(oriented(image, 90), upright.rot90(-1, (2, 3))) > 0.1
    assert relative(oriented(image, 405), oriented(image, 45)) < 1e-6  # windows on a tie
    if shape[0] == shape[1]:
        assert relative(oriented(image.rot90(1, (2, 3)), 30), oriented(image, 120)) < 1e-6


def test_the_disc_sees_nothing_beyond_the_picture():
    image = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    for degrees in (0, 30, 45):
        spoilt = torch.full((1, 1, 68, 68), 100.0, dtype=torch.float64)  # what would be seen two pixels further out
        spoilt[..., 2:-2, 2:-2] = image
        side = oriented(image, degrees).shape[-1]
        wide = oriented(spoilt, degrees)
        cut = (wide.shape[-1] - side) // 2
        assert wide.shape[-1] == side + 2 * cut
        found = wide[..., cut:-cut, cut:-cut]
        assert relative(found[..., disc(side)], oriented(image, degrees)[..., disc(side)]) < 1e-3
    assert float(wide.max()) > 2  # the corners do


def test_turned_pictures_errors():
    assert oriented(torch.rand(1, 1, 256, 256), 10).dtype == torch.float32
    with pytest.raises(ValueError, match=r"sides of at least 27 pixels, received 26 x 40"):
        oriented(torch.rand(1, 1, 26, 40), 0)
    assert oriented(torch.rand(1, 1, 27, 40), 0).shape == (1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"sigma >= 0\.5"):
        oriented(torch.rand(1, 1, 64, 64), 0, sigma=0.1)
    with pytest.raises(ValueError, match="float tensor"):
        oriented(torch.zeros(1, 1, 64, 64, dtype=torch.uint8), 0)


# --- quality


def images(shape=(3, 1, 40, 33)):
    clean = torch.rand(shape, generator=generator())
    return degrade.noise(degrade.blur(clean, 1.0), 15, generator(1)).clamp(0, 1), clean


@pytest.mark.parametrize("channels", [1, 3])
def test_quality_equals_torchmetrics(channels):
    restored, clean = images((3, channels, 40, 33))
    for k in range(3):
        a, b = restored[k : k + 1].double(), clean[k : k + 1].double()
        everywhere = theirs.structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)[1]
        expected = everywhere[..., 5:-5, 5:-5].mean()  # windows within the image alone
        assert abs(float(ssim(a, b)) - float(expected)) < 1e-6
        assert abs(float(ssim(restored, clean)[k]) - float(expected)) < 1e-6  # each image by itself
        assert abs(float(psnr(a, b)) - float(theirs.peak_signal_noise_ratio(a, b, data_range=1.0))) < 1e-5


def test_ssim_equals_a_loop():
    restored, clean = (x[0, 0, :20, :17].double().numpy() for x in images())
    weights = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    found = []
    for row in range(10):
        for column in range(7):
            a, b = (x[row : row + 11, column : column + 11] for x in (restored, clean))
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb, ab = (
                (weights * (a - ma) ** 2).sum(),
                (weights * (b - mb) ** 2).sum(),
                (weights * (a - ma) * (b - mb)).sum(),
            )
            found.append((2 * ma * mb + 1e-4) * (2 * ab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    a, b = (torch.as_tensor(x)[None, None] for x in (restored, clean))
    assert abs(float(ssim(a, b)) - np.mean(found)) < 1e-12
    assert float(ssim(b, b)) == 1


def test_quality_of_known_differences():
    clean = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(psnr(clean + 0.1, clean), torch.full((2,), 20.0, dtype=torch.float64))
    assert psnr(clean, clean).isinf().all()
    assert psnr(clean + 2, clean).max() < 0  # nothing is clipped
    with pytest.raises(ValueError, match="of one shape"):
        psnr(clean, clean[:1])
    with pytest.raises(ValueError, match="of one shape"):
        ssim(clean[0], clean[0])
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(clean[..., :10], clean[..., :10])
