"""Transposed convolutions and interpolation: against loops, the adjoint, the law, the variance, the checkerboard."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import copies, relative

import pdoconv as pdo
from pdoconv.filters import default, paper, rotated
from pdoconv.groups import rotation

C4, C8, D4, SO2, CUBE = pdo.cyclic(4), pdo.cyclic(8), pdo.dihedral(4), pdo.so2(), pdo.octahedral()


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def layer_of(in_type, out_type, size=4, **options):
    layer = pdo.nn.PDOConvTranspose(in_type, out_type, size, **options).double()
    if layer.bias is not None:
        layer.bias.data.normal_()
    return layer


def stamped(x, kernel, stride, padding, dilation):
    """The definition, pixel by pixel: `x` (in, *space), `kernel` (out, in, *taps)."""
    size, space = kernel.shape[-1], x.shape[1:]
    whole = np.zeros((len(kernel), *[(n - 1) * stride + dilation * (size - 1) + 1 for n in space]))
    for pixel in np.ndindex(*space):
        for tap in np.ndindex(*kernel.shape[2:]):
            place = tuple(p * stride + t * dilation for p, t in zip(pixel, tap, strict=True))
            whole[(slice(None), *place)] += kernel[(slice(None), slice(None), *tap)] @ x[(slice(None), *pixel)]
    inside = (slice(None), *[slice(padding, n - padding) for n in whole.shape[1:]])
    return whole[inside]


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"), [(4, 2, 1, 1), (2, 2, 0, 1), (3, 2, 1, 1), (5, 3, 0, 1), (3, 1, 2, 2)]
)
def test_equals_a_loop(size, stride, padding, dilation):
    for group, space in ((D4, (3, 4)), (pdo.reflection(), (5,)), (CUBE, (2, 3, 2))):
        if group.dim == 3 and size > 3:
            continue
        layer = layer_of(
            group.regular(1), group.trivial(2), size, stride=stride, padding=padding, dilation=dilation, bias=False
        )
        x = noise(1, group.order, *space)
        found = layer(x)[0].detach().numpy()
        wanted = stamped(x[0].numpy(), layer.kernel().detach().numpy(), stride, padding, dilation)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-12
        other = stamped(x[0].numpy(), np.roll(layer.kernel().detach().numpy(), 1, 1), stride, padding, dilation)
        assert np.abs(found - other).max() > 0.01  # negative control: the channels of the input moved


@pytest.mark.parametrize(("size", "side"), [(4, 8), (2, 6), (3, 7)])
def test_adjoint_of_a_group_convolution(size, side):
    """<y, conv(x)> = <conv^T(y), x>: same taps, channels exchanged, the geometry of a convolution of stride 2."""
    padding = (size - 1) // 2
    down = pdo.PDOConv2d(D4.regular(2), D4.regular(3), size, stride=2, padding=padding, bias=False).double()
    up = layer_of(D4.regular(3), D4.regular(2), size, stride=2, padding=padding, bias=False)
    kernel = down.kernel().transpose(0, 1)
    x = noise(1, 16, side, side)
    y = torch.randn_like(down(x))
    back = F.conv_transpose2d(y, kernel.transpose(0, 1), None, 2, padding)
    assert back.shape == up(y).shape == x.shape
    assert abs((y * down(x)).sum() - (back * x).sum()) < 1e-10 * (y.norm() * down(x).norm())
    # and the adjoint of a group convolution is one of these layers: the kernel lies in the span of the layer's own
    free = torch.func.functional_call
    columns = []
    for place in range(up.weight.numel() // 6):  # weights between one pair of fields
        one = torch.zeros_like(up.weight)
        one[0, 0].view(-1)[place] = 1
        columns.append(free(_Kernel(up), {"layer.weight": one}, ())[:8, :8].flatten())
    span = torch.stack(columns, 1)
    wanted = kernel[:8, :8].flatten()
    assert relative(span @ torch.linalg.lstsq(span, wanted[:, None]).solution[:, 0], wanted) < 1e-10


class _Kernel(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self):
        return self.layer.kernel()


LAWS = [
    (C4.regular(2), C4.regular(1)),
    (C8.regular(1), C8.trivial(2)),
    (C8.trivial(2), C8.regular(1)),
    (D4.regular(1) + D4.trivial(1), D4.irrep(1, 1) + D4.regular(1)),
    (CUBE.regular(1), CUBE.regular(1)),
    (CUBE.trivial(1), CUBE.vector(1)),
    (pdo.reflection().regular(2), pdo.reflection().regular(1)),
]


@pytest.mark.parametrize(("into", "out"), LAWS, ids=str)
@pytest.mark.parametrize(("size", "padding"), [(2, 0), (4, 1), (3, 1), (3, 0)])
def test_law_on_every_side(into, out, size, padding):
    group = into.group
    layer = layer_of(into, out, size, stride=2, padding=padding)
    if layer.weight.numel() == 0:
        pytest.skip("no map")
    for side in (3, 4):
        x = noise(1, into.channels, *(side,) * group.dim)
        y, elements = layer(x), group.lattice_elements[1:][:5]
        assert y.shape[2] == (side - 1) * 2 + size - 2 * padding
        for g in elements:
            assert relative(layer(into.transform(x, g)), out.transform(y, g)) < 1e-12
        # negative controls: one more row on one side, as output_padding gives; and the channels left where they are
        kernel = layer.kernel().transpose(0, 1)

        def padded(x, kernel=kernel):
            return F.conv_transpose2d(x, kernel, None, 2, padding, 1)

        if group.dim == 2:
            wrong = padded(into.transform(x, elements[0]))
            assert relative(wrong, out.transform(padded(x), elements[0])) > 0.1
        if out.kind == "regular":
            unmixed = pdo.grid.move(y, group.matrices[elements[0]])
            assert relative(layer(into.transform(x, elements[0])), unmixed) > 0.1


def test_irreducible_fields_of_all_rotations():
    kind, out = SO2.irrep(0, 2) + SO2.irrep(1, 2), SO2.irrep(2, 1) + SO2.irrep(1, 1) + SO2.trivial(1)
    layer, quarter, x = layer_of(kind, out), rotation(np.pi / 2), noise(2, 6, 5, 5)
    moved = layer(pdo.grid.move(kind.mix(x, quarter), quarter))
    assert relative(moved, pdo.grid.move(out.mix(layer(x), quarter), quarter)) < 1e-12
    assert relative(moved, pdo.grid.move(layer(x), quarter)) > 0.1


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (4, 2), (3, 2), (4, 1), (6, 3)])
def test_variance_at_the_beginning(dim, size, stride):
    """That of a convolution with such a kernel, on the average; alike at every pixel where 2 divides the side."""
    group, found = {1: pdo.reflection(), 2: C4, 3: pdo.tetrahedral()}[dim], []
    kind = group.regular(8 if dim < 3 else 2)
    for _ in range(16 if dim == 1 else 4):
        layer = pdo.nn.PDOConvTranspose(kind, kind, size, stride=stride, padding=0, bias=False)
        conv = pdo.nn.PDOConv(kind, kind, size, bias=False)
        with torch.no_grad():
            x = torch.randn(2, kind.channels, *(9 if dim < 3 else 8,) * dim).relu()
            inner = layer(x)[(..., *[slice(size, -size)] * dim)]
            usual = conv(x).var()
        starts = np.ndindex(*(stride,) * dim)
        found.append([inner[(..., *[slice(p, None, stride) for p in start])].var() / usual for start in starts])
    phases = torch.tensor(found).mean(0)
    assert 0.7 < phases.mean() < 1.4  # without the factor it would be 1 / stride^dim
    if stride == 2:
        assert (phases.max() / phases.min() < 1.2) == (size % 2 == 0)


def test_checkerboard():
    """A flat map: interpolation and convolution keep it flat; an odd kernel of stride 2 does not, from the start."""

    def ripple(y):
        inner = y.detach()[..., 6:-6, 6:-6]
        return float((inner - inner.mean((2, 3), keepdim=True)).abs().max() / inner.abs().max())

    flat = noise(1, 8, 1, 1).expand(1, 8, 12, 12)
    conv = pdo.PDOConv2d(C8.regular(1), C8.regular(1), 5, padding=2).double()
    for mode in ("nearest", "linear"):
        assert ripple(conv(pdo.Upsample(C8.regular(1), mode=mode)(flat))) < 1e-12
    for size, padding in ((3, 1), (5, 2), (2, 0), (4, 1)):  # derivatives of odd order draw one with even sides too
        assert ripple(layer_of(C8.regular(1), C8.regular(1), size, padding=padding)(flat)) > 0.1
    value = default(2, 4).basis(C8, 4)[0, 0]  # the value itself: as many taps, of the same sum, for every pixel
    stamp = F.conv_transpose2d(flat[:, :1], torch.as_tensor(value.copy())[None, None], None, 2, 1)
    assert ripple(stamp) < 1e-12
    value = default(2, 3).basis(C8, 3)[0, 0]
    assert ripple(F.conv_transpose2d(flat[:, :1], torch.as_tensor(value.copy())[None, None], None, 2, 1)) > 0.1


def test_plain_layer_is_torchs():
    """Of rotated pixels and no symmetry: the weights are those of `nn.ConvTranspose2d`."""
    one = pdo.cyclic(1)
    layer = pdo.GroupConvTranspose2d(one.regular(2), one.regular(3), 4, filters=rotated(), stride=2, padding=1)
    plain = torch.nn.ConvTranspose2d(2, 3, 4, 2, 1)
    plain.weight.data = layer.weight.data.view(3, 2, 4, 4).transpose(0, 1)
    plain.bias.data = layer.bias.data
    x = torch.randn(2, 2, 5, 6)
    assert relative(layer(x), plain(x)) < 1e-6


def test_gradients_copies_and_inference():
    layer = layer_of(C4.regular(1), C4.regular(1), 2, padding=0)
    x = noise(1, 4, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(layer, {"weight": w}, (x,)), (x, layer.weight)
    )
    with torch.no_grad():
        y = layer(x)
        assert torch.equal(y, layer(x))
        layer.weight.mul_(2)
        assert not torch.allclose(y, layer(x))  # what is kept follows the weights
    for copy in copies(layer):
        assert torch.equal(copy(x), layer(x))
    half = pdo.nn.PDOConvTranspose3d(CUBE.trivial(1), CUBE.trivial(2), 2, padding=0).bfloat16()
    z = torch.randn(1, 1, 3, 3, 3, dtype=torch.bfloat16)
    half(z).sum().backward()
    assert half(z).dtype == torch.bfloat16
    assert half.weight.grad.isfinite().all()
    with torch.no_grad():
        assert relative(half(z), half.float()(z.float())) < 0.05


def test_compiles_and_exports():
    layer = pdo.nn.PDOConvTranspose2d(C4.regular(1), C4.regular(2)).eval()
    x = torch.randn(1, 4, 5, 5)
    program = torch.export.export(torch.nn.Sequential(layer, pdo.Upsample(C4.regular(2))), (x,))
    assert relative(program.module()(x), pdo.Upsample(C4.regular(2))(layer(x))) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "same"}, "padding must be one whole number >= 0, received 'same'"),
        ({"padding": -1}, "padding must be one whole number"),
        ({"stride": 0}, "stride must be"),
        ({"kernel_size": (4, 4)}, "kernel_size must be one whole number"),
        ({"filters": paper()}, "need an odd kernel_size, received 4"),
        ({"filters": "paper"}, "expected a filter family"),
        ({"out_type": C8.regular(1)}, "in_type is of C4, out_type of C8"),
        ({"in_type": 4}, "expected a field type"),
        ({"in_type": CUBE.regular(1), "out_type": CUBE.regular(1)}, "use GroupConvTranspose3d"),
    ],
)
def test_bad_arguments(options, message):
    options = {
        "in_type": C4.regular(1),
        "out_type": C4.regular(1),
        "kernel_size": 4,
        "filters": default(2, 4),
    } | options
    with pytest.raises(ValueError, match=message):
        pdo.GroupConvTranspose2d(**options)


def test_bad_inputs():
    layer = pdo.nn.PDOConvTranspose2d(C4.regular(1), C4.regular(1), 2, padding=2)
    with pytest.raises(ValueError, match=r"of side 2 nothing is left with kernel 2, stride 2, padding 2"):
        layer(torch.randn(1, 4, 8, 2))
    with pytest.raises(ValueError, match=r"expected torch\.float32 as the weights"):
        layer(noise(1, 4, 8, 8))
    with pytest.raises(ValueError, match=r"expected \(batch, 4, height, width\)"):
        layer(torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_interpolation_keeps_the_law(mode, factor):
    for kind in (D4.regular(1) + D4.irrep(1, 1), CUBE.vector(1), pdo.reflection().regular(1)):
        up, group = pdo.Upsample(kind, factor, mode=mode), kind.group
        for side in (2, 3):
            x = noise(1, kind.channels, *(side,) * group.dim)
            assert up(x).shape[2:] == (side * factor,) * group.dim
            for g in group.lattice_elements[1:6]:
                assert relative(up(kind.transform(x, g)), kind.transform(up(x), g)) < 1e-12
    if factor > 1:  # negative control: grids of two centres
        x, quarter = noise(1, 1, 4, 4), C4.matrices[1]

        def shifted(x):
            return pdo.Upsample(C4.trivial(1), factor, mode=mode)(F.pad(x, (0, 1, 0, 1)))[..., 1:-1, 1:-1]

        assert relative(shifted(pdo.grid.move(x, quarter)), pdo.grid.move(shifted(x), quarter)) > 0.1


def test_interpolation_by_hand():
    x = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    near = pdo.Upsample(C4.trivial(1), 3)(x)[0, 0]
    assert torch.equal(near, x[0, 0].repeat_interleave(3, 0).repeat_interleave(3, 1))
    ramp = torch.arange(6.0).view(1, 1, 6)
    fine = pdo.Upsample(pdo.reflection().trivial(1), 2, mode="linear")(ramp)[0, 0]
    assert torch.allclose(fine[1:-1], torch.arange(0.25, 5, 0.5))
    for options, message in (
        ({"scale_factor": 1.5}, "one whole number"),
        ({"scale_factor": 0}, "one whole number"),
        ({"mode": "cubic"}, "mode must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            pdo.Upsample(C4.trivial(1), **options)
    with pytest.raises(ValueError, match="expected floating-point maps"):
        pdo.Upsample(C4.trivial(1))(torch.ones(1, 1, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected a field type"):
        pdo.Upsample(8)
    assert len(list(itertools.chain(pdo.Upsample(C4.trivial(1)).parameters()))) == 0
