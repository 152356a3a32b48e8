"""Small runs: in this process, or as programs that are stopped and killed."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from pdoconv.cli import app

PROGRAM = Path(__file__).with_name("tiny_run.py")
NAME = "mnist-rot-small"
SMALL = {"filters": "plain", "fields": 4, "epochs": 2, "batch_size": 16, "precision": "32-true"}  # 6 steps
LAUNCHERS = {
    "pdoconv": [sys.executable, PROGRAM],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--", PROGRAM],
}


def options(**settings):
    """Settings as options of the command line."""
    return [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]


def command(*words):
    """Run a command in this process: its result has `exit_code` and `output`."""
    return CliRunner().invoke(app, [str(word) for word in words])


def program(*words, harm="", launcher="pdoconv", **more):
    """Start the command as a program, on few images, something going wrong in it: see `tiny_run.py`."""
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HARM": harm, "PYTHONWARNINGS": "ignore", **loopback, **more}
    line = [str(word) for word in [*LAUNCHERS[launcher], *words]]
    return subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end(process, timeout=240):
    """Wait for a program, never for ever: its exit status and what it said."""
    try:
        said = process.communicate(timeout=timeout)[1]
    finally:
        process.kill()
    return process.returncode, said


def weights(run):
    return load_file(Path(run) / "model.safetensors")


def same(run, other):
    """Whether two runs ended with the same weights, bit for bit."""
    a, b = weights(run), weights(other)
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


def difference(run, other):
    """Largest difference between the weights of two runs, relative to the largest weight."""
    a, b = weights(run), weights(other)
    floats = [key for key in a if a[key].is_floating_point()]
    largest = max(float(a[key].abs().max()) for key in floats)
    return max(float((a[key].double() - b[key].double()).abs().max()) for key in floats) / largest


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@contextlib.contextmanager
def file_size_limit(size):
    """No file can grow above so many bytes: a write that would make it so fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores the signal that comes with it
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def one_thread():
    """As the programs compute, to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
