"""Which pictures a folder or a CSV file names, of which class, and for what."""

import csv
import difflib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pdoconv.data.picture_files import ENDINGS

SPLITS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
ARRANGE = "one folder for each class with its pictures in it, such as {0}/cats/1.png and {0}/dogs/1.png"


class Labelled(NamedTuple):
    """A file, the name of its class, and `"train"`, `"valid"`, `"test"`, or nothing where no split is given."""

    file: Path
    label: str
    split: str


def find_pictures(place: Path) -> tuple[list[Labelled], list[str]]:
    """Find pictures by their names, in order, and sentences about what is left out; no picture is opened.

    Raises:
        FileNotFoundError: If there is no such folder or file, or no picture in it.
        ValueError: If the pictures are not arranged in one of the ways that `list_pictures` names.
    """
    if not place.exists():
        raise FileNotFoundError(f"{place} does not exist{_closest(place)}: give a folder of pictures or a CSV file.")
    if place.is_file():
        if place.suffix.lower() == ".csv":
            return _from_csv(place), []
        raise ValueError(
            f"{place} is a file, expected {ARRANGE.format(place.parent)}, or a CSV file with the columns file,label: "
            f"give the folder or the CSV file."
        )
    names = {folder.name for folder in _folders(place)}
    given = "train" in names and (names <= set(SPLITS) or ("test" in names and _folders(place / "train") != []))
    if not given:
        found, others = _from_classes(place, "")
        return found, _left_out(others)
    if "test" not in names or {"valid", "val"} <= names:
        raise ValueError(
            f"{place}: expected the folders train/, test/ and perhaps valid/ or val/, received {some(sorted(names))}: "
            f"{'remove valid/ or val/' if 'test' in names else 'add test/, with pictures used for nothing else'}."
        )
    found, others = [], [name for name in sorted(names) if name not in SPLITS]
    for name in sorted(names & set(SPLITS)):
        more, beside = _from_classes(place / name, SPLITS[name])
        found += more
        others += beside
    return found, _left_out(others)


def some(items: Iterable[object], limit: int = 5) -> str:
    """Name up to five things.

    >>> some(range(7))
    '0, 1, 2, 3, 4 and 2 more'
    """
    names = [str(item) for item in items]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _closest(place: Path) -> str:
    """Say which name that exists is most like the first part of a path that does not."""
    while not place.parent.exists():
        place = place.parent
    names = [file.name for file in place.parent.iterdir()] if place.parent.is_dir() else []
    close = difflib.get_close_matches(place.name, names, n=1)
    return f" (did you mean {place.parent / close[0]}?)" if close else ""


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _folders(place: Path) -> list[Path]:
    return sorted(entry for entry in place.iterdir() if entry.is_dir() and not _hidden(Path(entry.name)))


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS


def _from_classes(place: Path, split: str) -> tuple[list[Labelled], list[str]]:
    """Read a folder of class folders; also return what else is in it."""
    folders = _folders(place)
    others = sorted(file.name for file in place.iterdir() if file.is_file() and not _hidden(Path(file.name)))
    loose = [name for name in others if _is_picture(Path(name))]
    if not folders and loose:
        raise ValueError(
            f"{place} has {len(loose)} pictures ({some(loose)}) but no class folders. Expected "
            f"{ARRANGE.format(place)}, or a CSV file with the columns file,label."
        )
    found, empty = [], []
    for folder in folders:
        files = [f for f in sorted(folder.rglob("*")) if f.is_file() and not _hidden(f.relative_to(folder))]
        pictures = [file for file in files if _is_picture(file)]
        found += [Labelled(file, folder.name, split) for file in pictures]
        others += [file.name for file in files if not _is_picture(file)]
        if not pictures:
            empty.append(folder.name)
    if not found:
        raise FileNotFoundError(
            f"{place} has no pictures, of those that end in {', '.join(ENDINGS)}. Expected {ARRANGE.format(place)}."
        )
    if empty:
        raise ValueError(f"{place}: class folders without pictures: {some(empty)}. Fill or remove them.")
    return found, others


def _left_out(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"Not used, being no pictures of a class ({len(names)}): {some(names)}."]


def _from_csv(table: Path) -> list[Labelled]:
    found: list[Labelled] = []
    wrong: dict[str, list[str]] = {"label": [], "split": [], "file": []}
    try:
        with table.open(newline="", encoding="utf-8-sig") as text:
            rows = csv.DictReader(text)
            columns = [name.strip() for name in rows.fieldnames or []]
            if not {"file", "label"} <= set(columns):
                raise ValueError(
                    f"expected the columns file,label and perhaps split in its first line, separated by commas, "
                    f"received {some(columns) or 'nothing'}"
                )
            rows.fieldnames = columns
            for row in rows:
                name, label, split = ((row.get(key) or "").strip() for key in ("file", "label", "split"))
                file = table.parent / name
                if not label:
                    wrong["label"].append(f"line {rows.line_num}")
                if "split" in columns and split.lower() not in SPLITS:
                    wrong["split"].append(f"{split!r} in line {rows.line_num}")
                if not name or not file.is_file():
                    wrong["file"].append(f"{name or 'nothing'} in line {rows.line_num}{_closest(file) if name else ''}")
                found.append(Labelled(file, label, SPLITS.get(split.lower(), "")))
    except (ValueError, csv.Error) as error:  # a text in another encoding is a ValueError too
        raise ValueError(f"{table} cannot be read: {error}. Save it as CSV in UTF-8.") from error
    if wrong["file"]:
        raise FileNotFoundError(
            f"{table} names {len(wrong['file'])} files that are not there: {some(wrong['file'])}. Names count from "
            f"{table.parent}: correct or remove them."
        )
    if wrong["label"]:
        raise ValueError(f"{table}: expected a label in every line, received none in {some(wrong['label'])}: add it.")
    if wrong["split"]:
        raise ValueError(f"{table}: expected train, valid or test as split, received {some(wrong['split'])}.")
    twice = [file for file, count in Counter(entry.file for entry in found).items() if count > 1]
    if twice:
        raise ValueError(f"{table} names files more than once: {some(twice)}. Keep one line of each.")
    if not found:
        raise FileNotFoundError(f"{table} names no pictures: add a line for each.")
    return found
