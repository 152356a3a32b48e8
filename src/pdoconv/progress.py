"""A progress bar for anything that takes longer than a moment."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], *, total: int, title: str) -> Iterator[T]:
    """Yield the items and show how many are done: a bar with `rich` on a terminal, otherwise a line each quarter."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        fancy = False
    else:
        fancy = Console(stderr=True).is_terminal
    if fancy:
        yield from track(items, description=title, total=total, console=Console(stderr=True))
        return
    quarter = max(1, total // 4)
    for done, item in enumerate(items, start=1):
        yield item
        if done % quarter == 0 or done == total:
            print(f"{title}: {done}/{total}", file=sys.stderr, flush=True)
