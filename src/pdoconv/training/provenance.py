"""What a number depends on besides its recipe: versions, hardware, commit, command."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import pdoconv


def provenance() -> dict[str, Any]:
    """Return versions, hardware, commit of the source checkout, date and command line."""
    return {
        "versions": {
            "pdoconv": pdoconv.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "hardware": {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _commit() -> str | None:
    """Return the commit of the checkout that this package runs from, marked `+changes` if it is not clean."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        call = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True)
        return call.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
