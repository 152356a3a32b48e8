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


def main() -> None:
    """Build, then answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=tutorial_network.SYSTEMS, required=True)
    parser.add_argument("--order", type=int, default=8, help="of the cyclic group")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--fields-scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    out = answers()

    def answer(**values: object) -> None:
        print(json.dumps(values), file=out, flush=True)

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    warm_up()
    tutorial_network.import_package(options.system)
    before, _ = memory()
    start = time.perf_counter()
    net = tutorial_network.build(options.system, options.order, options.fields_scale)
    seconds = time.perf_counter() - start
    built = memory()[1] - before
    forgotten = forget_peak()
    training = tutorial_network.Training(net, options.batch)
    answer(construction_seconds=seconds, parameters=sum(p.numel() for p in net.parameters()), construction_mb=built)
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


if __name__ == "__main__":
    main()
