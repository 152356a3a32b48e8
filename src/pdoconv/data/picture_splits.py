"""Which of a user's pictures are for training, validation and the test, and whether some are for two of these."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pdoconv.data.files import file_hash
from pdoconv.data.picture_folders import Labelled, some
from pdoconv.progress import progress

VALID, TEST = 0.1, 0.2  # shares of each class where no split is given
TITLES = {"train": "training", "valid": "validation", "test": "test"}

Part = tuple[tuple[Path, int], ...]


def divide(
    place: Path, found: Sequence[Labelled], classes: Sequence[str], seed: int
) -> tuple[dict[str, Part], list[str]]:
    """Return files and labels for `"train"`, `"valid"` and `"test"`, and sentences about what was drawn at random.

    A given split is kept. Without one each class is divided by the shares above; where only the validation pictures are
    not given they come from the training pictures.

    Raises:
        ValueError: If a class has too few pictures, or a given split has none for training or for the test.
    """
    counts = Counter(entry.split for entry in found)
    if not counts[""] and not (counts["train"] and counts["test"]):
        raise ValueError(
            f"{place}: expected pictures for training and for the test, received {counts['train']} and "
            f"{counts['test']}: name some in the split, or leave the split out."
        )
    source = "" if counts[""] else "train"  # what is divided, if anything
    shares = {"valid": VALID, "test": TEST}
    if source:
        shares = {} if counts["valid"] else {"valid": VALID / (1 - TEST)}
    by_class: dict[str, dict[str, list[Path]]] = {name: defaultdict(list) for name in classes}
    for entry in found:
        by_class[entry.label][entry.split].append(entry.file)
    few = [name for name in classes if len(by_class[name][source]) <= len(shares)]
    if few:
        uses = ", ".join(["training", *(TITLES[part] for part in shares)])
        kind = "training pictures" if source else "pictures"
        raise ValueError(
            f"{place}: expected {len(shares) + 1} or more {kind} of each class, one for each use ({uses}), received "
            f"{some(f'{len(by_class[name][source])} of {name}' for name in few)}: add pictures, or leave the class out."
        )
    parts: dict[str, list[tuple[Path, int]]] = {part: [] for part in TITLES}
    for label, name in enumerate(classes):
        files = by_class[name].pop(source)
        order = np.random.Generator(np.random.PCG64([seed, label])).permutation(len(files))
        drawn, start = ["train"] * len(files), 0
        for part, share in shares.items():
            stop = start + max(1, round(share * len(files)))
            for k in order[start:stop]:
                drawn[k] = part
            start = stop
        for file, part in zip(files, drawn, strict=True):
            parts[part].append((file, label))
        for part, given in by_class[name].items():
            parts[part] += [(file, label) for file in given]
    notes = []
    if shares:
        what = "No validation pictures were given" if source else "No split was given"
        sizes = ", ".join(f"{len(part)} for {TITLES[name]}" for name, part in parts.items())
        notes.append(f"{what}: {sizes}, drawn from each class by seed {seed}.")
    untested = set(range(len(classes))) - {label for _, label in parts["test"]}
    if untested:
        notes.append(f"Classes without test pictures: {some(classes[label] for label in sorted(untested))}.")
    return {name: tuple(part) for name, part in parts.items()}, notes


def copies(parts: dict[str, Part]) -> list[str]:
    """Count validation and test pictures that have the same bytes as a training picture."""
    lengths: dict[int, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for name, part in parts.items():
        for file, _ in part:
            lengths[file.stat().st_size][name].append(file)
    alike = [same for same in lengths.values() if "train" in same and len(same) > 1]
    files = [file for same in alike for part in same.values() for file in part]
    if not files:
        return []
    hashes = {file: file_hash(file, "sha256") for file in progress(files, total=len(files), title="comparing files")}
    trained = {hashes[file]: file for same in alike for file in same["train"]}
    notes = []
    for name, title in (("valid", "validation"), ("test", "test")):
        found = [file for same in alike for file in same.get(name, []) if hashes[file] in trained]
        if found:
            pairs = some(f"{file} of {trained[hashes[file]]}" for file in found)
            notes.append(
                f"Warning: {len(found)} of {len(parts[name])} {title} pictures are copies of training pictures, so "
                f"that the {title} error will look better than it is: {pairs}. Remove the copies."
            )
    return notes
