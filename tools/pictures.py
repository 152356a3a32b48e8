"""Make the pictures of the documentation: `python tools/pictures.py [NAME...] [--folder docs/pictures]`.

One function a picture, from committed code, files in `results/`, and data that come with the repository.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from drawing import evolutions, fields, filters, hero, laws, rings

from pdoconv.progress import progress

PICTURES: dict[str, Callable[[Path], None]] = {
    "hero": hero.hero,
    "law": laws.law,
    "equivariance-ring": rings.equivariance_ring,
    "derivative-stencils": filters.derivative_stencils,
    "turned-filter": filters.turned_filter,
    "error-over-frequency": filters.error_over_frequency,
    "groups": fields.groups,
    "kinds-of-fields": fields.kinds_of_fields,
    "evolutions": evolutions.evolutions,
    "invariant-maps": evolutions.invariant_maps,
    "misprinted-row": evolutions.misprinted_row,
}
"""Function of each picture; the file is `NAME.png`."""


def main() -> None:
    """Make the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="pictures to make; all if none is named")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "docs" / "pictures")
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in PICTURES:
            parser.error(f"unknown picture {name!r}: expected some of {', '.join(PICTURES)}")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    names = chosen.names or list(PICTURES)
    for name in progress(names, total=len(names), title="drawing"):
        torch.manual_seed(0)
        PICTURES[name](chosen.folder / f"{name}.png")


if __name__ == "__main__":
    main()
