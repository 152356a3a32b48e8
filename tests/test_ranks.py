"""Runs of two processes, through the command that a user types: what one process makes of the same batches."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from runs import NAME, SMALL, difference, end, one_thread, options, program, same
from tiny_run import few_images

from pdoconv.recipes import MnistRotSmall, mnist_rot_small
from pdoconv.training.launch import launched
from pdoconv.training.run import train

pytestmark = pytest.mark.filterwarnings("default")
SETTINGS = {**SMALL, "dropout": 0.0, "crop": 2, "mixup": 0.3}
RECIPES = {
    "AdamW": SETTINGS,
    "SGD, average": {
        **SETTINGS,
        **{"optimizer": "sgd", "schedule": "cosine", "lr": 3e-3, "ema": 0.5, "filters": "paper", "fields": 2},
    },  # at a rate of 1e-2, 2e-7 of noise in the first weights can change the last by 1e-5 in one process too
}
COUNTS = (48, 21, 31)  # odd, so that the shares of validation and test differ
HARM = "counts:48:21:31"
WORDS = ("train", NAME, *options(**SETTINGS))
TWO = ("--devices", 2, "--accelerator", "cpu")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", lambda: few_images(*COUNTS))


def one_process(run, **settings):
    """The same run in one process, this one."""
    with one_thread():
        return train(NAME, MnistRotSmall(**settings), run)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist_rot_small, "mnist_rot", lambda: few_images(*COUNTS))
        one_process(run, **SETTINGS)
    return run


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run of two processes that nothing disturbs."""
    run = tmp_path_factory.mktemp("runs") / "two"
    status, said = end(program(*WORDS, "--run", run, *TWO, harm=HARM))
    assert status == 0, said
    return run


def measured(run):
    """Every number of every epoch in the logs."""
    rows = [row for log in sorted(run.glob("logs/*/metrics.csv")) for row in csv.DictReader(log.open(newline=""))]
    return {
        (row["epoch"], key): float(value)
        for row in rows
        for key, value in row.items()
        if value and key.endswith(("loss", "accuracy"))
    }


def agree(one, two):
    """One folder and result; weights, losses and accuracies equal to rounding; every image tested once."""
    first, second = (json.loads((run / "result.json").read_text()) for run in (one, two))
    for key in ("train_images", "valid_images", "test_images", "valid_error_percent", "test_error_percent"):
        assert first[key] == second[key]
    assert second["test_images"] == COUNTS[2]
    assert difference(one, two) < 1e-6
    numbers = measured(one)
    assert len(numbers) == 2 * 4
    assert measured(two) == pytest.approx(numbers, rel=1e-6, abs=1e-6)
    assert len(list(two.glob("logs/*"))) == 1


