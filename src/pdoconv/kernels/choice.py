"""Which way a layer computes its convolution, and what each way costs."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from pdoconv.fields import FieldType
from pdoconv.filters import Filters
from pdoconv.kernels import native, ops, triton_cuda
from pdoconv.kernels.plan import Plan, derivatives_plan, fourier_plan

Method = Literal["auto", "dense", "derivatives", "fourier"]
METHODS = get_args(Method)


@dataclass(frozen=True)
class Fast:
    """A fast way for one layer.

    Attributes:
        plan: Number of the plan, for the operators.
        work: Its work a pixel, in multiplications of the dense kernel's speed.
        dense_work: The dense kernel's multiplications a pixel.
        start: Its work a call, whatever the number of pixels.
        dense_start: The dense kernel's.
    """

    plan: int
    work: float
    dense_work: float
    start: float
    dense_start: float

    def wins(self, pixels: int) -> bool:
        """Tell whether it is safely faster than the dense kernel, for this many pixels of the batch."""
        return pixels * self.work + self.start < MARGIN * (pixels * self.dense_work + self.dense_start)


MARGIN = 0.85  # the model is right within some 15% where the two are close


def fast(method: Method, filters: Filters, in_type: FieldType, out_type: FieldType, size: int) -> Fast | None:
    """Return the fast way of a method, for `"auto"` the one with the least work; `None` for `"dense"`.

    Raises:
        ValueError: If the method is unknown or not possible with these filters.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, received {method!r}.")
    if method == "dense":
        return None
    arguments = (filters, in_type.group, size, in_type.kind, out_type.kind)
    plan = derivatives_plan(*arguments) if method == "derivatives" else fourier_plan(*arguments)
    if plan is None:
        if method == "auto":
            return None
        raise ValueError(
            f"method='fourier' needs filters whose span {in_type.group} maps to itself, received {filters!r}: "
            f"use 'auto', 'derivatives' or 'dense'."
        )
    return Fast(ops.number_of(plan), *_work(plan, in_type.fields, out_type.fields), *_start(plan, in_type, out_type))


def _work(plan: Plan, in_fields: int, out_fields: int) -> tuple[float, float]:
    r"""Return the work a pixel of a plan, and of the dense kernel.

    Products run at nine tenths of the dense kernel's speed. Terms of the sparse steps cost more than a multiplication
    of a product, because they wait for memory: measured on an x86 core with 512-bit vectors, see `docs/design`.
    """
    products = in_fields * out_fields * sum(b.copies * b.outs * b.ins for b in plan.blocks) / 0.9
    *early, last = (len(table.sources) for table in plan.passes)
    n_in, n_out = plan.enter.inputs, plan.leave.rows
    stencils = n_in * (1.6 * last + 4.5 * sum(early)) + 4 * len(plan.couple.sources) + 4 * len(plan.enter.sources)
    taps = plan.stencils[0].size
    return products + in_fields * stencils + 3 * out_fields * len(plan.leave.sources), (
        taps * n_in * n_out * in_fields * out_fields
    )


def _start(plan: Plan, in_type: FieldType, out_type: FieldType) -> tuple[float, float]:
    """Return the work a call of a plan, and of the dense kernel: turning the weights, and the calls themselves."""
    pairs, order = in_type.fields * out_type.fields, in_type.group.order
    relative = order if in_type.kind == out_type.kind == "regular" else 1
    basis, taps = plan.coordinates.shape[1], plan.stencils[0].size
    fast = pairs * plan.entries * (relative * basis + 30)
    return fast + 8e6, pairs * relative * basis * order * taps + 30 * pairs * relative * order * taps + 4e6


def native_available() -> bool:
    """Tell whether the CPU kernel can be used; the first call may compile it."""
    return native.library() is not None


def triton_available() -> bool:
    """Tell whether the CUDA kernels can be used; the first call imports triton."""
    return triton_cuda.available()


for _answer in (native_available, triton_available):
    # as torch.compiler.assume_constant_result does, which first imports torch._dynamo, and with it triton
    _answer._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=32)
def warn_once(reason: str) -> None:
    """Warn that a method asked for by name runs without its fast kernel, once for each reason."""
    warnings.warn(f"pdoconv: {reason}: the result is the same, only slower.", RuntimeWarning, stacklevel=4)
