"""Runs that are killed, meet a full disk or diverge: the same weights in the end, or a clear end and nothing lost."""

import contextlib
import math
import random
import shutil
import signal
import subprocess
import time

import pytest
import torch
from runs import NAME, SMALL, command, contents, end, file_size_limit, one_thread, options, program, same
from tiny_run import HARMS, few_images

from pdoconv.recipes import MnistRotSmall, mnist_rot_small
from pdoconv.training import classifier, folder, slots
from pdoconv.training import run as run_module
from pdoconv.training.folder import RunFolder
from pdoconv.training.run import train

pytestmark = pytest.mark.filterwarnings("default")
WORDS = ("train", NAME, *options(**SMALL))


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", few_images)
    with one_thread():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbs."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(mnist_rot_small, "mnist_rot", few_images)
        train(NAME, MnistRotSmall(**SMALL), run)
    return run


def wait_for(found, process):
    deadline = time.monotonic() + 120
    while not found():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def goes_on(run, whole):
    """The command that a user types ends the run, with the weights of the undisturbed one and nothing left behind."""
    shown = command("train", "--resume", run)
    assert shown.exit_code == 0, shown.output
    assert same(whole, run)
    assert not list(run.rglob("*.part"))


def test_killed_while_it_writes_a_checkpoint(whole, tmp_path):
    """kill -9 with half a file on the disk; the checkpoints before it are whole all the time."""
    process = program(*WORDS, "--run", tmp_path / "run", harm="save_every_step slow_writing:0.01")
    folder = RunFolder(tmp_path / "run")
    wait_for(lambda: list(folder.checkpoints.glob("epoch=000.ckpt")), process)
    wait_for(lambda: list(folder.checkpoints.glob("*.part")), process)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    assert end(process)[0] == -signal.SIGKILL
    (left,) = folder.checkpoints.glob("*.part")
    kept = list(folder.checkpoints.glob("*.ckpt"))
    assert 0 < left.stat().st_size < kept[0].stat().st_size
    for checkpoint in kept:
        torch.load(checkpoint, weights_only=True)
    goes_on(folder.path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(seed, whole, tmp_path):
    """kill -9 again and again, each time a little later: while it starts, trains, writes, validates, measures."""
    moments, run, kills, status = random.Random(seed), tmp_path / "run", 0, None
    harm = "save_every_step slow_steps:0.1 slow_writing:0.005"
    while status != 0:
        words = ["train", "--resume", run] if kills else [*WORDS, "--run", run]
        process, logs = program(*words, harm=harm), len(list(run.glob("logs/*")))
        wait_for(lambda logs=logs: len(list(run.glob("logs/*"))) > logs or (run / "result.json").exists(), process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.5 + kills))
        process.send_signal(signal.SIGKILL)  # nothing, if it has ended
        status, said = end(process)
        assert status in (0, -signal.SIGKILL), said
        kills += status != 0
    assert kills > 2
    assert same(whole, run)
    assert not list(run.rglob("*.part"))


def test_full_disk_at_a_checkpoint(whole, tmp_path):
    run = tmp_path / "run"
    command(*WORDS, "--run", run, "--stop-after", 1)
    (first,) = (run / "checkpoints").iterdir()
    size, before = first.stat().st_size, first.read_bytes()
    with file_size_limit(size - 1000):  # a write that fails in the system itself
        shown = command("train", "--resume", run)
    assert shown.exit_code == 1
    assert f"pdoconv: {run}/checkpoints/epoch=001.ckpt could not be written ([Errno 27] File too large)" in shown.output
    assert "What was there before is intact, and a run goes on with --resume." in shown.output
    assert [path.name for path in (run / "checkpoints").iterdir()] == [first.name]
    assert first.read_bytes() == before
    goes_on(run, whole)


