"""Time a start in this process, which must be a fresh one; prints one JSON object, in seconds.

python benchmarks/start_worker.py network --system auto            imports, construction, first step
python benchmarks/start_worker.py layer --system auto --group C8   imports, first layer and its first output
"""

import argparse
import json
import os
import time

SYSTEMS = ("auto", "dense", "plain", "escnn", "e2cnn")
SIDES = {2: 32, 3: 9}
FIELDS = 8


def first_layer(system: str, name: str, dim: int, order: int) -> None:
    """Make a 5x5 (in space 5x5x5) layer between 8 regular fields and apply it to one map."""
    import torch

    if system == "plain":
        conv = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dim]
        layer = conv(FIELDS * order, FIELDS * order, 5, padding=2)
    elif system in ("auto", "dense"):
        import pdoconv as pdo

        field = pdo.group(name, dim=dim).regular(FIELDS)
        layer = {2: pdo.PDOConv2d, 3: pdo.PDOConv3d}[dim](field, field, 5, padding=2, method=system)
    else:
        return _first_peer(system, name, dim, order)
    layer(torch.randn(1, FIELDS * order, *[SIDES[dim]] * dim))


def _first_peer(system: str, name: str, dim: int, order: int) -> None:
    import torch
    from peer_packages import load

    spaces, lib = load(f"{system}.gspaces"), load(f"{system}.nn")
    if dim == 3:
        space = {"O": spaces.octaOnR3, "I": spaces.icoOnR3}[name]()
    else:
        makers = {"escnn": ("rot2dOnR2", "flipRot2dOnR2"), "e2cnn": ("Rot2dOnR2", "FlipRot2dOnR2")}[system]
        space = getattr(spaces, makers[name.startswith("D")])(int(name[1:]))
    field = lib.FieldType(space, FIELDS * [space.regular_repr])
    layer = {2: "R2Conv", 3: "R3Conv"}[dim]
    conv = getattr(lib, layer)(field, field, kernel_size=5, padding=2)
    conv(lib.GeometricTensor(torch.randn(1, FIELDS * order, *[SIDES[dim]] * dim), field))


def main() -> None:
    """Time each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("network", "layer"))
    parser.add_argument("--system", choices=SYSTEMS, required=True)
    parser.add_argument("--group", default="C8")
    parser.add_argument("--dim", type=int, default=2)
    parser.add_argument("--order", type=int, default=8, help="of the group")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--fields-scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print too
    seconds: dict[str, float] = {}
    last = time.perf_counter()

    def done(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[name] = now - last
        last = now

    import torch

    done("import_torch")
    if options.threads:
        torch.set_num_threads(options.threads)
    import tutorial_network

    last = time.perf_counter()
    tutorial_network.import_package(options.system)
    done("import_package")
    if options.what == "layer":
        first_layer(options.system, options.group, options.dim, options.order)
        done("first_layer")
    else:
        net = tutorial_network.build(options.system, options.order, options.fields_scale)
        done("construction")
        training = tutorial_network.Training(net, options.batch)
        done("optimizer")
        training.step()
        done("first_step")
    print(json.dumps(seconds), file=out, flush=True)


if __name__ == "__main__":
    main()
