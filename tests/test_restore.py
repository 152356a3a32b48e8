"""Learned PDEs in files, pictures in and out, the command `pdoconv restore`."""

import contextlib
import importlib.resources
import inspect
import itertools
import json
import math
import re
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from conftest import relative
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from pdoconv.cli import app
from pdoconv.data import synthetic
from pdoconv.measure import psnr
from pdoconv.pde import BlowUpError, LearnedPDE, degrade, files, load, restore, save, shipped, solve, task
from pdoconv.pde.restore import PART, start
from pdoconv.plot_pde import coefficient_curves, plate, strip
from pdoconv.stencils import band_limited, finite_difference, isotropic

SIZE = 21  # odd: a mosaic turns with the picture


def opened(path):
    with Image.open(path) as image:
        image.load()
        return image


def drawn(steps=3, size=0.05, **options):
    """A PDE with coefficients of all kinds."""
    generator = torch.Generator().manual_seed(0)
    model = LearnedPDE(steps, **{"padding": "replicate", "bounded": True, "hidden": 2} | options)
    model.diffuse(1.0)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(size * torch.randn(value.shape, generator=generator))
    return model


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Stand-ins for what the package ships."""
    place = tmp_path / "coefficients"
    for name in ("denoise", "deblur", "inpaint", "demosaick", "edges"):
        channels = 3 if name == "demosaick" else 1
        save(drawn(channels=channels), place / f"{name}.json", task=name, sigma=25 if name == "denoise" else None)
    monkeypatch.setattr(files, "FOLDER", place)
    return place


@pytest.fixture
def picture():
    return synthetic(1, SIZE, seed=1, channels=3)[0] / 255.0


# files


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channels": 3, "indicators": 2},
        {"bounded": False, "hidden": 0, "solver": "semi-implicit", "time": 2.5, "padding": "circular", "limit": 7.0},
        {"stencils": isotropic(0.25), "kernel_size": 5, "indicators": 0},
        {"stencils": finite_difference(4), "kernel_size": 5, "solver": "rk4", "padding": "reflect"},
    ],
)
def test_a_file_gives_the_same_model(options, tmp_path):
    model, path = drawn(**options), tmp_path / "new" / "model.json"
    save(model, path, task="deblur", sigma=2.5, about={"psnr": 28.5, "data": ["a", "b"]})
    state = torch.random.get_rng_state()
    found = files.read(path)
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing is drawn from the user's generator
    assert (found.task, found.sigma, found.about) == ("deblur", 2.5, {"psnr": 28.5, "data": ["a", "b"]})
    assert not found.model.training
    for name, value in model.state_dict().items():
        assert relative(found.model.state_dict()[name], value) < 5.1e-5  # half a unit of the fifth digit
    x = torch.rand(2, model.channels, 9, 9)
    assert relative(found.model(x), model(x)) < 2e-4
    text = path.read_text()
    save(load(path), path, task="deblur", sigma=2.5, about=found.about)
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_every_argument_is_kept():
    """An argument that LearnedPDE gets one day must be thought of here."""
    kept = {*files.PLAIN, "padding", "stencils", "kernel_size"}
    assert set(inspect.signature(LearnedPDE).parameters) == kept | {"checkpoint"}


def test_files_are_small(tmp_path):
    save(drawn(15, bounded=False, hidden=0), tmp_path / "polynomial.json")
    save(drawn(8, hidden=16), tmp_path / "general.json")
    assert (tmp_path / "polynomial.json").stat().st_size < 8_000
    assert (tmp_path / "general.json").stat().st_size < 32_000


def test_what_is_shipped_can_be_used():
    """Every file that is in the package, through the installed package's own door."""
    place = importlib.resources.files("pdoconv.pde") / "coefficients"
    found = [file for file in place.iterdir() if file.name.endswith(".json")] if place.is_dir() else []
    for file in found:
        with importlib.resources.as_file(file) as path:
            trained = files.read(path)
        problem = task(trained.task, trained.sigma or 25)
        assert file.name == f"{trained.task}.json"
        assert trained.model.channels == problem.channels
        assert trained.about
        assert (trained.sigma is not None) == (trained.task == "denoise")
        clean = torch.from_numpy(synthetic(1, 64, seed=5, channels=problem.channels)[0] / 255.0).float()
        clean = clean.reshape(1, 64, 64, -1).movedim(-1, 1)
        observed, known = problem.observe(clean, torch.Generator().manual_seed(0))
        with torch.no_grad():
            result = solve(trained.model, observed, known).clamp(0, 1)
        if problem.restores:
            assert psnr(result, clean) > psnr(observed.clamp(0, 1), clean) + 0.5
        assert path.stat().st_size < 200_000


