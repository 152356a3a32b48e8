"""Parameters in shards over two processes: the weights of one process, and checkpoints that are whole."""

import pytest
from runs import NAME, SMALL, difference, end, options, program, same

from pdoconv.training.shards import find_strategy

SETTINGS = {
    **SMALL,
    "dropout": 0.0,
    "optimizer": "sgd",
    "schedule": "cosine",
    "ema": 0.5,
    "filters": "paper",
    "fields": 2,
}
FSDP = ("--devices", 2, "--accelerator", "cpu", "--strategy", "fsdp")


def test_strategies():
    assert find_strategy("ddp", 0) == "ddp"
    with pytest.raises(ValueError, match="'fsdp': expected a number of devices, received 'auto'"):
        find_strategy("fsdp", 0)


@pytest.mark.slow
def test_fully_sharded_run(tmp_path):
    """The weights of one process, of the average too; stopped, resumed in shards, or by one process."""

    def train(*words):
        status, said = end(program("train", *words))
        assert status == 0, said

    words = (NAME, *options(**SETTINGS), "--run")
    train(*words, tmp_path / "one", "--devices", 1, "--accelerator", "cpu")
    train(*words, tmp_path / "two", *FSDP)
    assert 0 < difference(tmp_path / "one", tmp_path / "two") < 1e-6
    for name, devices in (("parts", FSDP), ("moved", ("--devices", 1, "--accelerator", "cpu"))):
        train(*words, tmp_path / name, *FSDP, "--stop-after", 1)
        train("--resume", tmp_path / name, *devices)
    assert same(tmp_path / "two", tmp_path / "parts")
    assert difference(tmp_path / "one", tmp_path / "moved") < 1e-6
