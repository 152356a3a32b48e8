"""A `Sequential` that checks field types when it is built."""

from torch import nn
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _BatchNorm

from pdoconv.fields import FieldType
from pdoconv.nn.activation import require_pointwise

MIXES_CHANNELS = (nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.GLU)
_MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
_ACTIVATIONS = (getattr(activation, name) for name in activation.__all__ if name not in ("MultiheadAttention", "GLU"))
BY_CHANNEL = (*_ACTIVATIONS, *_MAXIMA)


class Sequential(nn.Sequential):
    """`torch.nn.Sequential` whose layers must fit: the `out_type` of one is the `in_type` of the next typed one.

    Plain tensors carry no type, so 32 channels of C8 would pass for 32 channels of C4 in a plain `nn.Sequential`.
    Activations and untyped modules without parameters (dropout, pooling) pass a type on; others end the check until
    the next typed layer. Activations and max pooling of single channels are refused behind fields whose channels the
    group mixes, torch's BatchNorm behind fields of several channels, in plain containers too. What else an untyped
    layer does to the symmetry, such as an `nn.Conv2d` in between, is not seen here: `equivariance_error` measures it.

    Raises:
        ValueError: If two neighbours do not fit, or a module breaks the symmetry of the fields that it gets.
    """

    def __init__(self, *modules: nn.Module) -> None:
        """Keep the modules (or an `OrderedDict` of them) and check their types."""
        super().__init__(*modules)
        known: FieldType | None = None
        self.in_type: FieldType | None = None
        for position, module in enumerate(self):
            wanted = getattr(module, "in_type", None)
            if wanted is None:
                for part in module.modules():  # of a plain container too
                    if hasattr(part, "in_type"):
                        known = None
                    elif isinstance(part, _BatchNorm) and known is not None and known.channels > known.fields:
                        raise ValueError(
                            f"Sequential: module {position} ({type(part).__name__}) has statistics of every channel, "
                            f"which breaks the symmetry of {known} once trained: use pdoconv.BatchNorm2d (1d, 3d)."
                        )
                    elif isinstance(part, BY_CHANNEL) and known is not None:
                        require_pointwise(known, part, f"Sequential: module {position} ({type(part).__name__})")
                    elif isinstance(part, MIXES_CHANNELS) or next(part.parameters(recurse=False), None) is not None:
                        known = None
                continue
            if known is not None and wanted != known:
                raise ValueError(
                    f"Sequential: module {position} ({type(module).__name__}) expects {wanted}, the layer before it "
                    f"gives {known}. Make both of one group, with the same kinds of fields and as many."
                )
            if position == 0:
                self.in_type = wanted
            known = getattr(module, "out_type", None)
        self.out_type = known
