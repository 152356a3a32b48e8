"""One system's ResNet in a process of its own, see `network_worker.py`.

python benchmarks/resnet_worker.py --system escnn --network resnet44 --batch 32
"""

import argparse
import warnings

import resnets
import torch
from network_worker import serve


def main() -> None:
    """Serve the network asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=resnets.SYSTEMS, required=True)
    parser.add_argument("--network", choices=resnets.NETWORKS, required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*breaks the exact symmetry")  # 32 pixels are not on the grid
    serve(
        lambda: resnets.import_package(options.system),
        lambda: resnets.build(options.system, resnets.NETWORKS[options.network]),
        lambda net: resnets.Training(net, options.batch),
        threads=options.threads,
        facts=resnets.convolution_gflops,
    )


if __name__ == "__main__":
    main()
