"""Timing as ratios against a peer in the same run: alternate, take medians, keep the spread."""

import statistics
import sys
import time
from collections.abc import Callable


def ratios(ours: Callable[[], None], peer: Callable[[], None], *, rounds: int, title: str) -> dict[str, float]:
    """Time both in turn; return the median ratio, its quartiles, and both medians in milliseconds."""
    for _ in range(3):
        ours()
        peer()
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        pair = ((0, ours), (1, peer)) if i % 2 == 0 else ((1, peer), (0, ours))
        for which, call in pair:
            start = time.perf_counter()
            call()
            times[which].append(1e3 * (time.perf_counter() - start))
        print(f"\r{title}: {i + 1}/{rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    each = [a / b for a, b in zip(*times, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4)
    return {
        "ratio": round(middle, 3),
        "quartile_low": round(low, 3),
        "quartile_high": round(high, 3),
        "ours_ms": round(statistics.median(times[0]), 2),
        "peer_ms": round(statistics.median(times[1]), 2),
    }
