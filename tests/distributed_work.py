"""What each process of `test_distributed` computes with its share of the batch."""

import copy
import pickle
from datetime import timedelta
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

import pdoconv as pdo
from pdoconv.nn import normalise
from pdoconv.nn.ranks import Ranks

P4, P8, D4 = pdo.cyclic(4), pdo.cyclic(8), pdo.dihedral(4)
MIXED = P8.regular(2) + P8.irrep(1, 2) + P8.vector(1) + P8.trivial(2)
RING = [[False, True, True, False], [True, True, True, True], [True, True, False, True]]
BATCH, FORMATS = 8, {"contiguous": torch.contiguous_format, "last": torch.channels_last}
SHARES = {"halves": (4, 4), "unequal": (5, 3), "empty": (8, 0)}
LAYERS = {
    "p4": (partial(pdo.BatchNorm2d, P4.regular(3)), (12, 3, 4)),
    "p8": (partial(pdo.BatchNorm2d, P8.regular(2)), (16, 3, 4)),
    "D4": (partial(pdo.BatchNorm2d, D4.regular(2)), (16, 3, 4)),
    "mixed": (partial(pdo.BatchNorm2d, MIXED), (MIXED.channels, 3, 4)),
    "vectors": (partial(pdo.BatchNorm2d, D4.vector(3)), (6, 3, 4)),
    "line": (partial(pdo.BatchNorm1d, pdo.reflection().regular(3)), (6, 9)),
    "space": (partial(pdo.BatchNorm3d, pdo.octahedral().regular(1)), (24, 2, 3, 2)),
    "domain": (partial(pdo.nn.DomainBatchNorm2d, MIXED, RING), (MIXED.channels, 3, 4)),
    "magnitude": (partial(pdo.nn.MagnitudeBatchNorm2d, P8.irrep(1, 3)), (6, 3, 4)),
    "plain 1d": (partial(nn.BatchNorm1d, 5), (5,)),
    "plain line": (partial(nn.BatchNorm1d, 5), (5, 7)),
    "plain 2d": (partial(nn.BatchNorm2d, 5), (5, 3, 4)),
    "plain 3d": (partial(nn.BatchNorm3d, 5), (5, 3, 2, 2)),
    "cumulative": (partial(pdo.BatchNorm2d, P4.regular(3), momentum=None), (12, 3, 4)),
    "not affine": (partial(pdo.BatchNorm2d, P4.regular(3), affine=False), (12, 3, 4)),
    "not tracking": (partial(pdo.BatchNorm2d, P4.regular(3), track_running_stats=False), (12, 3, 4)),
}


class WithoutBetween(Ranks):
    """The mean of the variances, without the variance of the means."""

    def merged(self, mean, var, values):
        mean, _, total = super().merged(mean, var, values)
        return mean, self.sum(values * var) / total, total


class Unweighted(Ranks):
    """Every process counts alike, whatever the size of its batch."""

    def merged(self, mean, var, values):
        mean, var, _ = super().merged(mean, var, 1)
        return mean, var, self.sum(mean.new_tensor(float(values)))


class LocalGradients(Ranks):
    """Statistics of all, but no gradient through those of the others."""

    def merged(self, mean, var, values):
        return Ranks().merged(mean, var, values)

    def sum(self, x):
        return x


WRONG = {"without between": WithoutBetween(), "unweighted": Unweighted(), "local gradients": LocalGradients()}


def copied(layer, x, cotangent):
    """Names of the operations in forward and backward that copy a tensor as large as `x`."""
    x = x.detach().requires_grad_()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as found:
        layer(x).backward(cotangent)
    large = [e.name for e in found.events() if any(torch.Size(s).numel() >= x.numel() for s in e.input_shapes if s)]
    assert any("batch_norm" in name for name in large)
    return [name for name in large if name in ("aten::copy_", "aten::clone", "aten::_to_copy", "aten::contiguous")]


def layer_of(name, dtype=torch.float64):
    """The layer with drawn parameters, and inputs and cotangents whose channels and rows differ in mean and scale."""
    torch.manual_seed(1)
    make, shape = LAYERS[name]
    layer = make().to(dtype)
    for p in layer.parameters():
        nn.init.uniform_(p, 0.5, 1.5)
    x, cotangent = torch.randn(2, BATCH, *shape, dtype=torch.float64).to(dtype)
    spread = torch.linspace(0.5, 2, x[0].numel()).view(x.shape[1:]).to(dtype)
    return layer, (x + torch.arange(BATCH).view(-1, *[1] * len(shape))) * spread, cotangent


def twice(layer, x, cotangent):
    """Output, gradients of first and second order and buffers after two steps, the second on other values."""
    layer(x.square())
    x = x.detach().requires_grad_()
    y = layer(x)
    (dx,) = torch.autograd.grad((y * cotangent).sum(), x, retain_graph=True)
    (y * cotangent).sum().backward(inputs=list(layer.parameters()) or [x])
    found = {"y": y.detach(), "x": dx, **{name: p.grad for name, p in layer.named_parameters()}}
    x = x.detach().requires_grad_()
    (dx,) = torch.autograd.grad((layer(x) * cotangent).sum(), x, create_graph=True)
    (found["second"],) = torch.autograd.grad(dx.square().sum(), x)
    return found | {name: b.clone() for name, b in layer.named_buffers()}


def share(x, sizes, rank):
    return x[: sizes[0]] if rank == 0 else x[sizes[0] :]


