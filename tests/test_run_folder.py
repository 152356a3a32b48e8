"""What a run's folder refuses: damaged checkpoints, other settings, other code or data, two runs at once."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from runs import NAME, SMALL, command, contents, end, options, program, same
from tiny_run import few_images

from pdoconv.recipes import MnistRotSmall, mnist_rot_small
from pdoconv.training import provenance
from pdoconv.training import run as run_module
from pdoconv.training.files import alone, whole_file
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.run import train

pytestmark = pytest.mark.filterwarnings("default")
SETTINGS = MnistRotSmall(**SMALL | {"epochs": 3})
WORDS = ("train", NAME, *options(**SMALL))


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", few_images)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist_rot_small, "mnist_rot", few_images)
        train(NAME, SETTINGS, run, stop_after=2)
    return run


@pytest.fixture
def half(stopped, tmp_path):
    """A run of three epochs that was stopped after two, so that there are two checkpoints."""
    return RunFolder(shutil.copytree(stopped, tmp_path / "run"))


def flipped(content):
    """One bit in the middle of the largest tensor: torch loads it without a word."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def of_something_else(content):
    torch.save({"state_dict": {}}, "other")
    return Path("other").read_bytes()


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-1],
    "zeroed": lambda content: bytes(len(content)),
    "zeroed from some place on": lambda content: content[:20_000] + bytes(len(content) - 20_000),
    "one bit": flipped,
    "empty": lambda content: b"",
    "not a checkpoint": lambda content: b"To be or not to be" * 1000,
    "of something else": of_something_else,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_checkpoint(damage, half, tmp_path, monkeypatch):
    """The newest is skipped with a warning that names it; the next is used; with none left nothing is done."""
    monkeypatch.chdir(tmp_path)
    first, last = sorted(half.checkpoints.iterdir())
    assert half.newest_checkpoint() == last
    last.write_bytes(damage(last.read_bytes()))
    with pytest.warns(UserWarning, match=rf"{last} is damaged and was skipped: .") as caught:
        assert half.newest_checkpoint() == first
    assert len(caught) == 1
    first.write_bytes(damage(first.read_bytes()))
    before = contents(half.path)
    shown = command("train", "--resume", half.path)
    assert shown.exit_code == 1
    assert f"No checkpoint in {half.checkpoints} can be read: start again in another folder." in shown.output
    assert contents(half.path) == before


def test_run_goes_on_from_the_checkpoint_before_a_damaged_one(half, tmp_path):
    train(NAME, SETTINGS, tmp_path / "whole")
    _, last = sorted(half.checkpoints.iterdir())
    last.write_bytes(flipped(last.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged and was skipped: its part .* has another checksum"):
        assert command("train", "--resume", half.path).exit_code == 0
    assert same(tmp_path / "whole", half.path)


def test_any_flipped_bit_is_found_or_harmless(half):
    """Everywhere in the file; torch alone (the control) takes most of them for good."""
    path, rng, unseen = half.newest_checkpoint(), random.Random(0), 0
    for other in half.checkpoints.iterdir():
        if other != path:
            other.unlink()
    good = path.read_bytes()
    state = torch.load(path, weights_only=True)["state_dict"]
    for _ in range(40):
        place = rng.randrange(len(good))
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << rng.randrange(8))]) + good[place + 1 :])
        try:
            again = torch.load(path, weights_only=True)["state_dict"]
            equal = all(torch.equal(state[key], again[key]) for key in state)
        except Exception:
            equal = False
        else:
            unseen += not equal
        try:
            with pytest.warns(UserWarning, match="damaged"):
                half.newest_checkpoint()
        except ValueError:
            continue  # found
        except pytest.fail.Exception:
            assert equal
    assert unseen


def test_settings_that_differ_are_named_and_no_others(half):
    before = contents(half.path)
    shown = command("train", "--resume", half.path, "--lr", 0.5, "--optimizer", "sgd", "--epochs", 3)
    assert shown.exit_code == 1
    told = f"pdoconv: {half.path} was started with optimizer 'adamw', not 'sgd'; lr 0.01, not 0.5. Leave these"
    assert told in shown.output
    with pytest.raises(ValueError, match="was started as mnist-rot-small, not as other: choose another"):
        train("other", SETTINGS, half.path, resume=True)
    assert contents(half.path) == before


