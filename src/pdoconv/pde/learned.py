r"""Learned PDEs: fields evolve by differential invariants with coefficients that depend on time.

Liu, Lin, Zhang, Tang, Su (2010, 2013): an image O and an indicator $\rho$, which gathers global information, follow

$$O_t = \sum_j a_j(t)\, \mathrm{inv}_j(\rho, O), \qquad \rho_t = \sum_j b_j(t)\, \mathrm{inv}_j(O, \rho),$$

with 17 numbers each at a time. Time is cut into steps on which the coefficients are constant.
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from pdoconv.pde.blowup import BlowUpError, largest
from pdoconv.pde.implicit import implicit_diffusion
from pdoconv.pde.invariants import names, polynomials
from pdoconv.pde.jets import Derivatives, bounded
from pdoconv.pde.solvers import STEPS, require_steps
from pdoconv.stencils import Stencils


class LearnedPDE(nn.Module):
    r"""Coupled evolution of indicators and images: the L-PDE, for any number of fields.

    All coefficients are zero at first: the result is the image. `pdoconv.pde.fit` learns them from pairs.

    Args:
        steps: Number of steps in time; coefficients are constant on each.
        channels: Channels of the image: 1 if gray, 3 for colours.
        indicators: Fields that evolve beside it.
        time: End of the evolution; a step is `time / steps` long. The papers have 1, the grid spacing is 1 pixel.
        padding: Boundary condition: `"zeros"` (Dirichlet, the papers'), `"reflect"` or `"replicate"` (Neumann),
            `"circular"` (periodic).
        solver: `"euler"` with a guard: own diffusion, the coefficient of $\mathrm{tr} H_u$ in the rate of u, is taken
            no larger than explicit steps are stable with (1/4 pixel squared a step for central differences);
            `"midpoint"` or `"rk4"`; `"semi-implicit"`: own diffusion implicitly, stable however large it is.
        stencils: Numerical scheme of the derivatives; default central differences of second order.
        kernel_size: Odd side of its kernels.
        bounded: Divide gradients and Hessians by $\sqrt{\kappa^2 + |\cdot|^2}$, with a learned scale $\kappa$ for each
            field and step, before invariants are made of them: these stay invariant and cannot explode, and their
            combinations can stop at edges, as no polynomial can.
        hidden: 0: rates are linear in the invariants, as published. Otherwise rates are a general function of them:
            so many units, the same at all times but for their offsets, are added to the linear part.
        checkpoint: For gradients keep only the fields at every step: less memory, one more forward pass.
        limit: Values beyond it, in units of the image, are a blow-up.

    Attributes:
        coefficients: `(steps, fields, count)`: row i of a step multiplies the invariants of all fields, in the order of
            `names`, in the rate of field i. The indicators come first, then the channels. `a` and `b` show them in the
            papers' order.

    Raises:
        ValueError: If an argument is out of range.

    >>> model = LearnedPDE(steps=10)
    >>> model.coefficients.shape, model(torch.rand(1, 1, 16, 16)).shape
    (torch.Size([10, 2, 17]), torch.Size([1, 1, 16, 16]))
    """

    def __init__(
        self,
        steps: int = 20,
        *,
        channels: int = 1,
        indicators: int = 1,
        time: float = 1.0,
        padding: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        solver: Literal["euler", "midpoint", "rk4", "semi-implicit"] = "euler",
        stencils: Stencils | None = None,
        kernel_size: int = 3,
        bounded: bool = False,
        hidden: int = 0,
        checkpoint: bool = False,
        limit: float = 100.0,
    ) -> None:
        """Check the arguments, make the coefficients."""
        super().__init__()
        require_steps("LearnedPDE", steps, time)
        if time < 0:
            raise ValueError(f"LearnedPDE: time must be positive, received {time!r}: diffusion has no way back.")
        for name, value, least in (("channels", channels, 1), ("indicators", indicators, 0), ("hidden", hidden, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"LearnedPDE: {name} must be a whole number of at least {least}, received {value!r}.")
        if solver not in (*STEPS, "semi-implicit"):
            raise ValueError(
                f"LearnedPDE: solver must be one of {', '.join(STEPS)}, semi-implicit, received {solver!r}."
            )
        if not limit > 0:
            raise ValueError(f"LearnedPDE: limit must be positive, received {limit!r}.")
        self.steps, self.channels, self.indicators, self.time = steps, channels, indicators, time
        self.solver, self.checkpoint, self.limit, self.bounded, self.hidden = solver, checkpoint, limit, bounded, hidden
        self.derivatives = Derivatives(stencils=stencils, kernel_size=kernel_size, padding=padding)
        second = self.derivatives._weights()  # a plain number, for those who trace the steps
        self._largest_symbol = float((second[2] + second[4]).abs().sum())
        self.coefficients = nn.Parameter(torch.zeros(steps, self.fields, self.count))
        if bounded:
            self.log_scale = nn.Parameter(torch.tensor([0.1, 0.3]).log()[:, None].repeat(steps, 1, self.fields))
        if hidden:
            self.inward = nn.Parameter(torch.randn(hidden, self.count) * 2 / self.count**0.5)
            self.shift = nn.Parameter(torch.randn(steps, hidden) * 0.3)
            self.outward = nn.Parameter(torch.zeros(steps, self.fields, hidden))

    @torch.no_grad()
    def diffuse(self, amount: float) -> None:
        """Set each field's own diffusion, in pixels squared over the whole time; all other coefficients to zero."""
        self.coefficients.zero_()
        for k in range(self.steps):
            self.coefficients[k][:, self._laplacians].diagonal().fill_(amount / self.time).mul_(self._unit(k))

    @property
    def fields(self) -> int:
        """Number of fields that evolve: indicators, then channels."""
        return self.indicators + self.channels

    @property
    def count(self) -> int:
        """Number of invariants."""
        return len(names(self.fields))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the fields."""
        rho = ("rho",) if self.indicators == 1 else tuple(f"rho{i + 1}" for i in range(self.indicators))
        return (*rho, *(("O",) if self.channels == 1 else tuple(f"O{i + 1}" for i in range(self.channels))))

    @property
    def a(self) -> Tensor:
        """Coefficients of the image's rate over the invariants of (rho, O), `(steps, 17)`, as in the papers."""
        self._require_pair("a")
        return self.coefficients[:, 1]

    @property
    def b(self) -> Tensor:
        """Coefficients of the indicator's rate over the invariants of (O, rho), `(steps, 17)`, as in the papers."""
        self._require_pair("b")
        return self.coefficients[:, 0, list(SWAPPED)]

    def _require_pair(self, name: str) -> None:
        if (self.indicators, self.channels) != (1, 1):
            raise ValueError(
                f"LearnedPDE.{name}: only a pair of one indicator and one channel has it, this model has "
                f"{self.indicators} and {self.channels}: use coefficients."
            )

    def forward(self, image: Tensor, indicator: Tensor | None = None, *, known: Tensor | None = None) -> Tensor:
        r"""Return the image at the end of the evolution.

        Args:
            image: $O_0$, `(batch, channels, H, W)`.
            indicator: $\rho_0$, `(batch, indicators, H, W)`; default the mean of the image's channels, for each.
            known: 1 where the image is given and stays as it is, 0 elsewhere, `(batch, 1 or channels, H, W)`.

        Raises:
            ValueError: If a shape or dtype does not fit.
            BlowUpError: If a value passes `limit` or is not a number: no image is returned, the error says in which
                step it happened and which coefficient added most.
        """
        for state in self.evolve(image, indicator, known=known):
            last = state
        return last[:, self.indicators :]

    def evolve(
        self, image: Tensor, indicator: Tensor | None = None, *, known: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Yield the fields `(batch, fields, H, W)` at the start and after every step; arguments of `forward`."""
        u = start = self._start(image, indicator, known)
        if not largest(start) <= self.limit:
            raise ValueError(f"LearnedPDE: expected images in [0, 1], received values beyond {self.limit:g}, or none.")
        yield start
        saving = self.checkpoint and torch.is_grad_enabled()
        for k in range(self.steps):
            before = u
            u = (
                recompute(self.step, k, u, start, known, use_reentrant=False)
                if saving
                else self.step(k, u, start, known)
            )
            if not largest(u) <= self.limit:
                raise self._blow_up(k, before)
            yield u

    def step(self, k: int, u: Tensor, start: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the fields after step k, known pixels as in `start`."""
        dt = self.time / self.steps
        if self.solver == "semi-implicit":
            own = self.own_diffusion(k).clamp(min=0) / self._unit(k)
            hessian = self.derivatives(u).hessian
            laplacian = (hessian[0][0] + hessian[1][1]).transpose(0, 1)
            u = u + dt * (self.rate(k, u) - own[:, None, None] * laplacian)
            u = implicit_diffusion(u, dt * own, padding=self.derivatives.padding)
        else:
            u = STEPS[self.solver](lambda t, x: self.rate(k, x), k * dt, u, dt)
        if known is None:
            return u
        image = torch.where(known > 0, start[:, self.indicators :], u[:, self.indicators :])
        return torch.cat([u[:, : self.indicators], image], dim=1)

    def rate(self, k: int, u: Tensor) -> Tensor:
        """Return du/dt in step k, `(batch, fields, H, W)`."""
        inv = self.invariants(k, u).transpose(0, 1).flatten(1)
        found = self.taken(k) @ inv
        if self.hidden:
            found = found + self.outward[k] @ F.relu(self.inward @ inv + self.shift[k][:, None])
        return found.reshape(self.fields, u.shape[0], *u.shape[2:]).transpose(0, 1)

    def invariants(self, k: int, u: Tensor) -> Tensor:
        """Return the invariants of the fields as step k takes them, `(batch, count, H, W)`."""
        jet = self.derivatives(u)
        found: Tensor = polynomials(bounded(jet, self.log_scale[k].exp()) if self.bounded else jet)
        return found.transpose(0, 1)

    def own_diffusion(self, k: int) -> Tensor:
        """Return the coefficient of each field's own Laplacian in its rate in step k, `(fields,)`."""
        return self.coefficients[k][:, self._laplacians].diagonal()

    def taken(self, k: int) -> Tensor:
        """Return the coefficients `(fields, count)` as step k takes them: explicit Euler limits own diffusion."""
        c = self.coefficients[k]
        if self.solver != "euler":
            return c
        excess = (self.own_diffusion(k) - self.stable_diffusion * self._unit(k)).clamp(min=0)
        return c - F.pad(torch.diag(excess), (self._laplacians.start, c.shape[1] - self._laplacians.stop))

    def _unit(self, k: int) -> Tensor | float:
        """Return what the Laplacians of flat fields are divided by."""
        return self.log_scale[k, 1].exp() if self.bounded else 1.0

    @property
    def stable_diffusion(self) -> float:
        """Largest own diffusion that explicit Euler is stable with: 2 / (dt * largest symbol of the Laplacian)."""
        return 2 * self.steps / (self.time * self._largest_symbol)

    @property
    def _laplacians(self) -> slice:
        """Places of the fields' Laplacians among the invariants."""
        n = self.fields
        first = 1 + n + n * (n + 1) // 2
        return slice(first, first + n)

    def _start(self, image: Tensor, indicator: Tensor | None, known: Tensor | None) -> Tensor:
        """Check the fields at the start and put them together."""
        if image.dim() != 4 or image.shape[1] != self.channels or image.dtype != self.coefficients.dtype:
            raise ValueError(
                f"LearnedPDE: expected images (batch, {self.channels}, H, W) of {self.coefficients.dtype}, received "
                f"{tuple(image.shape)} of {image.dtype}."
            )
        batch, _, *space = image.shape
        if indicator is None:
            indicator = image.mean(1, keepdim=True).expand(batch, self.indicators, *space)
        if indicator.shape != (batch, self.indicators, *space) or indicator.dtype != image.dtype:
            raise ValueError(
                f"LearnedPDE: expected indicators {(batch, self.indicators, *space)} of {image.dtype}, received "
                f"{tuple(indicator.shape)} of {indicator.dtype}."
            )
        masks = [(b, c, *space) for b in (1, batch) for c in (1, self.channels)]
        if known is not None and tuple(known.shape) not in masks:
            raise ValueError(
                f"LearnedPDE: expected known pixels of a shape in {sorted(set(masks))}, received {tuple(known.shape)}."
            )
        return torch.cat([indicator, image], dim=1)

    @torch.no_grad()
    def _blow_up(self, k: int, u: Tensor) -> BlowUpError:
        """Name the step and the coefficient that added most to the fields before it."""
        worst = self.invariants(k, u).abs().amax((0, 2, 3)).nan_to_num(nan=float("inf"))
        sizes = self.taken(k).abs().nan_to_num(nan=float("inf")) * worst
        i, j = divmod(int(sizes.nan_to_num(nan=0.0).argmax()), self.count)
        name = f"{names(self.fields, labels=self.labels)[j]} in the rate of {self.labels[i]}"
        return BlowUpError(
            f"LearnedPDE: the evolution blew up in step {k} of {self.steps}: a value passed {self.limit:g}. The "
            f"coefficient of {name}, {float(self.coefficients[k, i, j]):.3g}, added most. Use more steps, smaller "
            f"coefficients, bounded=True, or images scaled to [0, 1].",
            k,
            name,
        )

    def extra_repr(self) -> str:
        """Print the size."""
        return (
            f"steps={self.steps}, channels={self.channels}, indicators={self.indicators}, solver={self.solver!r}, "
            f"bounded={self.bounded}, hidden={self.hidden}"
        )


SWAPPED = (0, 2, 1, 5, 4, 3, 7, 6, 13, 12, 11, 10, 9, 8, 16, 15, 14)
"""Where the invariants of (O, rho) stand among those of (rho, O)."""