def of_layers(rank):
    """What this process finds, for every layer, share of the batch, memory format and wrong layer."""
    found = {}
    for name in LAYERS:
        plain, x, cotangent = layer_of(name)
        for (size, sizes), (form, memory) in ((s, f) for s in SHARES.items() for f in FORMATS.items()):
            if form == "contiguous" or x.dim() == 4:
                own = [share(t, sizes, rank).contiguous(memory_format=memory) for t in (x, cotangent)]
                found[name, size, form] = twice(pdo.nn.synchronise(copy.deepcopy(plain)), *own)
        for size in ("unequal", "empty"):
            own = [share(t, SHARES[size], rank) for t in (x, cotangent)]
            with pytest.MonkeyPatch.context() as patch:  # as on other devices and under torch.compile
                patch.setattr(normalise, "fits", lambda x: False)
                found[name, size, "composed"] = twice(pdo.nn.synchronise(copy.deepcopy(plain)), *own)
        own = [share(t, SHARES["unequal"], rank) for t in (x, cotangent)]
        found[name, "unequal", "apart"] = twice(copy.deepcopy(plain), *own)
        for wrong, ranks in WRONG.items():
            layer = pdo.nn.synchronise(copy.deepcopy(plain))
            for part in layer.modules():
                if hasattr(part, "ranks"):
                    part.ranks = ranks
            found[name, "unequal", wrong] = twice(layer, *own)
    return found


def net_of(name, dtype):
    torch.manual_seed(2)
    if name == "resnet":
        net = pdo.models.PreActResNet(P4, widths=(2, 3), units=1, classes=3, kernel_size=3)
    else:
        layers = [pdo.PDOConv2d(P8.trivial(3), MIXED, 3, padding=1, bias=False), pdo.BatchNorm2d(MIXED)]
        layers += [pdo.nn.NormActivation(MIXED), pdo.PDOConv2d(MIXED, P8.regular(2), 5, bias=False)]
        layers += [nn.BatchNorm2d(16), nn.ReLU(), pdo.nn.GroupPool(P8.regular(2)), nn.Flatten(), nn.Linear(50, 3)]
        net = nn.Sequential(*layers)
    return net.to(dtype)


def three_steps(net, dtype, share, run=None):
    """Train on a share of three batches of 8 images; the state."""
    generator, run = torch.Generator().manual_seed(3), run or net
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    for _ in range(3):
        x, y = torch.randn(8, 3, 9, 9, generator=generator), torch.randint(3, (8,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(run(x[share].to(dtype)), y[share]).backward()
        optimizer.step()
    return get_model_state_dict(net, options=StateDictOptions(full_state_dict=True))


def of_networks(rank):
    """The state after three steps of each network, wrapped and sharded in turn, and with layers apart."""
    found, mesh, own = {}, init_device_mesh("cpu", (2,)), slice(rank, None, 2)
    for name, dtype in ((n, d) for n in ("resnet", "mixed") for d in (torch.float64, torch.float32)):
        net = pdo.nn.synchronise(net_of(name, dtype))
        found[name, dtype, "ddp"] = three_steps(net, dtype, own, DistributedDataParallel(net))
        net = net_of(name, dtype)
        found[name, dtype, "apart"] = three_steps(net, dtype, own, DistributedDataParallel(net))
        net = pdo.nn.synchronise(net_of(name, dtype))
        for part in net.modules():
            if isinstance(part, pdo.nn.GroupConv | pdo.nn.BatchNorm):
                fully_shard(part, mesh=mesh)
        fully_shard(net, mesh=mesh)
        assert all(isinstance(p, DTensor) for p in net.parameters())
        found[name, dtype, "fsdp"] = three_steps(net, dtype, own)
    return found


def of_one_layer(rank):
    """What is not one number: bfloat16, copies, groups of one process, eval mode, a batch empty on all."""
    layer, x, cotangent = layer_of("p8", torch.float32)
    synchronised, found = pdo.nn.synchronise(copy.deepcopy(layer)), {}
    own = [share(t, SHARES["unequal"], rank) for t in (x, cotangent)]
    with torch.autocast("cpu", torch.bfloat16):
        found["bfloat16"] = twice(copy.deepcopy(synchronised), *(t.bfloat16() for t in own))
        last = [t.bfloat16().contiguous(memory_format=torch.channels_last) for t in own]
        found["copies"] = [copied(copy.deepcopy(synchronised), *ts) for ts in (last, [t.contiguous() for t in last])]
    alone = [dist.new_group([r]) for r in range(2)]
    apart = pdo.nn.synchronise(copy.deepcopy(layer), alone[rank])
    found["alone"] = [twice(copy.deepcopy(one), *own) for one in (apart, copy.deepcopy(apart), layer)]
    with pytest.raises(ValueError, match="this process is in"):
        pdo.nn.synchronise(layer, alone[1 - rank])
    with pytest.raises(ValueError, match="A process group cannot be stored"):
        pickle.dumps(apart)
    found["eval"] = [{"y": copy.deepcopy(one).eval()(own[0])} for one in (synchronised, layer)]
    before = copy.deepcopy(synchronised.state_dict())
    y = synchronised(x[:0].requires_grad_())
    y.sum().backward()
    after = synchronised.state_dict()
    found["nothing"] = y.shape == x[:0].shape and all(torch.equal(after[k], v) for k, v in before.items())
    return found


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", timedelta(seconds=60), world_size=2, rank=rank)
    try:
        found = {"layers": of_layers(rank), "networks": of_networks(rank), "one": of_one_layer(rank)}
        torch.save(found, folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
