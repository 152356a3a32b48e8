"""The pictures of the documentation: each has a function, each is used, one command makes them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
LARGEST = 150_000  # bytes
SHOTS = "playground"  # screenshots, which `tools/screenshots.py` makes


QUICK = ("derivative-stencils", "law", "misprinted-row", "hero")


def draw(*arguments):
    command = [sys.executable, ROOT / "tools" / "pictures.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What the command says to an unknown name."""
    folder = tmp_path_factory.mktemp("refused")
    run = draw("nothing", "--folder", folder)
    assert run.returncode != 0
    assert not list(folder.iterdir())
    return run.stderr


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """Some pictures, made again."""
    folder = tmp_path_factory.mktemp("pictures")
    run = draw(*QUICK, "--folder", folder)
    assert run.returncode == 0, run.stderr
    assert {file.name for file in folder.iterdir()} == {f"{name}.png" for name in QUICK}
    return folder


def used():
    """Pictures of that folder that pages and the README show, by the page."""
    found = {}
    for page in [*PAGES, ROOT / "README.md"]:
        for link in re.findall(r"!\[[^\]]*\]\(([^)#\s]+)\)", page.read_text()):
            if (page.parent / link).resolve().parent == FOLDER:
                found.setdefault((page.parent / link).stem, page.name)
    return found


def files():
    return sorted(FOLDER.glob("*.png"))


def test_each_picture_that_a_page_shows_is_there():
    assert used()
    for name, page in used().items():
        assert (FOLDER / f"{name}.png").exists(), f"{page} shows {name}.png"


def test_each_file_has_a_function_and_each_picture_is_shown(refused):
    made = set(re.search("expected some of (.*)", refused)[1].split(", "))
    assert made == {file.stem for file in files() if not file.stem.startswith(SHOTS)}
    assert made <= set(used())


@pytest.mark.parametrize("file", files(), ids=lambda file: file.stem)
def test_pictures_are_small_and_readable(file):
    assert file.stat().st_size < LARGEST
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert 600 <= image.width <= 1600
        corner = image.convert("RGB").getpixel((0, image.height - 1))
    assert min(corner) > 240  # a light background


@pytest.mark.parametrize("name", QUICK)
def test_a_picture_comes_out_the_same(name, again):
    with Image.open(again / f"{name}.png") as new, Image.open(FOLDER / f"{name}.png") as kept:
        assert new.size == kept.size
        difference = ImageChops.difference(new.convert("L"), kept.convert("L"))
    assert ImageStat.Stat(difference).mean[0] < 2  # of 255; other fonts and versions move a little


def test_the_hero_draws_what_was_measured():
    content = json.loads((ROOT / "results" / "turned-digits.json").read_text())
    turning, plain = (content["systems"][name] for name in ("pdoconv, C8", "plain CNN"))
    angles = content["angles"]
    quarter = [turning["error_percent"][angles.index(a)] for a in (0, 90, 180, 270)]
    assert len(set(quarter)) == 1  # quarter turns are exact: not one digit is named otherwise
    assert max(turning["error_percent"]) < min(plain["error_percent"][angles.index(a)] for a in range(45, 316, 15))
    assert abs(turning["parameters"] / plain["parameters"] - 1) < 0.05