def other_data():
    images = few_images()
    images.train.images[0, 0, 0] += 1
    return images


CHANGES = {
    "code": (run_module, "code_fingerprint", lambda: "0" * 16),
    "version of torch": (run_module, "torch", Mock(wraps=torch, __version__="1.0")),
    "data": (mnist_rot_small, "mnist_rot", other_data),
}


@pytest.mark.parametrize("key", CHANGES)
def test_what_changed_is_named_and_the_run_goes_on_only_if_told_to(key, half, monkeypatch):
    before = contents(half.path)
    monkeypatch.setattr(*CHANGES[key])
    shown = command("train", "--resume", half.path)
    assert shown.exit_code == 1
    assert f"{half.path} was started with another {key}, so it cannot end with the weights of an" in shown.output
    assert "add --changed" in shown.output
    assert contents(half.path) == before
    assert command("train", "--resume", half.path, "--changed").exit_code == 0
    assert json.loads(half.result.read_text())["changed_on_resume"] == [key]


def test_fingerprint_of_the_code_is_of_every_line(tmp_path, monkeypatch):
    (tmp_path / "part").mkdir()
    (tmp_path / "__init__.py").write_text("a = 1\n")
    (tmp_path / "part" / "b.py").write_text("b = 1\n")
    monkeypatch.setattr(provenance.pdoconv, "__file__", str(tmp_path / "__init__.py"))
    first = provenance.code_fingerprint()
    assert provenance.code_fingerprint() == first
    (tmp_path / "part" / "b.py").write_text("b = 2\n")
    assert provenance.code_fingerprint() != first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--devices", "3"], "expected a multiple of 3, received 16"),
        (["--accelerator", "mps"], "accelerator 'mps'"),  # where there is none
        (["--accelerator", "tpu"], "torch_xla"),
        (["--accelerator", "abacus"], "abacus"),
        (["--strategy", "luck"], "luck"),
        (["--resume", "nowhere"], "no config.json"),
        (["--run", "a/file/run"], "Not a directory"),
    ],
)
def test_failed_start_leaves_nothing(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    shown = command(*WORDS, *words)
    assert shown.exit_code == 1
    assert message in shown.output
    assert [str(path) for path in contents(".")] == ["a/file"]
    assert not (tmp_path / "runs").exists()


def test_one_run_at_a_time(half, tmp_path):
    before = contents(half.path)
    with alone(half.path):
        shown = command("train", "--resume", half.path)
        assert shown.exit_code == 1
        assert f"Another run is at work in {half.path}: wait until it ends, or choose another" in shown.output
        with pytest.raises(FileExistsError, match="Another run is at work"):
            train(NAME, SETTINGS, half.path)
    assert contents(half.path) == before
    assert command("train", "--resume", half.path).exit_code == 0
    with alone(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()


HOLDS = """
import pathlib, sys, time
from pdoconv.training.files import alone
with alone(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_killed_process_lets_go(tmp_path):
    """The lock is the system's: no file of it is left that would keep the next run out."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FileExistsError, match="Another run is at work"), alone(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    end(holder)
    with alone(tmp_path / ".."), alone(tmp_path):
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_programs_started_by_mistake(tmp_path):
    first = program(*WORDS, "--run", tmp_path / "run", harm="slow_steps:30")
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "logs").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    status, said = end(program("train", "--resume", tmp_path / "run"))
    first.kill()
    assert status == 1
    assert "Another run is at work in" in said
    assert end(first)[0] == -signal.SIGKILL


def test_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, [1])
    with (
        pytest.raises(OSError, match=r"a\.json could not be written .*No such file.*before is intact"),
        whole_file(path),
    ):
        pass  # nothing was written

    def interrupted():
        with whole_file(path) as file:
            file.write_text("[2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [json.loads(file.read_text()) for file in path.parent.iterdir()] == [[1]]
    if os.getuid():  # root may write anywhere
        path.parent.chmod(0o500)
        with pytest.raises(OSError, match="Permission denied"):
            write_json(path, [3])
        path.parent.chmod(0o700)


def test_parts_of_a_killed_run_are_removed(half):
    left = [half.path / "config.json.123.part", half.checkpoints / "epoch=002.ckpt.123.part"]
    for path in left:
        path.write_bytes(b"half")
    assert command("train", "--resume", half.path).exit_code == 0
    assert not any(path.exists() for path in left)
