r"""Learn the coefficients of a `LearnedPDE` from pairs of images: in time step by step at first, then all at once.

The objective is that of Liu, Lin, Zhang, Tang, Su (2010, 2013), with outputs O, targets T and coefficients a, b:

$$J = \tfrac12 \sum \int (O(x, 1) - T(x))^2\, dx + \tfrac{\lambda}2 \sum_j \int_0^1 a_j^2 + b_j^2\, dt.$$

Its gradient comes from autograd through the steps, which is the exact adjoint of the discrete evolution;
`LearnedPDE(checkpoint=True)` keeps one state a step for it.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pdoconv.pde.blowup import BlowUpError
from pdoconv.pde.greedy import CHUNK, greedy, inner, require_pairs
from pdoconv.pde.learned import LearnedPDE
from pdoconv.progress import progress

METHODS = ("lbfgs", "adam")
LARGE = 1e12  # what J is scaled to at first: torch's L-BFGS learns nothing from products of differences below 1e-10


def objective(
    model: LearnedPDE,
    images: Tensor,
    targets: Tensor,
    *,
    indicator: Tensor | None = None,
    known: Tensor | None = None,
    penalty: float = 1e-7,
    crop: int = 0,
) -> Tensor:
    """Return J, a tensor without axes.

    Args:
        model: The PDE.
        images: `(batch, channels, H, W)`.
        targets: What they are to become, likewise.
        indicator: Indicators at the start; default as in `LearnedPDE.forward`.
        known: Pixels that stay, likewise.
        penalty: The weight of squared coefficients, for all of them.
        crop: Pixels at the border that do not count.

    Raises:
        ValueError: If an argument is out of range, or targets are not like the images.
        BlowUpError: If the evolution blows up.
    """
    require_pairs("objective", images, targets, crop)
    outputs = model(images, indicator, known=known)
    return inner(outputs - targets, crop).square().sum() / 2 + _size(model, penalty)


def fit(
    model: LearnedPDE,
    images: Tensor,
    targets: Tensor,
    *,
    indicator: Tensor | None = None,
    known: Tensor | None = None,
    method: str = "lbfgs",
    iterations: int = 100,
    penalty: float = 1e-7,
    crop: int = 0,
    initialise: bool = True,
    constant: bool = False,
    learning_rate: float = 1e-3,
    chunk: int | None = None,
) -> list[float]:
    """Find all parameters that make J small, from all pairs at once. Show progress on stderr.

    A blow-up counts as an infinite J. The model ends with the best parameters found, which are no worse than those it
    began with. Use `model.double()`: line searches need the digits.

    Args:
        model: The PDE; its parameters are replaced.
        images: `(batch, channels, H, W)`.
        targets: What they are to become, likewise.
        indicator: Indicators at the start; default as in `LearnedPDE.forward`.
        known: Pixels that stay, likewise.
        method: `"lbfgs"`, with a line search for the strong Wolfe conditions, or `"adam"`.
        iterations: Number of iterations at most; L-BFGS ends early where it gets no further.
        penalty: The weight of squared coefficients, for all of them.
        crop: Pixels at the border that do not count.
        initialise: Begin with what `greedy` finds, if that is better than the parameters the model has.
        constant: Take the same parameters in all steps: a PDE whose coefficients do not depend on time.
        learning_rate: Of Adam, for coefficients in units of the image's rate.
        chunk: Images that are evolved at a time, to bound the memory; default all. The gradient is the same.

    Returns:
        J at the start and after every iteration.

    Raises:
        ValueError: If an argument is out of range, or targets are not like the images.
        BlowUpError: If the evolution blows up with the parameters that the model has.

    >>> model = LearnedPDE(steps=2).double()
    >>> images = torch.rand(2, 1, 12, 12, dtype=torch.float64)
    >>> history = fit(model, images, images / 2, iterations=1)
    >>> history[-1] < history[0] / 10
    True
    """
    require_pairs("fit", images, targets, crop)
    if method not in METHODS:
        raise ValueError(f"fit: method must be one of {', '.join(METHODS)}, received {method!r}.")
    if iterations < 0 or not 0 <= penalty < math.inf or not learning_rate > 0 or (chunk is not None and chunk < 1):
        raise ValueError(
            f"fit: expected iterations >= 0, penalty >= 0, learning_rate > 0 and chunk >= 1, received {iterations}, "
            f"{penalty}, {learning_rate}, {chunk}."
        )
    pairs: list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = []
    for at in range(0, len(images), chunk or len(images)):
        part = slice(at, at + (chunk or len(images)))
        mask = known if known is None or len(known) == 1 else known[part]  # one may hold for all
        pairs.append((images[part], targets[part], None if indicator is None else indicator[part], mask))

    def evaluate() -> float:
        """Return J and leave its gradient in the parameters; infinity if the evolution blows up."""
        model.zero_grad()
        total = 0.0
        try:
            with torch.enable_grad():
                for i, (image, target, rho, mask) in enumerate(pairs):
                    options = {"penalty": penalty if i == 0 else 0.0, "crop": crop}
                    j = objective(model, image, target, indicator=rho, known=mask, **options)  # type: ignore[arg-type]
                    j.backward()  # type: ignore[no-untyped-call]
                    total += float(j.detach())
        except BlowUpError:
            return math.inf
        return total if math.isfinite(total) else math.inf

    if constant:
        _level(model, list(model.parameters()))
    first = evaluate()
    if not math.isfinite(first):
        model(images, indicator, known=known)  # says where
        raise ValueError(f"fit: the objective is {first} with the parameters that the model has.")
    if initialise:
        before = [p.detach().clone() for p in model.parameters()]
        greedy(model, images, targets, indicator=indicator, known=known, crop=crop)
        if constant:
            _level(model, list(model.parameters()))
        if not evaluate() < first:
            _load(model, before)
    search = _Search(model, evaluate, _units(model, images, indicator), constant)
    history = [first]
    run = _lbfgs if method == "lbfgs" else _adam
    try:
        for value in progress(run(search, iterations, learning_rate), total=iterations, title=f"fit ({method})"):
            history.append(value)
    finally:  # also where it is interrupted
        search.finish()
    return history


class _Search:
    """Variables of an optimiser, which are the parameters in other units, and the best of all that it tried."""

    def __init__(self, model: LearnedPDE, evaluate: Callable[[], float], units: list[Tensor], constant: bool) -> None:
        self.model, self.evaluate, self.units, self.constant = model, evaluate, units, constant
        parameters = list(model.parameters())
        self.variables = [torch.nn.Parameter(p.detach() / s) for p, s in zip(parameters, units, strict=True)]
        self.best = self.ceiling = math.inf
        self.factor = 1.0
        self.kept = [v.detach().clone() for v in self.variables]
        self.slopes = [torch.zeros_like(v) for v in self.variables]
        first = self()
        self.ceiling = 1e3 * (1 + first)
        self.factor = LARGE / first if first > 0 else 1.0

    @torch.no_grad()
    def __call__(self) -> float:
        """Return J at the variables, with the gradient in them, times a factor; a large number if it is infinite."""
        if math.isfinite(self.best) and all(map(torch.equal, self.variables, self.kept)):
            found, slopes = self.best, self.slopes
        else:
            _load(self.model, [v * s for v, s in zip(self.variables, self.units, strict=True)])
            found = self.evaluate()
            slopes = [
                torch.zeros_like(p) if p.grad is None or not math.isfinite(found) else p.grad * s
                for p, s in zip(self.model.parameters(), self.units, strict=True)
            ]
            if self.constant:
                _level(self.model, slopes)  # the gradient among parameters that are alike in all steps
        if found < self.best:
            self.best, self.slopes = found, slopes
            self.kept = [v.detach().clone() for v in self.variables]
        for v, slope in zip(self.variables, slopes, strict=True):
            v.grad = slope * self.factor
        self.last = found
        return min(found, self.ceiling) * self.factor

    @torch.no_grad()
    def back(self) -> None:
        """Return to the best variables."""
        for v, kept in zip(self.variables, self.kept, strict=True):
            v.copy_(kept)

    def finish(self) -> None:
        """Give the model its best parameters."""
        _load(self.model, [v * s for v, s in zip(self.kept, self.units, strict=True)])
        self.model.zero_grad()


def _lbfgs(search: _Search, iterations: int, learning_rate: float) -> Iterator[float]:
    """Yield J after each iteration; where it gets no further, begin once more along the gradient, then end."""
    fresh = True
    optimiser = _memory(search)
    for _ in range(iterations):
        before = search.best
        optimiser.step(search)  # type: ignore[no-untyped-call]
        search.back()
        yield search.best
        if search.best < before:
            fresh = False
        elif fresh:
            return
        else:
            optimiser, fresh = _memory(search), True


def _memory(search: _Search) -> torch.optim.LBFGS:
    return torch.optim.LBFGS(
        search.variables,
        max_iter=1,
        max_eval=25,
        history_size=100,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )


def _adam(search: _Search, iterations: int, learning_rate: float) -> Iterator[float]:
    """Yield J after each step; a blow-up goes back to the best and halves the steps."""
    optimiser = torch.optim.Adam(search.variables, lr=learning_rate)
    search()
    for _ in range(iterations):
        optimiser.step()
        search()
        found = search.last
        if found == math.inf:
            search.back()
            search()
            learning_rate /= 2
            optimiser = torch.optim.Adam(search.variables, lr=learning_rate)
        yield found


@torch.no_grad()
def _units(model: LearnedPDE, images: Tensor, indicator: Tensor | None) -> list[Tensor]:
    """Return the unit of each parameter: of a coefficient what gives a rate of 1 at the start, else 1."""
    start = next(model.evolve(images[:CHUNK], None if indicator is None else indicator[:CHUNK]))
    sizes = model.invariants(0, start).square().mean((0, 2, 3)).sqrt()
    units = 1 / sizes.clamp(min=1e-4)
    return [units.expand_as(p) if p is model.coefficients else torch.ones_like(p) for p in model.parameters()]


@torch.no_grad()
def _level(model: LearnedPDE, values: list[Tensor]) -> None:
    """Take the mean over the steps, in place, of values that belong to the parameters."""
    for (name, _), value in zip(model.named_parameters(), values, strict=True):
        if name != "inward":  # all steps share it
            value.copy_(value.mean(0).expand_as(value))


@torch.no_grad()
def _load(model: LearnedPDE, values: list[Tensor]) -> None:
    for p, value in zip(model.parameters(), values, strict=True):
        p.copy_(value)


def _size(model: LearnedPDE, penalty: float) -> Tensor:
    """Return the penalty on the coefficients, integrated over time."""
    return penalty / 2 * model.time / model.steps * model.coefficients.square().sum()
