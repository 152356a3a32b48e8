"""A stranger's path in the documentation: its commands are those that were timed, its figures those that were found."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pdoconv.data import list_pictures

ROOT = Path(__file__).parents[1]
TITLE = "## Your own pictures in five commands"


@pytest.fixture
def benchmark():
    spec = importlib.util.spec_from_file_location("stranger", ROOT / "benchmarks" / "stranger.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured():
    return json.loads((ROOT / "results" / "stranger.json").read_text())


@pytest.fixture
def section():
    text = (ROOT / "docs" / "how-to" / "own-folder.md").read_text()
    assert TITLE in text
    return text.split(TITLE, 1)[1].split("\n## ", 1)[0]


def commands_of(section):
    block = re.search(r"```(?:console)?\n(.*?)```", section, re.DOTALL).group(1)
    return [line.split("#")[0].strip() for line in block.splitlines() if line.strip()]


def test_the_commands_of_the_page_are_those_that_were_timed(section, measured, benchmark):
    commands = commands_of(section)
    assert commands == [step["command"] for step in measured["commands"]] == list(benchmark.COMMANDS)
    assert len(commands) <= 5


def test_other_commands_are_noticed(section, measured):
    spoilt = section.replace("--group p8", "--group p4")
    assert commands_of(spoilt) != [step["command"] for step in measured["commands"]]


def test_figures(section, measured):
    for step in measured["commands"]:
        assert f"{step['seconds']:.0f} s" in section
    text = " ".join(section.split())
    assert f"test error {measured['test_error_percent']:.1f}% on {measured['test_images']} pictures" in text
    quarter, eighth = (measured["equivariance_error"][turn] for turn in ("90", "45"))
    assert f"{quarter:.1e} of their size at a quarter turn, {eighth:.1e} at 45 degrees" in text
    assert f"{measured['parameters']:,} parameters" in text
    assert f"in {measured['seconds'] / 60:.0f} minutes" in text


def test_what_was_found_is_sensible(measured):
    assert measured["test_error_percent"] < 10  # 67 by chance
    assert measured["equivariance_error"]["90"] < 1e-5 < measured["equivariance_error"]["45"] < 0.2
    assert measured["train_images"] + measured["valid_images"] + measured["test_images"] == 600
    assert measured["seconds"] == pytest.approx(sum(step["seconds"] for step in measured["commands"]), abs=0.1)
    assert "read once before" in measured["selection"]


def test_pictures_are_as_a_user_has_them(tmp_path, benchmark):
    benchmark.make_pictures(tmp_path / "my_images", each=5)
    listing = list_pictures(tmp_path / "my_images")
    assert listing.classes == tuple(sorted(benchmark.CLASSES))
    assert (listing.size, listing.channels, len(listing.train + listing.valid + listing.test)) == (28, 1, 15)
    assert np.asarray(Image.open(tmp_path / "my_images" / "two" / "000.png")).max() > 200


def test_a_command_that_fails_ends_the_benchmark(tmp_path, benchmark):
    with pytest.raises(SystemExit, match="ended with status 3"):
        benchmark.run("sh -c 'exit 3'", tmp_path)