def test_shipped(folder):
    assert shipped("denoise") == folder / "denoise.json"
    with pytest.raises(FileNotFoundError, match=r"without a trained PDE for 'text'.*--model"):
        shipped("text")
    with pytest.raises(ValueError, match="Unknown task 'sharpen'"):
        shipped("sharpen")


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "model.json"
    with pytest.raises(ValueError, match=r"expected finite_difference.* or isotropic"):
        save(drawn(stencils=band_limited(), kernel_size=5), path)
    broken = drawn()
    broken.coefficients.data[1, 0, 3] = math.nan
    with pytest.raises(ValueError, match="coefficients has numbers that are not finite: nothing was written"):
        save(broken, path)
    with pytest.raises(ValueError, match="unknown task 'sharpen'"):
        save(drawn(), path, task="sharpen")
    with pytest.raises(ValueError, match=r"expected sigma in \(0, 255\]"):
        save(drawn(), path, sigma=-1)
    for about in ({"when": object()}, {"psnr": math.nan}):
        with pytest.raises(ValueError, match="about holds what JSON cannot"):
            save(drawn(), path, about=about)
    with pytest.raises(ValueError, match="steps of at most 1000"):
        save(drawn(1001, hidden=0), path)
    with pytest.raises(ValueError, match="17 fields"):
        save(drawn(1, channels=16), path)
    assert not path.exists()


def changed(content, *keys, value=None, drop=False):
    content = json.loads(json.dumps(content))
    part = content
    for key in keys[:-1]:
        part = part[key]
    if drop:
        del part[keys[-1]]
    else:
        part[keys[-1]] = value
    return content


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("pdoconv_pde",), 2, "format version 2, expected 1"),
        (("pdoconv_pde",), True, "format version True"),
        (("more",), 1, r"keys: unknown \['more'\]"),
        (("numbers", "more"), 1, r"numbers: unknown \['more'\]"),
        (("arguments", "checkpoint"), True, r"arguments: unknown \['checkpoint'\]"),
        (("arguments",), [], "arguments: expected an object, received list"),
        (("arguments", "steps"), 4, r"coefficients: expected the shape \(4, 2, 17\), received 3 where 4 are"),
        (("arguments", "steps"), 10**9, "expected steps of at most 1000"),
        (("arguments", "steps"), 3.0, "expected steps of at most 1000, a whole number, received 3.0"),
        (("arguments", "steps"), 0, "steps"),
        (("arguments", "channels"), 16, "17 fields"),
        (("arguments", "hidden"), 1000, "inward: expected the shape"),
        (("arguments", "time"), "1", "expected time as a finite number"),
        (("arguments", "padding"), 3, "expected padding as str"),
        (("arguments", "padding"), "mirror", "padding must be one of"),
        (("arguments", "solver"), "heun", "solver must be one of"),
        (("arguments", "bounded"), 1, "expected bounded as bool"),
        (("arguments", "kernel_size"), 4, "odd kernel_size"),
        (("arguments", "stencils"), {"name": "os.system"}, "stencils: expected finite_difference"),
        (("arguments", "stencils", "accuracy"), 10**6, "stencils: expected finite_difference"),
        (("numbers", "coefficients", 0, 1, 2), "1.0", "expected finite numbers, received '1.0'"),
        (("numbers", "coefficients", 0, 1, 2), True, "expected finite numbers, received True"),
        (("numbers", "coefficients", 0, 1, 2), math.nan, "expected finite numbers, received nan"),
        (("numbers", "coefficients", 0, 1, 2), 1e300, "too large for torch.float32"),
        (("numbers", "coefficients", 0, 1, 2), 10**400, "was not used"),
        (("numbers", "coefficients", 0, 1), [0.0], r"expected the shape \(3, 2, 17\), received 1 where 17"),
        (("numbers", "coefficients"), 0.0, "received float where 3"),
        (("invariants", 3), "g(rho).g(O)", "invariants differ"),
        (("fields", 0), "sigma", "fields differ"),
        (("task",), "sharpen", "unknown task"),
        (("sigma",), 0, "expected sigma"),
        (("about",), [], "about must be an object"),
    ],
)
def test_what_is_refused(keys, value, message, folder):
    path = folder / "denoise.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), *keys, value=value)))
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert "denoise.json was not used" in str(error.value)


