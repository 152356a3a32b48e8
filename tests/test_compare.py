"""The comparison of systems, on a handful of images: what it trains, how it goes on, what it says."""

import json
from dataclasses import dataclass

import pytest
from test_training import few_images
from typer.testing import CliRunner

import pdoconv as pdo
from pdoconv import compare as comparison
from pdoconv.cli import app
from pdoconv.compare import Budget, choose_rate, compare, find_budget, table
from pdoconv.recipes import MnistRotCompare, mnist_rot_compare
from pdoconv.recipes.systems import SYSTEMS, System, system
from pdoconv.training.run import train

pytestmark = pytest.mark.filterwarnings("default")
PAIR = ("z2cnn", "pdo-mnist-small")


def images():
    return few_images(64)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(mnist_rot_compare, "mnist_rot", images)
    monkeypatch.setattr(comparison, "mnist_rot", images)
    monkeypatch.setattr(comparison, "ANGLES", (0.0, 45.0, 90.0))
    monkeypatch.setitem(comparison.BUDGETS, "quick", Budget(1, 1, (1e-4, 1e-2)))


@pytest.fixture
def trained(monkeypatch):
    """Which runs were trained, in order."""
    calls = []

    def spy(name, settings, run, **options):
        calls.append((run.parent.name, run.name, options["test"], settings.train_on))
        return train(name, settings, run, **options)

    monkeypatch.setattr(comparison, "train", spy)
    return calls


def test_command(tmp_path, trained):
    """One pilot a rate, which does not read the test set; then the seeds; a table and two pictures."""
    arguments = ["compare", "mnist-rot", "--systems", ",".join(PAIR), "--budget", "quick", "--runs", str(tmp_path)]
    shown = CliRunner().invoke(app, [*arguments, "--seeds", "2"])
    assert shown.exit_code == 0, shown.output
    runs = [
        ("pilot-0.0001", False, "train"),
        ("pilot-0.01", False, "train"),
        ("seed0", True, "all"),
        ("seed1", True, "all"),
    ]
    assert trained == [(name, *run) for name in PAIR for run in runs]
    folder = tmp_path / "quick"
    result = json.loads((folder / "comparison.json").read_text())
    rows = result["systems"]
    assert set(rows) == set(PAIR)
    assert rows["pdo-mnist-small"]["parameters"] == 26_747
    assert len(rows["z2cnn"]["errors %"]) == 2
    assert rows["z2cnn"]["sd"] is not None
    assert {"data_sha256_16", "budget", "settings", "selection", "commit", "versions"} <= set(result)
    for picture in ("parameters", "angle"):
        assert (folder / f"comparison-{picture}.png").stat().st_size > 10_000
    for text in ("| Z2CNN |", "26,747", "1.87, 26k (Shen et al., 2020)", "comparison.json"):
        assert text in shown.output
    assert "test_error_percent" not in json.loads((folder / "z2cnn" / "pilot-0.01" / "result.json").read_text())
    trained.clear()
    assert CliRunner().invoke(app, [*arguments, "--seeds", "2"]).exit_code == 0
    assert not trained  # all is there
    (folder / "z2cnn" / "seed1" / "result.json").unlink()
    assert CliRunner().invoke(app, [*arguments, "--seeds", "2"]).exit_code == 0
    assert [run[:2] for run in trained] == [("z2cnn", "seed1")]
    again = json.loads((folder / "comparison.json").read_text())["systems"]["z2cnn"]["errors %"]
    assert again == rows["z2cnn"]["errors %"]


def test_the_rate_with_the_least_validation_error_is_taken(tmp_path, monkeypatch):
    errors = {1e-4: 50.0, 1e-3: 40.0, 1e-2: 60.0}
    monkeypatch.setattr(comparison, "train", lambda _, s, *__, **___: {"valid_error_percent": errors[s.lr]})
    assert choose_rate("z2cnn", Budget(9, 1, tuple(errors)), tmp_path) == 1e-3
    assert choose_rate("z2cnn", Budget(9, 1, (7e-3,)), tmp_path) == 7e-3


