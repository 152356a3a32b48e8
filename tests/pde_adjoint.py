"""Gradients of the L-PDE by hand: the exact adjoint of the Euler scheme, and the adjoint equation, discretised."""

import torch
import torch.nn.functional as F

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def derivatives(u, weight, padding):
    """(batch, H, W) -> (batch, 5, H, W): x, y, xx, xy, yy."""
    reach = weight.shape[-1] // 2
    return F.conv2d(F.pad(u[:, None], [reach] * 4, mode=MODES[padding]), weight)


def unpad(v, reach, padding):
    """The transpose of padding by `reach` on all sides."""
    for axis in (-1, -2):
        n = v.shape[axis] - 2 * reach
        inner = v.narrow(axis, reach, n).clone()
        before, after = v.narrow(axis, 0, reach), v.narrow(axis, n + reach, reach)
        if padding == "circular":
            inner.narrow(axis, n - reach, reach).add_(before)
            inner.narrow(axis, 0, reach).add_(after)
        elif padding == "replicate":
            inner.narrow(axis, 0, 1).add_(before.sum(axis, keepdim=True))
            inner.narrow(axis, n - 1, 1).add_(after.sum(axis, keepdim=True))
        elif padding == "reflect":
            inner.narrow(axis, 1, reach).add_(before.flip(axis))
            inner.narrow(axis, n - 1 - reach, reach).add_(after.flip(axis))
        v = inner
    return v


def transposed(s, weight, padding):
    """The transpose of `derivatives`: (batch, 5, H, W) -> (batch, H, W)."""
    return unpad(F.conv_transpose2d(s, weight), weight.shape[-1] // 2, padding)[:, 0]


def continuous(s, weight, padding):
    """The adjoint as integration by parts gives it: the sum of (-1)^(p + q) d_x^p d_y^q s_pq."""
    signs = (-1, -1, 1, 1, 1)
    return sum(sign * derivatives(s[:, i], weight, padding)[:, i] for i, sign in enumerate(signs))


def vectors(d):
    """Gradient (2, ...) and Hessian entries (xx, xy, yy) of maps of derivatives."""
    return d[:, :2].unbind(1), d[:, 2:].unbind(1)


def apply(h, v):
    return h[0] * v[0] + h[1] * v[1], h[1] * v[0] + h[2] * v[1]


def dot(a, b):
    return a[0] * b[0] + a[1] * b[1]


def double(a, b):
    return a[0] * b[0] + 2 * a[1] * b[1] + a[2] * b[2]


def table(rho, o, d_rho, d_o):
    """The 17 invariants as the table has them."""
    (g, h), (k, m) = vectors(d_rho), vectors(d_o)
    cubic = [dot(a, apply(s, b)) for a, b in ((g, g), (g, k), (k, k)) for s in (h, m)]
    quadratic = [dot(g, g), dot(g, k), dot(k, k), h[0] + h[2], m[0] + m[2]]
    found = [torch.ones_like(o), rho, o, *quadratic, *cubic, double(h, h), double(h, m), double(m, m)]
    return torch.stack(found, 1)


def sigma(c, d_rho, d_o):
    """Derivatives of sum_j c_j inv_j by the values of rho and O, and by their five derivatives."""
    (g, h), (k, m) = vectors(d_rho), vectors(d_o)
    hg, hk, mg, mk = apply(h, g), apply(h, k), apply(m, g), apply(m, k)

    def outer(alpha, beta, gamma, own, mixed, trace, mine, other):
        """By a Hessian; the entry xy stands for two."""
        xx, yy = ((alpha * g[i] * g[i] + beta * g[i] * k[i] + gamma * k[i] * k[i]) for i in range(2))
        xy = 2 * alpha * g[0] * g[1] + beta * (g[0] * k[1] + g[1] * k[0]) + 2 * gamma * k[0] * k[1]
        double_entry = (1, 2, 1)
        base = (xx + trace, xy, yy + trace)
        return [b + w * (2 * own * s + mixed * t) for b, w, s, t in zip(base, double_entry, mine, other, strict=True)]

    by_g = [2 * c[3] * g[i] + c[4] * k[i] + 2 * c[8] * hg[i] + 2 * c[9] * mg[i] + c[10] * hk[i] + c[11] * mk[i]
            for i in range(2)]  # fmt: skip
    by_k = [c[4] * g[i] + 2 * c[5] * k[i] + c[10] * hg[i] + c[11] * mg[i] + 2 * c[12] * hk[i] + 2 * c[13] * mk[i]
            for i in range(2)]  # fmt: skip
    by_h = outer(c[8], c[10], c[12], c[14], c[15], c[6], h, m)
    by_m = outer(c[9], c[11], c[13], c[16], c[15], c[7], m, h)
    return (c[1], torch.stack(by_g + by_h, 1)), (c[2], torch.stack(by_k + by_m, 1))


def gradients(model, images, targets, indicator=None, *, penalty=0.0, adjoint=transposed):
    """Gradient of the objective of an explicit, linear model of a pair; keeps only the state at every step.

    Valid while the guard of the solver leaves the coefficients alone.
    """
    weight, padding = model.derivatives.weight.to(images.dtype), model.derivatives.padding
    c, dt = model.coefficients.detach(), model.time / model.steps
    state = ((images if indicator is None else indicator)[:, 0], images[:, 0])
    states = []
    for k in range(model.steps):
        states.append(state)
        inv = table(*state, *(derivatives(u, weight, padding) for u in state))
        state = tuple(u + dt * torch.einsum("j,bjhw->bhw", c[k, i], inv) for i, u in enumerate(state))
    costate = [torch.zeros_like(state[0]), state[1] - targets[:, 0]]  # of rho and of O
    found = penalty * dt * c
    for k in reversed(range(model.steps)):
        d = [derivatives(u, weight, padding) for u in states[k]]
        inv = table(*states[k], *d)
        found[k] += dt * torch.stack([torch.einsum("bhw,bjhw->j", phi, inv) for phi in costate])
        change = [torch.zeros_like(phi) for phi in costate]
        for row, phi in zip(c[k], costate, strict=True):
            for l, (by_value, by_derivatives) in enumerate(sigma(row, *d)):  # noqa: E741
                change[l] += by_value * phi + adjoint(by_derivatives * phi[:, None], weight, padding)
        costate = [phi + dt * more for phi, more in zip(costate, change, strict=True)]
    return found
