"""What a number depends on besides its recipe: versions, hardware, commit, command."""

import hashlib
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
        "command": " ".join([Path(sys.argv[0]).name.replace("__main__.py", "pdoconv"), *sys.argv[1:]]),
    }


def code_fingerprint() -> str:
    """Return the first 16 hexadecimal digits of the sha256 of this package's source files."""
    whole, root = hashlib.sha256(), Path(pdoconv.__file__).parent
    for file in sorted(root.rglob("*.py")):
        whole.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return whole.hexdigest()[:16]


def default_precision() -> str:
    """Return `"bf16-mixed"` where the GPU or the processor computes in bfloat16, else `"32-true"`."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    flags = (_cpuinfo("flags") or "").split()
    return "bf16-mixed" if {"avx512_bf16", "amx_bf16"} & set(flags) else "32-true"


def _cpuinfo(key: str) -> str | None:
    """Return the first value of a key in Linux's table of processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)


def _processor() -> str:
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


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
