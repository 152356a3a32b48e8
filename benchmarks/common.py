"""Timing as ratios against a peer in the same run: alternate, take medians, keep the spread."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

MOST_ROUNDS = 100


def alternate(
    calls: Mapping[str, Callable[[], object]],
    *,
    title: str,
    rounds: int | None = None,
    seconds: float = 8.0,
    least: int = 5,
    warm_up: int = 3,
) -> dict[str, list[float]]:
    """Time the calls in turn, each round beginning with another one; return milliseconds by name, one a round.

    Args:
        calls: What to time; a call that returns a float has timed itself, in seconds.
        title: What progress lines begin with.
        rounds: How many rounds; default as many as fit into `seconds`.
        seconds: Time for all rounds together, if `rounds` is not given.
        least: Rounds that are made even if they take longer.
        warm_up: Rounds before, fewer if they would take too much of `seconds`.
    """
    names = list(calls)
    start = time.perf_counter()
    for _ in range(warm_up):
        for name in names:
            calls[name]()
        if rounds is None and time.perf_counter() - start > seconds / 4:
            break
    times: dict[str, list[float]] = {name: [] for name in names}
    start, done = time.perf_counter(), 0
    while done < rounds if rounds is not None else done < least or time.perf_counter() - start < seconds:
        for name in names[done % len(names) :] + names[: done % len(names)]:
            before = time.perf_counter()
            own = calls[name]()
            took = own if isinstance(own, float) else time.perf_counter() - before
            times[name].append(1e3 * took)
        done += 1
        print(f"\r{title}: round {done}", end="", file=sys.stderr, flush=True)
        if rounds is None and done == MOST_ROUNDS:
            break
    print(file=sys.stderr)
    return times


def ratio(ours: Sequence[float], peer: Sequence[float]) -> dict[str, float]:
    """Return the median over rounds of ours / peer, its quartiles, and both medians, given milliseconds."""
    each = [a / b for a, b in zip(ours, peer, strict=True)]
    low, middle, high = quartiles(each)
    return {
        "ratio": round(middle, 3),
        "quartile_low": round(low, 3),
        "quartile_high": round(high, 3),
        "ours_ms": round(statistics.median(ours), 2),
        "peer_ms": round(statistics.median(peer), 2),
        "rounds": len(each),
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the quartiles; a single value is all three."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def ratios(
    ours: Callable[[], object], peer: Callable[[], object], *, title: str, rounds: int | None = None
) -> dict[str, float]:
    """Time both in turn; return what `ratio` returns."""
    times = alternate({"ours": ours, "peer": peer}, title=title, rounds=rounds)
    return ratio(times["ours"], times["peer"])


def step(layer: nn.Module, x: torch.Tensor) -> None:
    """Go forward and back through a layer, to its weights and to its input."""
    y = layer(x)
    y.backward(torch.ones_like(y))  # in the output's own memory format, as in a network
    layer.zero_grad()
    x.grad = None


def infer(layer: nn.Module, x: torch.Tensor) -> None:
    """Go forward without a graph."""
    with torch.no_grad():
        layer(x)


def memory() -> tuple[float, float]:
    """Return this process's memory now and at most so far, in megabytes (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    now, most = (int(lines[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM"))
    return now, most


def forget_peak() -> bool:
    """Let the most that `memory` returns start anew from now; return whether the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
