"""Take reparametrisations of weights away, and say what else of the old weights the twin does not keep."""

from torch import nn
from torch.nn.utils import parametrize


def plain_weights(net: nn.Module) -> dict[str, str]:
    """Make plain parameters of reparametrised ones, such as by `weight_norm`, in place; return notes by path."""
    notes = {}
    for path, part in list(net.named_modules()):
        if parametrize.is_parametrized(part):
            for name, kinds in part.parametrizations.items():
                part.register_buffer(f"plain {name}", getattr(part, name).detach().clone())
                text = ", ".join(type(one).__name__.strip("_") for one in kinds)
                notes[path] = f"the parametrisation of its {name} by {text} is not kept"
            names = list(part.parametrizations)
            part.__class__ = parametrize.type_before_parametrizations(part)  # torch's own removal changes the original
            del part.parametrizations
            for name in names:
                setattr(part, name, nn.Parameter(part._buffers.pop(f"plain {name}")))
        for number, hook in list(part._forward_pre_hooks.items()):
            kind = type(hook).__name__
            if kind in ("WeightNorm", "SpectralNorm") and type(hook).__module__.startswith("torch.nn.utils"):
                hook.remove(part)
                del part._forward_pre_hooks[number]
                notes[path] = f"the parametrisation of its {hook.name} by {kind} is not kept"
    frozen = [path for path, p in net.named_parameters() if not p.requires_grad]
    if frozen:
        notes[""] = f"{len(frozen)} frozen parameters, {frozen[0]} the first: new layers in their places learn"
    owners: dict[int, str] = {}
    parts = dict(net.named_modules())  # each module once
    for path, part in parts.items():
        for name, p in part.named_parameters(recurse=False):
            first = owners.setdefault(id(p), f"{path}.{name}")
            if first != f"{path}.{name}":
                notes[path] = f"its {name} was that of {first}: new layers have one each"
    return notes
