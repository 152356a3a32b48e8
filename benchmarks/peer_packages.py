"""Import the other libraries, each in an environment of its own; `INSTALL` has the commands."""

import importlib
import subprocess
from types import ModuleType
from typing import Any

INSTALL = {
    "escnn": "pip install escnn==1.0.11 (needs a Fortran compiler and numpy<2)",
    "e2cnn": "pip install e2cnn==0.2.3",
    "rbf": "pip install treverhines-rbf==2025.7.4.1",
}

PACKAGES = ("escnn", "e2cnn")


def version(package: str, python: str) -> str:
    """Return the version of a package in the environment of a python.

    Raises:
        RuntimeError: If it is not installed there.
    """
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    call = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if call.returncode:
        raise RuntimeError(f"{python} has no {package}. Install it there: {INSTALL[package]}.")
    return call.stdout.strip()


def origin(pythons: dict[str, str]) -> dict[str, Any]:
    """Return the provenance of a comparison with peers: their versions too, and their pythons as `make` calls them."""
    from pdoconv.training.provenance import provenance

    values = provenance()
    for name, python in pythons.items():
        values["versions"][name] = version(name, python)
        values["command"] = values["command"].replace(f"--{name} {python}", f"--{name} .venv-{name}/bin/python")
    return values


def load(name: str) -> ModuleType:
    """Import a module of a peer.

    Raises:
        ImportError: If the peer is not installed; says how to.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{package} does not import ({error}). Install it: {INSTALL[package]}.") from error


def shim_rbf(*, needed: bool) -> None:
    """Give rbf back a function that e2cnn calls once, on its own import, and that newer versions dropped."""
    try:
        vars(load("rbf.basis")).setdefault("set_symbolic_to_numeric_method", lambda method: None)
    except ImportError:
        if needed:
            raise
