"""The comparison of restorations, on a handful of small made pictures: what is trained, chosen, measured and shown."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from pdoconv import restoration
from pdoconv.cli import app
from pdoconv.data import as_image, synthetic
from pdoconv.pde.tasks import TASKS, task
from pdoconv.recipes.restoration import SYSTEMS, Restoration
from pdoconv.restoration import baselines as classical
from pdoconv.restoration import comparison, drawing, evaluation, pictures
from pdoconv.restoration.baselines import Baseline, baselines
from pdoconv.restoration.comparison import compare, table
from pdoconv.restoration.evaluation import loss, quarter_turn, turned
from pdoconv.training import restorer
from pdoconv.training.restorer import RestorerModule, train_restorer

pytestmark = pytest.mark.filterwarnings("default")
FEW = Restoration(system="lpde-bounded", steps=5, batch=2, patch=16)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(pictures, "COUNTS", {"training": 3, "validation": 1, "test": 2})
    monkeypatch.setattr(pictures, "SIDE", 64)
    monkeypatch.setattr(pictures, "CROP", 40)
    for name, side in (("SIDE", 64), ("QUARTER", 65), ("PLATE_SIDE", 40)):
        monkeypatch.setattr(evaluation, name, side)
    monkeypatch.setattr(restorer, "EVERY", 2)


def test_command(tmp_path, monkeypatch):
    """Table, result, two pictures; a second call trains and measures nothing."""
    arguments = ["compare", "denoise", "--data", "synthetic", "--steps", "2", "--runs", str(tmp_path)]
    arguments += ["--systems", "identity,heat,lpde-bounded"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    folder = tmp_path / "denoise"
    result = json.loads((folder / "comparison.json").read_text())
    rows = result["systems"]
    assert set(rows) == {"identity", "heat", "lpde-bounded"}
    assert rows["identity"]["psnr"]["synthetic"] == pytest.approx(20.2, abs=0.4)  # sigma 25, clipped
    assert rows["heat"]["psnr"]["synthetic"] > 24
    assert (rows["heat"]["parameters"], rows["lpde-bounded"]["parameters"]) == (1, 456)
    assert rows["lpde-bounded"]["kilobytes"] == round(
        (folder / "lpde-bounded/model.safetensors").stat().st_size / 1e3, 1
    )
    assert rows["identity"]["lost when turned, dB"]["45"][0] == pytest.approx(0, abs=0.05)
    assert all(row["quarter_turn"] < 1e-5 for row in rows.values())
    assert {"tests", "training", "selection", "commit", "versions"} <= set(result)
    for picture in ("parameters", "plate"):
        assert (folder / f"comparison-{picture}.png").stat().st_size > 10_000
    for text in ("| Heat equation |", "PSNR lost at 45 degrees", "comparison-plate.png"):
        assert text in shown.output
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*/*")}
    monkeypatch.setattr(evaluation, "row", None)  # calling it would fail
    monkeypatch.setattr(comparison, "choose", None)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert before == {file: file.stat().st_mtime_ns for file in folder.glob("*/*")}


@pytest.mark.parametrize("name", [name for name in TASKS if name != "denoise"])
def test_every_task_runs(tmp_path, name):
    cheap = {"inpaint": "fill", "demosaick": "bilinear", "edges": "filter", "deblur": "wiener"}
    systems = ["lpde", *([cheap[name]] if name in cheap else [])]
    result = compare(name, systems, steps=1, runs=tmp_path, sets=("synthetic",))
    assert set(result["systems"]) == set(systems)
    assert "turned" not in table(result)
    files = restoration.draw(result, tmp_path / "x.json", tmp_path / name)
    assert all(file.stat().st_size > 5_000 for file in files)


def test_the_plate_shows_every_system(tmp_path, monkeypatch):
    result = compare("denoise", ["identity", "heat"], runs=tmp_path, sets=("synthetic",))
    titles = []
    whole = drawing.Figure.savefig
    monkeypatch.setattr(
        drawing.Figure,
        "savefig",
        lambda self, file: (titles.extend(a.get_title() for a in self.axes if a.images), whole(self, file)),
    )
    restoration.draw(result, tmp_path / "x.json", tmp_path / "denoise")
    assert [title.split("\n")[0] for title in titles] == ["clean", "observed", "Nothing done", "Heat equation"]


class Killed(Exception):
    pass


def _weights(run):
    return load_file(run / "model.safetensors")


def test_a_run_that_was_killed_between_checkpoints_ends_like_one_that_was_not(tmp_path, monkeypatch):
    made = synthetic(2, 32, 1)
    train_restorer(FEW, made, made[:1], tmp_path / "whole", "made")
    step = RestorerModule.training_step
    seen = []

    def dies(self, batch):
        seen.append(batch[0])
        if seen.count(3) == 1 and batch[0] == 3:  # step 3 is lost, step 2 is after the checkpoint of two steps
            raise Killed
        return step(self, batch)

    monkeypatch.setattr(RestorerModule, "training_step", dies)
    with pytest.raises(Killed):
        train_restorer(FEW, made, made[:1], tmp_path / "cut", "made")
    assert not (tmp_path / "cut" / "result.json").exists()
    train_restorer(FEW, made, made[:1], tmp_path / "cut", "made")
    assert seen == [0, 1, 2, 3, 2, 3, 4]
    whole, cut = _weights(tmp_path / "whole"), _weights(tmp_path / "cut")
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    other = Restoration(system="lpde-bounded", steps=5, batch=2, patch=16, seed=1)
    train_restorer(other, made, made[:1], tmp_path / "other", "made")
    assert not torch.equal(_weights(tmp_path / "other")["coefficients"], whole["coefficients"])


def test_an_evaluation_goes_on_after_the_last_picture(tmp_path, monkeypatch):
    places = []
    whole = evaluation.row

    def dies(solve, problem, picture, name):
        places.append(name)
        if len(places) == 2:
            raise Killed
        return whole(solve, problem, picture, name)

    monkeypatch.setattr(evaluation, "row", dies)
    with pytest.raises(Killed):
        compare("denoise", ["identity"], runs=tmp_path, sets=("synthetic",))
    found = compare("denoise", ["identity"], runs=tmp_path, sets=("synthetic",))
    assert places == ["synthetic 0", "synthetic 1", "synthetic 1"]
    monkeypatch.setattr(evaluation, "row", whole)
    other = compare("denoise", ["identity"], runs=tmp_path / "other", sets=("synthetic",))
    assert found["systems"]["identity"]["psnr"] == other["systems"]["identity"]["psnr"]


def test_all_systems_see_the_same_and_choose_without_the_test_pictures(tmp_path, monkeypatch):
    seen = {}

    def spy(name):
        def method(observed, known, amount):
            seen.setdefault(name, []).append(observed.clone())
            return observed * amount

        return Baseline(name, method, {"amount": 1.0})

    monkeypatch.setattr(comparison, "baselines", lambda *_: {name: spy(name) for name in "ab"})
    chosen_on = []
    monkeypatch.setattr(comparison, "choose", lambda score, start: chosen_on.append(score(start)) or {"amount": 0.9})
    compare("denoise", ["a"], runs=tmp_path, sets=("synthetic",))
    torch.randn(7)  # a global state that differs
    compare("denoise", ["b"], runs=tmp_path, sets=("synthetic",))
    assert len(seen["a"]) == len(seen["b"]) > 5
    assert all(torch.equal(x, y) for x, y in zip(seen["a"], seen["b"], strict=True))
    data = pictures.load(task("denoise"), ("synthetic",))
    for observed, picture in zip(seen["a"][:3], data.choice(), strict=True):  # the search comes first
        assert (observed - as_image(picture)).std().item() == pytest.approx(25 / 255, rel=0.1)
    assert len(data.training) == len(chosen_on[:1]) * 3
    every = [p.tobytes() for part in (data.training, data.validation, *data.tests.values()) for p in part]
    assert len(set(every)) == len(every)
    assert json.loads((tmp_path / "denoise/a/chosen.json").read_text())["chosen"] == {"amount": 0.9}


def test_standard_sets_keep_training_and_test_apart(monkeypatch):
    made = {"train400": synthetic(20, 32, 1), "set12": synthetic(2, 32, 2), "bsd68": synthetic(3, 32, 3)}
    monkeypatch.setattr(pictures, "pictures", lambda name, root: made[name])
    data = pictures.load(task("deblur"))
    assert (len(data.training), len(data.validation)) == (8, 12)
    assert all(np.array_equal(x, y) for x, y in zip(data.validation, made["train400"][8:], strict=True))
    assert list(data.tests) == ["set12", "bsd68"]
    assert list(pictures.load(task("text")).tests) == ["synthetic"]  # gray photographs have no map of words


def test_a_text_scene_is_seen_and_its_map_is_wanted():
    picture = pictures.made_picture(task("text"), 64)
    whole, (observed, known) = pictures.observe(task("text"), picture, "x")
    assert known is None
    assert torch.equal(observed, whole[:, :1])
    assert torch.equal(task("text").target(whole), whole[:, 1:2])
    assert whole[:, 1:2].amax() > 0.5
    assert not torch.equal(observed, whole[:, 1:2])


def test_what_is_lost_when_turned_shows_a_preference_for_axes():
    """A method that only smooths along rows loses on stripes along rows that are turned; heat does not."""
    stripes = torch.sin(torch.arange(96.0) * 0.5)[None, None, :, None].expand(1, 1, 96, 96) * 0.4 + 0.5
    problem = task("denoise")

    def rows(method):
        found = [{f"{a:g}": turned(method, problem, stripes, a, f"n{k}") for a in (0.0, 45.0)} for k in range(2)]
        return loss([{"turned": angles} for angles in found], "45")

    def along_rows(observed, known):
        return torch.nn.functional.avg_pool2d(observed, (1, 5), 1, (0, 2), count_include_pad=False)

    preferring, isotropic = rows(along_rows), rows(lambda observed, known: classical.heat(observed, 0.3))
    assert preferring[0] > 2
    assert abs(isotropic[0]) < 0.3
    assert preferring[1] < 0.5
    assert quarter_turn(lambda observed, known: classical.heat(observed, 0.3), problem) < 1e-6
    assert quarter_turn(along_rows, problem) > 1e-2


def test_other_settings_are_refused(tmp_path):
    compare("denoise", ["heat", "lpde-bounded"], steps=1, runs=tmp_path, sets=("synthetic",))
    for systems, options in (
        (["heat"], {"sigma": 15}),
        (["lpde-bounded"], {"steps": 2}),
        (["lpde-bounded"], {"sigma": 15}),
    ):
        with pytest.raises(ValueError, match="other settings or pictures: choose another folder with --runs"):
            compare("denoise", systems, runs=tmp_path, sets=("synthetic",), **{"steps": 1, **options})


def test_what_is_of_other_pictures_is_left_out(tmp_path, monkeypatch, capsys):
    compare("denoise", ["identity"], runs=tmp_path, sets=("synthetic",))
    monkeypatch.setattr(pictures, "COUNTS", {"training": 3, "validation": 1, "test": 1})
    result = compare("denoise", ["heat"], runs=tmp_path, sets=("synthetic",))
    assert list(result["systems"]) == ["heat"]
    assert "identity is unfinished, or of other pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"systems": ["bm4d"]}, "Unknown system 'bm4d': expected one of lpde, .*tv-flow"),
        ({"task": "colourise"}, "Unknown task 'colourise'"),
        ({"sets": ("set12", "synthetic")}, "Expected test sets out of set12, bsd68"),
        ({"sets": ("kodak",)}, "received kodak"),
        ({"sets": ()}, "received none"),
        ({"steps": 0}, "steps >= 1"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        compare(**{"task": "denoise", "systems": ["identity"], "runs": tmp_path, **options})
    assert not list(tmp_path.iterdir())


def test_missing_pictures_and_packages(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"train400.*PDOCONV_DATA"):
        compare("denoise", ["identity"], runs=tmp_path / "runs", root=str(tmp_path))
    monkeypatch.setattr(classical.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="BM3D needs bm3d: install it"):
        compare("denoise", ["bm3d"], runs=tmp_path, sets=("synthetic",))
    names = comparison.default_systems(task("denoise"), baselines("denoise"))
    assert {"bm3d", "tv"}.isdisjoint(names)
    assert set(SYSTEMS) <= set(names)
    assert all(name.startswith("lpde") for name in comparison.default_systems(task("text"), baselines("text")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deblur", "--sigma", "15"], "--sigma is of the task denoise alone"),
        (["denoise", "--seeds", "2"], "here give --steps"),
        (["mnist-rot", "--steps", "2"], "here give --budget"),
        (["cifar"], "expected 'mnist-rot' or one of denoise, "),
    ],
)
def test_options_of_the_other_comparison(arguments, message):
    shown = CliRunner().invoke(app, ["compare", *arguments])
    assert shown.exit_code == 1
    assert message in shown.output