@pytest.mark.parametrize(
    ("owner", "writer", "name"),
    [
        (run_module, "learning_curve", "learning_curve.png"),
        (folder, "save_file", "model.safetensors"),
        (folder.json, "dumps", "result.json"),
    ],
)
def test_full_disk_at_the_end(owner, writer, name, whole, tmp_path, monkeypatch):
    run, before, limits = tmp_path / "run", getattr(owner, writer), []

    def limited(*args, **kwargs):
        if writer != "dumps" or "test_error_percent" in str(args):
            limits.append(file_size_limit(100))
            limits[0].__enter__()
        return before(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, writer, limited)
        try:
            shown = command(*WORDS, "--run", run)
        finally:
            limits[0].__exit__(None, None, None)
    assert shown.exit_code == 1
    assert f"pdoconv: {run / name} could not be written (" in shown.output
    assert "File too large" in shown.output
    assert not (run / name).exists()
    assert not list(run.rglob("*.part"))
    goes_on(run, whole)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 kB; and how to give it another size."""

    def mount(size, *words):
        line = ["mount", "-t", "tmpfs", "-o", f"{','.join([*words, f'size={size}'])}", "tmpfs", str(tmp_path / "disk")]
        return subprocess.run(line, capture_output=True, check=False).returncode == 0

    (tmp_path / "disk").mkdir()
    if shutil.which("mount") is None or not mount("200k"):
        pytest.skip("may not mount")
    yield tmp_path / "disk", lambda size: mount(size, "remount")
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_full_disk(small_disk, whole):
    disk, resize = small_disk
    run = disk / "run"
    (disk / "other").write_bytes(bytes(100_000))
    shown = command(*WORDS, "--run", run)
    assert shown.exit_code == 1
    assert "No space left on device" in shown.output
    assert "could not be written" in shown.output
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["epoch=000.ckpt"]
    assert not list(run.rglob("*.part"))
    shown = command("train", "--resume", run)  # nothing was freed
    assert shown.exit_code == 1
    assert "No space left on device" in shown.output
    assert resize("2m")
    goes_on(run, whole)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(
    ("what", "step", "found"),
    [
        ("loss", 4, "The training loss became infinite or not a number at step 4."),
        ("gradient", 3, "The training loss became infinite or not a number at step 4."),  # through the weights
        ("gradient", 5, "The weights became infinite or not a number at step 6."),  # no loss comes any more
    ],
)
def test_not_a_number(what, step, found, precision, tmp_path, monkeypatch):
    """The checkpoint of the first epoch is the last: none is written from which nothing could go on."""
    run = tmp_path / "run"
    monkeypatch.setattr(classifier, "F", classifier.F)  # put back at the end
    HARMS["not_a_number"](what, step, 0)
    shown = command("train", NAME, *options(**SMALL | {"precision": precision}, run=run))
    assert shown.exit_code == 1
    assert f"pdoconv: {found} The last checkpoint is intact" in shown.output
    assert "start a new run in another folder (--run) with a lower learning rate (--lr, now 0.01)" in shown.output
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["epoch=000.ckpt"]
    state = torch.load(RunFolder(run).newest_checkpoint(), weights_only=True)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert not (run / "model.safetensors").exists()
    before = contents(run)
    shown = command("train", "--resume", run, "--lr", 1e-3)
    assert shown.exit_code == 1
    assert f"{run} was started with lr 0.01, not 0.001." in shown.output
    assert contents(run) == before


def test_loss_that_grows_without_bound(tmp_path):
    with pytest.raises(ValueError, match=r"loss became infinite or not a number at step \d+.*lower learning rate"):
        train(NAME, MnistRotSmall(**SMALL | {"lr": 1e30, "epochs": 3}), tmp_path)


def test_not_a_number_between_epochs(tmp_path, monkeypatch):
    """A checkpoint while the epoch lasts is refused too."""
    monkeypatch.setattr(classifier, "F", classifier.F)
    monkeypatch.setattr(slots, "EVERY", -math.inf)
    HARMS["not_a_number"]("gradient", 1, 0)
    with pytest.raises(ValueError, match="weights became infinite or not a number at step 2"):
        train(NAME, MnistRotSmall(**SMALL), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step=1.ckpt"]