def test_an_interrupted_comparison_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "train", lambda *_, **__: None)
    assert compare(PAIR, budget="quick", runs=tmp_path) is None
    shown = CliRunner().invoke(app, ["compare", "mnist-rot", "--budget", "quick", "--runs", str(tmp_path)])
    assert shown.exit_code == 1
    assert "the same command goes on" in shown.output
    assert not list(tmp_path.rglob("comparison*"))


def test_runs_with_other_settings_are_not_taken_for_these(tmp_path, monkeypatch):
    compare(("z2cnn",), budget="quick", seeds=1, runs=tmp_path)
    monkeypatch.setitem(comparison.BUDGETS, "quick", Budget(2, 1, (1e-4, 1e-2)))
    with pytest.raises(ValueError, match="use other --runs"):
        compare(("z2cnn",), budget="quick", seeds=1, runs=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"systems": ("p4cnn", "resnext")}, "Unknown system 'resnext': expected one of z2cnn, "),
        ({"budget": "huge"}, "Unknown budget 'huge': expected a number of epochs or one of quick, standard, long"),
        ({"budget": "0"}, "Unknown budget '0'"),
        ({"seeds": 0}, "seeds >= 1"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        compare(runs=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_number_of_epochs_is_a_budget():
    assert find_budget("7") == Budget(7)
    assert find_budget("long").epochs == 60


def test_other_data_are_refused():
    shown = CliRunner().invoke(app, ["compare", "cifar"])
    assert shown.exit_code == 1
    assert "expected 'mnist-rot'" in shown.output


@dataclass(frozen=True)
class Crosses:
    """A filter family of a user's own: the centre and its four neighbours, turned by quarter turns."""

    def basis(self, group, size):
        taps = pdo.filters.rotated().basis(group, size)
        centre = size * size // 2
        return taps[:, [centre, centre - size, centre + 1, centre + size, centre - 1]]


def test_another_system_is_a_filter_family_and_a_row(tmp_path, monkeypatch):
    config = {"group": pdo.cyclic(4), "widths": (2, 2, 2, 2, 2, 3), "hidden": (8,), "filters": Crosses()}
    monkeypatch.setitem(SYSTEMS, "crosses", System("Crosses", "sfcnn", config))
    result = compare(("crosses",), budget="1", runs=tmp_path)
    assert list(result["systems"]) == ["crosses"]
    assert result["systems"]["crosses"]["equivariance error at 90"] < 1e-6
    assert result["budget"]["epochs"] == 1


def test_best_first():
    row = {"multiply-adds": 1e6, "seconds an epoch": 1, "equivariance error at 90": 0, "equivariance error between": 0}
    rows = {
        name: {
            "title": name,
            "error %": error,
            "errors %": [error],
            "sd": None,
            "parameters": 1,
            "published": "-",
            **row,
        }
        for name, error in (("worse", 3.0), ("better", 2.0))
    }
    shown = table({"systems": rows})
    assert shown.index("better") < shown.index("worse")


@pytest.mark.parametrize("name", SYSTEMS)
def test_networks_are_small(name):
    """The comparison is of networks of 20,000 to 130,000 parameters; the Neural ODE and its twin are as published."""
    net = MnistRotCompare(system=name).network()
    parameters = sum(p.numel() for p in net.parameters())
    assert 20_000 <= parameters <= 130_000 or parameters == {"neural-ode": 208_266, "neural-ode-resnet": 576_778}[name]


def test_a_system_is_one_row():
    assert system("p4cnn") == System("G-CNN, p4", "p4cnn", published=SYSTEMS["p4cnn"].published, seeds=3)
    assert sorted(name for name, row in SYSTEMS.items() if row.seeds == 3) == [
        "p4cnn",
        "pdo-e2cnn",
        "pdo-gaussian",
        "sfcnn",
        "z2cnn",
    ]
