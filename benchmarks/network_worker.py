"""One system in a process of its own: builds a network, then answers commands, one JSON object a line.

    python benchmarks/network_worker.py --system escnn --order 8 --batch 64

First comes what building took. Then each of the lines `step`, `eval`, `memory` on standard input is answered; `quit`
ends it. After the first `eval` there are no more steps.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

import torch
import tutorial_network
from common import forget_peak, memory


def answers() -> object:
    """Return standard output, and send what libraries print elsewhere."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lines


def warm_up() -> None:
    """Use torch once, so that its own first use is not counted as the network's memory."""
    layer = torch.nn.Conv2d(1, 1, 3)
    layer(torch.randn(1, 1, 8, 8)).sum().backward()


class Training(Protocol):
    """A network with its data."""

    def step(self) -> None:
        """Make one step."""

    def infer(self) -> None:
        """Go forward alone."""


def serve(
    prepare: Callable[[], object],
    build: Callable[[], torch.nn.Module],
    train: Callable[[torch.nn.Module], Training],
    *,
    threads: int,
    facts: Callable[[torch.nn.Module], dict[str, float]] = lambda net: {},
) -> None:
    """Import what the system needs, build its network, and answer commands; `facts` are told with the first answer."""
    out = answers()

    def answer(**values: object) -> None:
        print(json.dumps(values), file=out, flush=True)

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warm_up()
    prepare()
    before, _ = memory()
    start = time.perf_counter()
    net = build()
    seconds = time.perf_counter() - start
    built = memory()[1] - before
    parameters = sum(p.numel() for p in net.parameters())
    known = facts(net)
    forgotten = forget_peak()
    training = train(net)
    answer(construction_seconds=seconds, parameters=parameters, construction_mb=built, **known)
    for line in sys.stdin:
        command = line.strip()
        if command == "quit":
            break
        if command == "eval" and net.training:
            with torch.no_grad():  # the peers expand their filters here
                net.eval()
            training.infer()
        if command == "memory":
            after = memory()[1] - before
            answer(peak_mb=max(built, after), **({"training_mb": after} if forgotten else {}))
            continue
        call = {"step": training.step, "eval": training.infer}[command]
        start = time.perf_counter()
        call()
        answer(seconds=time.perf_counter() - start)


def main() -> None:
    """Serve the tutorial's network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=tutorial_network.SYSTEMS, required=True)
    parser.add_argument("--order", type=int, default=8, help="of the cyclic group")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--fields-scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    serve(
        lambda: tutorial_network.import_package(options.system),
        lambda: tutorial_network.build(options.system, options.order, options.fields_scale),
        lambda net: tutorial_network.Training(net, options.batch),
        threads=options.threads,
    )


if __name__ == "__main__":
    main()