def test_two_processes(whole, two):
    agree(whole, two)
    assert json.loads((two / "result.json").read_text())["devices"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("settings", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("launcher", ["pdoconv", "torchrun"])
def test_launchers_and_recipes(launcher, settings, tmp_path):
    one_process(tmp_path / "one", **settings)
    words = ("train", NAME, *options(**settings, run=tmp_path / "two"), "--accelerator", "cpu")
    more = ("--devices", 2) if launcher == "pdoconv" else ()
    status, said = end(program(*words, *more, harm=HARM, launcher=launcher))
    assert status == 0, said
    agree(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_slurm(whole, tmp_path):
    """Two processes as srun starts them, without any option."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"NTASKS": 2, "NTASKS_PER_NODE": 2, "NNODES": 1, "JOB_ID": 1, "NODELIST": "127.0.0.1", "NODEID": 0}
    job |= {"JOB_NAME": "train"}
    common = {f"SLURM_{key}": str(value) for key, value in job.items()} | {"MASTER_PORT": port}
    words = (*WORDS, "--run", tmp_path / "two", "--accelerator", "cpu")
    started = [
        program(*words, harm=HARM, **common, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in range(2)
    ]
    for process in started:
        status, said = end(process)
        assert status == 0, said
    agree(whole, tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(48, 1, 1), (48, 5, 3)])
def test_fewer_images_than_processes_or_than_batches(counts, tmp_path, monkeypatch):
    """One validation image over two processes; three batches on one and two on the other."""
    monkeypatch.setattr(mnist_rot_small, "mnist_rot", lambda: few_images(*counts))
    one_process(tmp_path / "one", **SETTINGS)
    harm = f"counts:{':'.join(map(str, counts))} evaluation_batch:1"
    status, said = end(program(*WORDS, "--run", tmp_path / "two", *TWO, harm=harm))
    assert status == 0, said
    assert difference(tmp_path / "one", tmp_path / "two") < 1e-6
    assert measured(tmp_path / "two") == pytest.approx(measured(tmp_path / "one"), rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_time_is_over_for_both(two, tmp_path):
    run, words, stops = tmp_path / "run", [*WORDS, "--run", tmp_path / "run"], []
    for minutes in (1e-6, 1e-6, None):
        status, said = end(program(*words, *TWO, *([] if minutes is None else ["--max-time", minutes]), harm=HARM))
        assert status == 0, said
        stops += re.findall(r"Stopped after \d of 2 epochs, step (\d)\. Go on: pdoconv train --resume", said)
        words = ["train", "--resume", run]
    assert stops == ["1", "2"]
    assert same(two, run)


@pytest.mark.slow
@pytest.mark.parametrize("first", [TWO, ()], ids=["two, then one", "one, then two"])
def test_resumed_with_another_number_of_processes(first, whole, tmp_path):
    second = () if first else TWO
    for words in (
        [*WORDS, "--run", tmp_path / "run", *first, "--max-time", 1e-6],
        ["train", "--resume", tmp_path / "run", *second, "--stop-after", 1],
        ["train", "--resume", tmp_path / "run", *first],
    ):
        status, said = end(program(*words, harm=HARM))
        assert status == 0, said
    assert difference(whole, tmp_path / "run") < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["pdoconv", "torchrun"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_not_a_number_on_one_of_them(what, launcher, tmp_path):
    """Both end, with one message; the checkpoint before it stays."""
    more = ("--devices", 2) if launcher == "pdoconv" else ()
    words = (*WORDS, "--mixup", 0, "--run", tmp_path, "--accelerator", "cpu")
    status, said = end(program(*words, *more, harm=f"not_a_number:{what}:4:1", launcher=launcher))
    assert status == 1
    assert len(re.findall(r"pdoconv: The training loss became infinite or not a number at step [45]\.", said)) == 1
    if launcher == "pdoconv":  # torchrun reports in its own way that a program failed
        assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch=000.ckpt"]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_error_of_one_of_them(rank, tmp_path):
    status, said = end(program(*WORDS, "--run", tmp_path, *TWO, harm=f"fails:4:{rank}"))
    assert status == 1
    assert said.count("Traceback") == 1
    assert f"[rank{rank}]: RuntimeError: Something else went wrong." in said
    assert ("pdoconv: Another process of this run ended: it says above why." in said) == (rank == 1)


@pytest.mark.slow
def test_full_disk_on_two(two, tmp_path):
    run = tmp_path / "run"
    status, said = end(program(*WORDS, "--run", run, *TWO, harm=f"{HARM} full_disk:40000"))
    assert status == 1
    assert "Traceback" not in said
    assert len(re.findall(r"pdoconv: .*epoch=000\.ckpt could not be written", said)) == 1
    status, said = end(program("train", "--resume", run, *TWO, harm=HARM))
    assert status == 0, said
    assert same(two, run)


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["first", "second"])
def test_one_of_them_is_killed(killed, two, tmp_path):
    """kill -9 of either: the other ends too, nobody waits for ever, and the run goes on to the same weights."""
    run = tmp_path / "run"
    process = program(*WORDS, "--run", run, *TWO, harm=f"{HARM} slow_steps:0.3")
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    (other,) = children(process.pid)
    os.kill(process.pid if killed == "first" else other, signal.SIGKILL)
    status, said = end(process)
    assert status in (1, -signal.SIGKILL)
    assert "pdoconv: Another process of this run ended" in said
    deadline = time.monotonic() + 30
    while Path("/proc", str(other)).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path("/proc", str(other)).exists()
    status, said = end(program("train", "--resume", run, *TWO, harm=HARM))
    assert status == 0, said
    assert same(two, run)


@pytest.mark.slow
def test_two_are_asked_to_end(two, tmp_path):
    """SIGTERM to the first alone: both stop behind the same step."""
    run = tmp_path / "run"
    process = program(*WORDS, "--run", run, *TWO, harm=f"{HARM} save_every_step slow_steps:0.3")
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    status, said = end(process)
    assert status == 128 + signal.SIGTERM, said
    assert f"Go on: pdoconv train --resume {run}" in said
    status, said = end(program("train", "--resume", run, *TWO, harm=HARM))
    assert status == 0, said
    assert same(two, run)


def test_places_that_a_launcher_gives(monkeypatch):
    assert launched(3) == (3, 1)
    assert launched("auto") == ("auto", 1)
    for key, value in (("TORCHELASTIC_RUN_ID", "a"), ("LOCAL_WORLD_SIZE", "4"), ("GROUP_WORLD_SIZE", "2")):
        monkeypatch.setenv(key, value)
    assert launched("auto") == launched(4) == (4, 2)
    with pytest.raises(ValueError, match="devices: 4 processes were started on this machine, received 3: leave it out"):
        launched(3)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    for key, value in (("SLURM_NTASKS", "6"), ("SLURM_NNODES", "3"), ("SLURM_JOB_NAME", "train")):
        monkeypatch.setenv(key, value)
    assert launched("auto") == (2, 3)
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # an interactive shell
    assert launched("auto") == ("auto", 1)
