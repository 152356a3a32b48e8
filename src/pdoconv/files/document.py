"""The JSON document in a file's metadata, its versions, and how an older one becomes one of today.

Version 1: `format`, `version`, `pdoconv` the package's version, `architecture` (see `layers`, or `{"own": name}` for
code of its author), `filters` and `rings` the fingerprints of all bases (`null`: not known), `tied` names of tensors
that are another one, `about` anything for people.

Version 0 is what runs of pdoconv 0.1.0 wrote: no document, but `recipe`, `settings`, `filters`, `mean`, `std`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pdoconv.files.strict import parsed

FORMAT = "pdoconv model"
VERSION = 1
KEY = "pdoconv"
KEYS = {"format", "version", "pdoconv", "architecture", "filters", "rings", "tied", "about"}
_OF_RUNS = {"recipe", "settings", "filters", "mean", "std"}


def understood(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the document of a file, of today's version.

    Raises:
        ValueError: If there is none, it is of a newer version, or not of the form that its version has.
    """
    found: Any
    if KEY in metadata:
        found = parsed(metadata[KEY], "its document")
    elif set(metadata) >= _OF_RUNS:
        found = {"format": FORMAT, "version": 0, **{key: metadata[key] for key in sorted(_OF_RUNS)}}
    else:
        raise ValueError("it has no document of pdoconv.save: load other weights with safetensors.torch.load_file")
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"its document is no object with format {FORMAT!r}")
    version = found.get("version")
    if type(version) is not int or version < (KEY in metadata):  # only files without a document have version 0
        raise ValueError(f"its version is {version!a:.40}, expected a whole number of at least 1")
    if version > VERSION:
        raise ValueError(
            f"its format has version {version}, this pdoconv knows {VERSION}: update pdoconv, it was written by "
            f"{found.get('pdoconv')!a:.40}"
        )
    for step in range(version, VERSION):
        found = MIGRATIONS[step](found)
    if set(found) != KEYS:
        raise ValueError(f"its document has {sorted(found)!a:.200}, expected {sorted(KEYS)}")
    for key, fits in FORMS.items():
        if not fits(found[key]):
            raise ValueError(f"its {key} is {found[key]!a:.80}, which this version cannot be")
    return dict(found)


def _are_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(text, str) for text in found)


FORMS: dict[str, Callable[[Any], bool]] = {
    "pdoconv": lambda found: isinstance(found, str),
    "architecture": lambda found: isinstance(found, dict),
    "filters": lambda found: found is None or _are_texts(found),
    "rings": lambda found: found is None or _are_texts(found),
    "tied": lambda found: isinstance(found, dict) and _are_texts([*found.values()]),
    "about": lambda found: isinstance(found, dict),
}


def _from_run(found: dict[str, Any]) -> dict[str, Any]:
    """Turn what a run of pdoconv 0.1.0 wrote into version 1; how to make its network only the recipe knows."""
    about = {
        "recipe": found["recipe"],
        **{key: parsed(found[key], f"its {key}") for key in ("settings", "mean", "std")},
    }
    return {
        "format": FORMAT,
        "version": 1,
        "pdoconv": "0.1.0",
        "architecture": {"own": f"the network of recipe {found['recipe']}"},
        "filters": [mark for mark in found["filters"].split(",") if mark],
        "rings": None,
        "tied": {},
        "about": about,
    }


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: _from_run}
"""From each older version to the next."""


def written(content: dict[str, Any]) -> dict[str, str]:
    """Return the metadata of a file; `ValueError` for what JSON cannot hold."""
    try:
        text = json.dumps({"format": FORMAT, "version": VERSION, **content}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"save: about holds what JSON cannot: {error}.") from error
    return {"format": "pt", KEY: text}
