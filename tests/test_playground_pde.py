"""The playground's PDEs: the step that the browser runs is the package's own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import relative

import pdoconv as pdo
from pdoconv.pde import restore
from pdoconv.pde.invariants import names, orders
from pdoconv.playground import pde_step

ort = pytest.importorskip("onnxruntime")
MODELS = Path(pde_step.__file__).parent / "static" / "models"
PDE = json.loads((MODELS / "manifest.json").read_text(encoding="utf-8"))["pde"]


def session(name):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # as in the browser
    return ort.InferenceSession(str(MODELS / name), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def photo():
    image = pytest.importorskip("PIL.Image")
    with image.open(MODELS / "photo.png") as file:
        return np.asarray(file)[20:84, 30:110].astype(np.float32) / 255


def evolve(task, picture, on=None, steps=None):
    """Run a task's PDE as the page does; return pictures, indicators and terms of all steps."""
    about = json.loads((MODELS / f"pde-{task}.json").read_text(encoding="utf-8"))
    numbers = {name: np.array(value, np.float32) for name, value in about["numbers"].items()}
    run = session("step.onnx")
    o = picture[None, None]
    rho, shown = np.repeat(o, 3, 1), []
    for k in range(steps or about["steps"]):
        now = {name: v[k] if name in PDE["stepwise"] else v for name, v in numbers.items()}
        o, rho, terms = run.run(None, {"o": o, "rho": rho, **now, "on": np.ones(69, np.float32) if on is None else on})
        shown.append((o[0, 0], rho[0], terms))
    return shown


@pytest.mark.parametrize("task", pde_step.TASKS)
def test_steps_are_the_package_own(task, photo):
    noisy = photo + np.random.default_rng(0).normal(0, 25 / 255, photo.shape).astype(np.float32)
    shown = evolve(task, noisy)
    assert len(shown) == next(t["steps"] for t in PDE["tasks"] if t["name"] == task)
    assert np.abs(np.clip(shown[-1][0], 0, 1) - restore(noisy, task)).max() < 1e-4
    model = pdo.pde.load(pdo.pde.shipped(task))
    with torch.no_grad():
        states = [*model.evolve(torch.from_numpy(noisy)[None, None])][1:]
    for state, (o, rho, _) in zip(states, shown, strict=True):
        assert np.abs(state[0, :3].numpy() - rho).max() < 1e-4
        assert np.abs(state[0, 3].numpy() - o).max() < 1e-4
    before = noisy[None, None]
    assert np.abs(restore(noisy, task) - np.clip(before[0, 0], 0, 1)).max() > 0.1  # it does something


def test_denoising_helps_and_needs_its_invariants(photo):
    noisy = photo + np.random.default_rng(1).normal(0, 25 / 255, photo.shape).astype(np.float32)

    def error(on=None):
        return float(((np.clip(evolve("denoise", noisy, on)[-1][0], 0, 1) - photo) ** 2).mean())

    whole, before = error(), float(((np.clip(noisy, 0, 1) - photo) ** 2).mean())
    assert whole < before / 4
    invariants = [entry["name"] for entry in PDE["invariants"]]
    without = np.array(["H(" not in name for name in invariants], np.float32)
    assert error(without) > 2 * whole


def test_terms_say_how_much_each_invariant_moved_the_picture(photo):
    terms = evolve("denoise", photo, steps=1)[0][2]
    model = pdo.pde.load(pdo.pde.shipped("denoise"))
    u = torch.from_numpy(photo)[None, None].expand(1, 4, -1, -1)
    with torch.no_grad():
        inv = model.invariants(0, u)[0].flatten(1)
        linear = (model.taken(0)[3, :, None] * inv).square().mean(1).sqrt() * model.time / model.steps
    assert terms.shape == (70,)
    assert relative(terms[:69], linear) < 1e-4
    off = np.ones(69, np.float32)
    off[5] = 0
    changed = evolve("denoise", photo, off, steps=1)[0][2]
    assert changed[5] == 0
    assert np.array_equal(np.delete(changed[:69], 5), np.delete(terms[:69], 5))
    assert terms[5] > 0


def test_quarter_turns_of_the_picture_turn_the_evolution(photo):
    square = photo[:64, :64].copy()
    plain, moved = evolve("denoise", square)[-1][0], evolve("denoise", np.rot90(square).copy())[-1][0]
    assert np.abs(np.rot90(plain) - moved).max() < 1e-5


def test_invariants_are_named():
    listed = PDE["invariants"]
    model = pdo.pde.load(pdo.pde.shipped())
    assert [entry["name"] for entry in listed] == list(names(4, labels=model.labels))
    assert [entry["order"] for entry in listed] == list(orders(4))
    formulas = [entry["formula"] for entry in listed]
    assert len({*formulas}) == 69
    assert not any("g(" in text or "rho" in text for text in formulas)


def test_only_the_form_that_is_written_is_taken():
    for model in (pdo.pde.LearnedPDE(2), pdo.pde.LearnedPDE(2, bounded=True, hidden=4, solver="rk4")):
        with pytest.raises(ValueError, match=r"Step: expected a PDE of one channel with bounded=True"):
            pde_step.Step(model)


def test_only_numbers_that_fit_the_file_are_described(tmp_path, monkeypatch):
    small = pdo.pde.LearnedPDE(2, indicators=3, bounded=True, hidden=4, padding="replicate")
    pdo.pde.save(small, tmp_path / "small.json", task="edges")
    shipped = pde_step.shipped
    monkeypatch.setattr(pde_step, "shipped", lambda task: tmp_path / "small.json" if task == "edges" else shipped(task))
    with pytest.raises(ValueError, match=r"the PDE for edges has another form than the one for denoising"):
        pde_step.described("edges")
    assert pde_step.described("text")["steps"] == 12