def test_what_is_no_model(folder):
    path = folder / "denoise.json"
    whole = path.read_bytes()
    content = json.loads(whole)
    for key in content:
        path.write_text(json.dumps(changed(content, key, drop=True)))
        with pytest.raises(ValueError, match=r"no learned PDE|missing"):
            load(path)
    for text in (b"", whole[: len(whole) // 2], b"\xff\xfe", b"[" * 100_000, whole + b"}", b"pickle", b'{"a":1,"a":2}'):
        path.write_bytes(text)
        with pytest.raises(ValueError, match="it is not JSON, or truncated"):
            load(path)
    for text in ("[]", "3", "{}", "null"):
        path.write_text(text)
        with pytest.raises(ValueError, match="no learned PDE"):
            load(path)
    with path.open("wb") as file:
        file.truncate(files.MOST_BYTES + 1)
    with pytest.raises(ValueError, match="expected at most 32000000"):
        load(path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_file_is_a_model_or_refused(data, tmp_path):
    path = tmp_path / "fuzz.json"
    if not (original := tmp_path / "whole.json").exists():
        save(drawn(2), original, task="denoise", sigma=25)
    whole = original.read_bytes()
    if data.draw(st.booleans(), label="bytes"):
        place = data.draw(st.integers(0, len(whole)))
        length = data.draw(st.integers(0, 20) | st.just(len(whole)))
        whole = whole[:place] + data.draw(st.binary(max_size=6)) + whole[place + length :]
    else:
        content = part = json.loads(whole)
        while True:
            places = list(part) if isinstance(part, dict) else list(range(len(part)))
            key = data.draw(st.sampled_from(places))
            if not isinstance(part[key], dict | list) or not part[key] or data.draw(st.booleans()):
                break
            part = part[key]
        if data.draw(st.booleans()):
            del part[key]
        else:
            part[key] = data.draw(JSON)
        whole = json.dumps(content).encode()
    path.write_bytes(whole)
    with contextlib.suppress(ValueError):  # of which kind is the tests' above
        model = load(path)
        assert all(value.isfinite().all() for value in model.state_dict().values())
        assert model.steps * model.count * model.fields == model.coefficients.numel()


# restore


def test_kinds_dtypes_and_layouts(picture):
    gray = picture[..., 0]
    for dtype in (np.float64, np.float32, np.float16, ">f4"):
        found = restore(gray.astype(dtype))
        assert found.dtype == np.dtype(dtype)
        assert np.abs(found.astype(np.float64) - restore(gray)).max() < (2e-3 if dtype == np.float16 else 1e-5)
    assert restore(picture).shape == picture.shape
    assert restore(gray[..., None]).shape == (SIZE, SIZE, 1)
    readonly = gray.copy()
    readonly.flags.writeable = False
    assert np.array_equal(restore(readonly), restore(gray))
    x = torch.from_numpy(picture).movedim(-1, 0)
    for shape in ((SIZE, SIZE), (1, SIZE, SIZE), (3, SIZE, SIZE), (2, 1, SIZE, SIZE), (2, 3, SIZE, SIZE)):
        image = x[: shape[-3] if len(shape) > 2 else 1].expand(*shape[:-3], -1, SIZE, SIZE).reshape(shape)
        for dtype in (torch.float64, torch.bfloat16):
            found = restore(image.to(dtype).requires_grad_())
            assert found.shape == shape
            assert found.dtype == dtype
            assert not found.requires_grad
    assert np.array_equal(restore(x).movedim(0, -1).numpy(), restore(picture))
    assert restore(gray[:3, :3]).shape == (3, 3)
    assert restore(gray[:1, :1]).shape == (1, 1)


def test_channels_are_restored_one_by_one(picture):
    whole = restore(picture)
    for channel in range(3):
        assert np.abs(whole[..., channel] - restore(picture[..., channel])).max() < 1e-12
    known = np.random.default_rng(0).random((SIZE, SIZE)) < 0.3
    filled = restore(picture, "inpaint", known=known)
    assert np.abs(filled[known] - picture[known]).max() < 1e-12
    assert np.array_equal(restore(np.where(known[..., None], picture, np.nan), "inpaint", known=known), filled)
    assert np.abs(restore(picture[..., 0], "inpaint", known=known) - filled[..., 0]).max() < 1e-12


def test_the_model_is_that_of_the_benchmarks(picture):
    """What `solve` makes of an observation, `restore` makes of a picture."""
    clean = torch.from_numpy(picture).movedim(-1, 0)[None].float()
    for name in ("denoise", "deblur", "inpaint", "demosaick", "edges"):
        problem = task(name)
        part = clean[:, : problem.channels]
        observed, known = problem.observe(part, torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = solve(load(shipped(name)), observed, known).clamp(0, 1)
        assert relative(restore(observed, name, known=known), expected) < 1e-5
    mosaic = degrade.bayer(clean)[0].sum(1, keepdim=True)
    observed, known = degrade.bayer(clean)
    assert torch.equal(restore(mosaic, "demosaick"), restore(observed, "demosaick", known=known))
    assert restore(mosaic[0, 0].numpy(), "demosaick").shape == (SIZE, SIZE, 3)


def test_maps_are_of_the_luma(picture):
    luma = picture @ [0.299, 0.587, 0.114]
    found = restore(picture, "edges")
    assert found.shape == (SIZE, SIZE)
    assert np.abs(found - restore(luma, "edges")).max() < 1e-12
    assert restore(torch.from_numpy(picture).movedim(-1, 0), "edges").shape == (1, SIZE, SIZE)


def test_parts_do_not_matter(picture, monkeypatch):
    assert SIZE**2 * 3 < PART
    whole = restore(picture)
    monkeypatch.setattr(sys.modules["pdoconv.pde.restore"], "PART", 1)
    assert np.abs(restore(picture) - whole).max() < 1e-12


def moved(array, k, flip):
    turned = np.rot90(array, k)
    return turned[:, ::-1] if flip else turned


def disturbance(picture, name, **options):
    """Largest difference between restoring and moving, in either order, over all eight symmetries."""
    worst = 0.0
    known = options.pop("known", None)
    for k, flip in itertools.product(range(4), (False, True)):
        masks = {} if known is None else {"known": known}
        turned = {} if known is None else {"known": moved(known, k, flip)}
        here = moved(restore(picture, name, **masks, **options), k, flip)
        worst = max(worst, float(np.abs(restore(moved(picture, k, flip), name, **turned, **options) - here).max()))
    return worst


@dataclass(frozen=True)
class OneSided:
    """Forward differences: a scheme that prefers a direction."""

    def weights(self, exponents, size):
        w = np.array(finite_difference().weights(exponents, size))
        return np.roll(w, 1, 1) if sum(exponents) == 1 else w


def test_turning_and_flipping_commute_with_restoring(picture):
    known = np.random.default_rng(0).random((SIZE, SIZE)) < 0.3
    even = picture[:20, :18]
    for name in ("denoise", "deblur", "edges"):
        assert disturbance(picture, name) < 1e-12
        assert disturbance(even, name) < 1e-12
    assert disturbance(picture, "denoise", sigma=40) < 1e-12
    assert disturbance(picture, "inpaint", known=known) < 1e-12
    mosaic = picture[..., 0]
    assert disturbance(mosaic, "demosaick") < 1e-12
    assert disturbance(mosaic[:20, :18], "demosaick") > 1e-3  # another pattern
    assert disturbance(picture, "denoise", model=drawn(stencils=OneSided())) > 1e-3  # a scheme that is not symmetric


def test_noise_of_another_strength(picture, folder):
    """Intensities are scaled about their mean: to the letter, a PDE in other units."""
    gray = picture[..., 0]
    file = folder / "denoise.json"
    mean = gray.mean()
    at_25 = restore((gray - mean) * 0.5 + mean, sigma=25)
    inner = (at_25 > 0) & (at_25 < 1)
    expected = (at_25 - mean) / 0.5 + mean
    found = restore(gray, sigma=50, model=file)
    both = inner & (expected > 0) & (expected < 1)
    assert both.mean() > 0.5
    assert np.abs(found - expected)[both].max() < 1e-12
    assert np.abs(found - restore(gray)).max() > 1e-3
    own = load(file)
    assert np.array_equal(restore(gray, sigma=50, model=own), restore(gray))  # a model of one's own: as it is


def test_the_models_numbers_stay(picture):
    model = drawn().train()
    before = [p.clone() for p in model.parameters()]
    restore(picture, model=model)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


def test_states_lead_to_the_result(picture):
    running = start(picture, sigma=40)
    states = list(running.states())
    assert len(states) == running.net.steps + 1
    assert not torch.is_inference_mode_enabled()
    assert np.array_equal(running.result(states[-1]), restore(picture, sigma=40))
    first = running.fields(states[0])
    assert list(first) == ["rho", "O"]
    assert np.abs(first["O"] - picture).max() < 1e-12
    assert np.abs(first["rho"] - picture).max() < 1e-12


def test_a_blow_up_is_no_image(picture, tmp_path):
    wild = LearnedPDE(4, time=40.0)
    wild.coefficients.data[1:, 1, 2] = 3.0
    with pytest.raises(BlowUpError, match=r"step 2 of 4.*coefficient of O in the rate of O"):
        restore(picture, model=wild)
    save(wild, tmp_path / "wild.json")
    save_picture(tmp_path / "in.png", picture)
    done = run(tmp_path, "in.png", "out.png", "--model", str(tmp_path / "wild.json"))
    assert done.exit_code == 1
    assert "blew up in step 2 of 4" in done.stderr
    assert not list(tmp_path.glob("out*"))


def error_cases():
    good, known = np.full((8, 8), 0.5), np.ones((8, 8))
    t = torch.from_numpy(good)
    yield "divide by 255", (good * 255).astype(np.uint8), {}
    yield "received torch.uint8: divide by 255", (t * 255).to(torch.uint8), {}
    yield r"received 127.5 to 127.5: divide by 255", good * 255, {}
    yield "received bool", good > 0, {}
    yield "values that are not finite", np.where(np.eye(8) > 0, np.nan, good), {}
    yield "values that are not finite", torch.full((8, 8), torch.inf), {}
    yield "expected a numpy array or a torch tensor, received list", good.tolist(), {}
    yield r"expected the shape \(H, W\) or \(H, W, 3\), received \(3, 8, 8\)", np.stack([good] * 3), {}
    yield r"expected the shape .* received \(8,\)", good[0], {}
    yield r"expected the shape .* received \(0, 8\)", good[:0], {}
    yield r"\(batch, C, H, W\) with C = 1 or 3, received \(8, 8, 3\)", t[..., None].expand(8, 8, 3), {}
    yield r"expected the shape .* received \(1, 1, 1, 8, 8\)", t[None, None, None], {}
    yield "Unknown task 'sharpen'", good, {"task": "sharpen"}
    yield r"expected sigma in \(0, 255\]", good, {"sigma": 0}
    yield r"expected sigma in \(0, 255\]", good, {"sigma": math.nan}
    yield "'inpaint' needs known=", good, {"task": "inpaint"}
    yield "'denoise' takes no known", good, {"known": known}
    yield "no pixel is known", good, {"task": "inpaint", "known": known * 0}
    yield "known to be 1 .* or 0 everywhere", good, {"task": "inpaint", "known": known * 255}
    yield "expected known of a shape", good, {"task": "inpaint", "known": known[:7]}
    yield (
        "expected known as a ndarray, as the image, received Tensor",
        good,
        {
            "task": "inpaint",
            "known": torch.from_numpy(known),
        },
    )
    yield "needs known=.* or a mosaic", np.stack([good] * 3, -1), {"task": "demosaick"}
    yield "a mosaic with one channel is RGGB", good, {"task": "demosaick", "known": known}
    yield "needs a known for each channel", np.stack([good] * 3, -1), {"task": "demosaick", "known": known}
    yield "no pixel is known|expected known pixels", good[:1, :1], {"task": "demosaick"}
    yield "needs a model for 3 channel", good, {"task": "demosaick", "model": drawn()}
    yield "expected a LearnedPDE or its file as model, received int", good, {"model": 3}


@pytest.mark.parametrize(("message", "image", "options"), list(error_cases()))
def test_errors(message, image, options):
    with pytest.raises(ValueError, match=message):
        restore(image, **options)


def test_a_model_of_another_task(folder):
    with pytest.raises(ValueError, match="was trained for 'deblur', not for 'denoise'"):
        restore(np.full((8, 8), 0.5), model=folder / "deblur.json")
    with pytest.raises(FileNotFoundError, match="without a trained PDE for 'text'"):
        restore(np.full((8, 8), 0.5), "text")


def test_noise_may_leave_the_range():
    image = np.random.default_rng(0).normal(0.5, 100 / 255, (64, 64))
    assert np.isfinite(restore(image, sigma=100)).all()
    with pytest.raises(ValueError, match="more only by noise"):
        restore(image * 3, "deblur")


# pictures


def test_plates_show_true_pixels(picture, tmp_path):
    big = synthetic(1, 200, channels=3)[0] / 255.0
    plate({"before": big, "after\nline": big[:180, :, 0]}, tmp_path / "plate.png")
    shown = np.asarray(opened(tmp_path / "plate.png").convert("RGB"))
    wanted = np.rint(big * 255).astype(int)
    places = [
        (y, 12)
        for y in range(shown.shape[0] - 199)
        if np.abs(shown[y : y + 200, 12:212].astype(int) - wanted).max() <= 1
    ]
    assert len(places) == 1
    plate({"small": picture[:3, :3]}, tmp_path / "small.png")
    assert min(opened(tmp_path / "small.png").size) >= 160
    with pytest.raises(ValueError, match="at least one image"):
        plate({}, tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"received \(2, 3, 4, 4\)"):
        plate({"x": torch.zeros(2, 3, 4, 4)}, tmp_path / "none.png")
    with pytest.raises(ValueError, match="a time for each state, received 1 and 2"):
        strip([{"O": picture}], tmp_path / "none.png", [0, 1])


def test_coefficients_of_many_fields(tmp_path):
    coefficient_curves(drawn(channels=2), tmp_path / "three.png")
    coefficient_curves(LearnedPDE(1, indicators=0), tmp_path / "zero.png")
    assert (tmp_path / "three.png").stat().st_size > (tmp_path / "zero.png").stat().st_size > 5000


# the command


def save_picture(path, values, bits=8, **options):
    top, dtype = (65535, np.uint16) if bits == 16 else (255, np.uint8)
    Image.fromarray(np.rint(values * top).astype(dtype)).save(path, **options)


def run(folder, source, out, *options):
    return CliRunner().invoke(app, ["restore", str(folder / source), str(folder / out), *options])


def test_command_simulates_and_draws(tmp_path):
    save_picture(tmp_path / "in.jpg", synthetic(1, 40, channels=3)[0] / 255.0, quality=95)
    done = run(tmp_path, "in.jpg", "out.png", "--simulate", "--strip", "--sigma", "15")
    assert done.exit_code == 0, done.stderr
    observed = float(re.search(r"observed: ([\d.]+) dB", done.stdout)[1])
    assert 24.6 < observed < 26.5  # 20 log10(255 / 15) = 24.6 dB; what is clipped to [0, 1] gains
    assert "trained for sigma 25: intensities were scaled by 1.67" in done.stdout
    assert "Denoising, sigma 15: 4/4" in done.stderr
    names = {"in.jpg", "out.png", "out-plate.png", "out-strip.png", "out-coefficients.png"}
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == names
    assert opened(tmp_path / "out.png").size == (40, 40)
    again = run(tmp_path, "in.jpg", "twice.png", "--simulate", "--sigma", "15")
    assert again.exit_code == 0
    assert (tmp_path / "twice.png").read_bytes() == (tmp_path / "out.png").read_bytes()


@pytest.mark.parametrize("name", ["deblur", "inpaint", "demosaick", "edges"])
def test_command_simulates_every_task(name, tmp_path):
    save_picture(tmp_path / "in.png", synthetic(1, 24, channels=3)[0] / 255.0)
    done = run(tmp_path, "in.png", "out.tif", "--simulate", "--task", name)
    assert done.exit_code == 0, done.stderr
    assert " dB, SSIM" in done.stdout
    assert opened(tmp_path / "out.tif").mode == ("L" if name == "edges" else "RGB")


def test_command_is_the_function(picture, tmp_path):
    save_picture(tmp_path / "in.png", picture[..., 0], 16)
    values = np.asarray(opened(tmp_path / "in.png")).astype(np.float64) / 65535
    assert run(tmp_path, "in.png", "out.png", "--sigma", "25").exit_code == 0
    written = opened(tmp_path / "out.png")
    assert written.mode == "I;16"
    assert np.abs(np.asarray(written).astype(int) - restore(values) * 65535).max() < 2
    assert run(tmp_path, "in.png", "flat.jpg").exit_code == 0
    assert opened(tmp_path / "flat.jpg").mode == "L"


def test_command_inpaints_with_a_mask(picture, tmp_path):
    known = np.random.default_rng(0).random((SIZE, SIZE)) < 0.4
    save_picture(tmp_path / "in.png", picture)
    save_picture(tmp_path / "mask.png", known.astype(float))
    mask = ("--task", "inpaint", "--mask", str(tmp_path / "mask.png"))
    assert run(tmp_path, "in.png", "out.png", *mask).exit_code == 0
    found, given = (np.asarray(opened(tmp_path / name)) for name in ("out.png", "in.png"))
    assert np.array_equal(found[known], given[known])
    assert not np.array_equal(found, given)
    save_picture(tmp_path / "mask.png", np.zeros((SIZE, SIZE)))
    assert "knows no pixel" in run(tmp_path, "in.png", "none.png", *mask).stderr
    save_picture(tmp_path / "mask.png", np.ones((SIZE, SIZE + 1)))
    assert "has 22 x 21 pixels: expected 21 x 21" in run(tmp_path, "in.png", "none.png", *mask).stderr
    assert not list(tmp_path.glob("none*"))


def test_command_reads_what_cameras_and_screens_write(tmp_path):
    gray = synthetic(1, 24)[0]
    colour = synthetic(1, 24, channels=3)[0][:20]
    whole = Image.fromarray(colour)
    tag = Image.Exif()
    tag[0x0112] = 6  # the camera was turned
    files = {
        "tiny.png": Image.fromarray(gray[:3, :3]),
        "alpha.png": Image.fromarray(np.dstack([colour, colour[..., :1]])),
        "gray-alpha.png": Image.fromarray(np.dstack([gray, gray])),
        "palette.png": whole.quantize(64),
        "bits.png": Image.fromarray(gray > 99),
        "cmyk.jpg": whole.convert("CMYK"),
        "turned.jpg": whole,
    }
    for name, image in files.items():
        image.save(tmp_path / name, **({"exif": tag} if name == "turned.jpg" else {}))
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.tif")
    whole.save(tmp_path / "two.tif", save_all=True, append_images=[whole])
    for place, name in enumerate([*files, "deep.tif", "two.tif"]):
        done = run(tmp_path, name, f"out{place}.png", "--simulate")
        assert done.exit_code == 0, (name, done.stderr)
        assert ("transparency was dropped" in done.stdout) == ("alpha" in name)
        assert ("the first of its pictures" in done.stdout) == (name == "two.tif")
        size = opened(tmp_path / f"out{place}.png").size
        assert size == {"turned.jpg": (20, 24)}.get(name, opened(tmp_path / name).size)
    assert np.asarray(opened(tmp_path / "out0.png")).shape == (3, 3)


def test_command_refuses_before_it_computes(picture, tmp_path, monkeypatch):
    def computed(*_):
        raise AssertionError("it was computed")

    monkeypatch.setattr(LearnedPDE, "step", computed)
    save_picture(tmp_path / "in.png", picture)
    save_picture(tmp_path / "gray.png", picture[..., 0])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "half.png").write_bytes((tmp_path / "in.png").read_bytes()[:300])
    Image.fromarray(picture[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "out-plate.png").write_bytes(b"mine")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    for source, out, options, message in (
        ("none.png", "a.png", (), "There is no picture"),
        ("text.png", "a.png", (), "is not a whole PNG, JPEG or TIFF"),
        ("half.png", "a.png", (), "is not a whole PNG, JPEG or TIFF"),
        ("float.tif", "a.png", (), "has 32 bits a pixel"),
        ("in.png", "in.png", (), "is the picture itself"),
        ("in.png", "gray.png", (), "exists and is not overwritten"),
        ("in.png", "out.png", (), "out-plate.png exists and is not overwritten"),
        ("in.png", "a.gif", (), "expected an ending of .png"),
        ("in.png", "a", (), "expected an ending of .png"),
        ("in.png", "nowhere/a.png", (), "does not exist: make it first"),
        ("in.png", "a.png", ("--task", "sharpen"), "Unknown task 'sharpen'"),
        ("in.png", "a.png", ("--task", "text"), "without a trained PDE for 'text'"),
        ("in.png", "a.png", ("--task", "text", "--simulate"), "leave it out for the task 'text'"),
        ("in.png", "a.png", ("--task", "inpaint"), "needs --mask FILE"),
        ("in.png", "a.png", ("--mask", str(tmp_path / "in.png")), "only 'inpaint' does"),
        ("in.png", "a.png", ("--task", "demosaick"), "takes a gray mosaic"),
        ("gray.png", "a.png", ("--task", "demosaick", "--simulate"), "needs a coloured picture"),
        ("in.png", "a.png", ("--sigma", "-3"), "expected sigma in"),
        ("in.png", "a.png", ("--sigma", "nan"), "expected sigma in"),
        ("in.png", "a.png", ("--model", str(tmp_path / "in.png")), "it is not JSON"),
        ("in.png", "a.png", ("--model", str(tmp_path / "no.json")), "There is no file"),
    ):
        done = run(tmp_path, source, out, *options)
        assert done.exit_code == 1, message
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


def test_nothing_half_written_is_left(picture, tmp_path, monkeypatch):
    save_picture(tmp_path / "in.png", picture)

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    done = run(tmp_path, "in.png", "out.png")
    assert done.exit_code == 1
    assert "no space left" in done.stderr
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["in.png"]
