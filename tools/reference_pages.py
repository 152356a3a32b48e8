"""The API reference: a page for each part of the package, every public name on exactly one of them."""

import importlib
import inspect
from importlib.util import find_spec
from typing import NamedTuple


class Part(NamedTuple):
    """A page of the reference: its title, what the part is for, and the modules, or single names, that it shows."""

    title: str
    summary: str
    places: tuple[str, ...]


GROUPS = ("group", "cyclic", "dihedral", "reflection", "so2", "o2", "octahedral", "tetrahedral", "icosahedral")
GROUPS += ("Group", "FieldType", "Representation")
PARTS = {
    "layers": Part("Layers", "Convolutions, norms, activations, pooling. Types live on the layers.", ("pdoconv.nn",)),
    "groups": Part(
        "Groups and fields",
        "Groups by name, field types, representations.",
        tuple(f"pdoconv.{name}" for name in GROUPS),
    ),
    "filters": Part(
        "Filters, operators, stencils",
        "What a filter is before and after it is turned.",
        ("pdoconv.filters", "pdoconv.operators", "pdoconv.stencils"),
    ),
    "measure": Part("Measuring", "How far from equivariant; what a network costs.", ("pdoconv.measure",)),
    "convert": Part(
        "Converting",
        "Equivariant twins of ordinary networks.",
        tuple(
            f"pdoconv.convert.{name}"
            for name in ("convert", "conversion_report", "Converted", "Report", "ConversionError")
        ),
    ),
    "files": Part(
        "Saving and exporting", "Files of networks, ordinary layers, ONNX.", ("pdoconv.files", "pdoconv.export")
    ),
    "models": Part("Networks", "Published networks by name, trained ones, U-Nets.", ("pdoconv.models",)),
    "pde": Part("Learned PDEs", "Invariants, evolutions, solvers, restoration.", ("pdoconv.pde",)),
    "data": Part("Data", "Readers, splits, augmentation.", ("pdoconv.data",)),
    "recipes": Part("Recipes", "Settings of `pdoconv train`.", ("pdoconv.recipes",)),
}


def names(place: str) -> list[str]:
    """Return the full names of what a module offers, classes and functions in its order; a single name is itself."""
    if find_spec(place) is None or place == "pdoconv.convert.convert":
        return [place]
    module = importlib.import_module(place)
    found = []
    for name, value in vars(module).items():
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
            home = value.__module__
            if home == place or (hasattr(module, "__path__") and home.startswith(f"{place}.")):
                found.append(f"{home}.{value.__qualname__}")  # some functions are named like the modules they live in
    return found


def reference_pages() -> dict[str, str]:
    """Return the pages as Markdown for mkdocstrings, by path."""
    lines = ["# Reference", "", "Made from the docstrings. Shapes, units and errors are said there.", ""]
    lines += [f"- [{part.title}]({name}.md): {part.summary}" for name, part in PARTS.items()]
    lines += [
        "- Command line: `pdoconv --help`, and `pdoconv COMMAND --help` for each command.",
        "",
        "Everything in the first page is also in `pdoconv` itself: `pdo.PDOConv2d` is `pdo.nn.PDOConv2d`.",
    ]
    pages = {"reference/index.md": "\n".join(lines) + "\n"}
    for name, part in PARTS.items():
        blocks = [f"# {part.title}", "", part.summary, ""]
        for place in part.places:
            blocks += [f"::: {full}\n" for full in names(place)]
        pages[f"reference/{name}.md"] = "\n".join(blocks)
    return pages
