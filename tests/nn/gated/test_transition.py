"""One step of a field: schemes in time, exact limits, what is learned exactly."""

import math

import pytest
import torch

from stgate.errors import RequestError
from stgate.nn.feedforward import UNITS
from stgate.nn.gated.exponential import ORDER
from stgate.nn.gated.fused import FusedTransition
from stgate.nn.gated.transition import SCHEMES, Transition
from stgate.nn.patches import Patches
from stgate.schema.spec import PanelSpec

NODES, TARGETS, EXTRA, CONTEXT = 8, 2, 1, 3


def make_patches(patch=1, halo=2, targets=("u", "v")):
    spec = PanelSpec(
        targets=targets,
        nodes=tuple(range(NODES)),
        step=1.0,
        time="model",
        window=1,
        horizon=1,
        boundary="periodic",
    )
    return Patches(spec, patch, halo)


def make(patches=None, context=CONTEXT, extra=EXTRA, targets=TARGETS, **options):
    torch.manual_seed(0)
    return Transition(patches or make_patches(), targets, context, extra, **({"width": 6} | options)).double()


def field(targets=TARGETS, seed=1):
    return torch.randn(3, NODES, targets, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_a_step_keeps_the_shape_and_reads_the_rest_off_each_node(scheme, patch):
    patches = make_patches(patch)
    step = make(patches, scheme=scheme, substeps=2)
    context = torch.randn(3, patches.count, CONTEXT, dtype=torch.float64)
    after, rest = step(field(), context)
    assert after.shape == (3, NODES, TARGETS) and rest.shape == (3, NODES, TARGETS, EXTRA)


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("exponential", 4)])
@torch.no_grad()
def test_schemes_converge_at_their_order(scheme, order):
    def after(scheme, substeps):
        step = make(context=0, unit="bilinear", scheme=scheme, substeps=substeps)
        step.tendency.weight *= 10
        return step(field())[0]

    exact = after("rk4", 256)
    errors = [float((after(scheme, n) - exact).norm()) for n in (4, 8)]
    assert 0.75 * 2**order < errors[0] / errors[1] < 1.35 * 2**order


def test_without_blocks_the_step_is_linear():
    step, x, y = make(context=0, blocks=0, scheme="rk4", substeps=2), field(), field(seed=2)

    def moved(z):
        return step(z)[0]

    zero = moved(torch.zeros_like(x))
    torch.testing.assert_close(moved(x + 2 * y) - zero, moved(x) - zero + 2 * (moved(y) - zero))


def test_a_bilinear_unit_holds_lorenz_96_exactly():
    """dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F, with three channels, in one Runge-Kutta step."""
    step = make(make_patches(targets=("x",)), 0, 0, 1, width=3, unit="bilinear", gate="none", scheme="rk4")
    for parameter in step.parameters():
        parameter.data.zero_()
    layer, dt, forcing = step.layers[0], 0.05, 8.0
    step.seen.weight.data[0] = torch.tensor([-1.0, 0, 0, 1, 0])  # x_{i+1} - x_{i-2}
    step.seen.weight.data[1] = torch.tensor([0, 1.0, 0, 0, 0])  # x_{i-1}
    step.seen.weight.data[2] = torch.tensor([0, 0, 1.0, 0, 0])  # x_i
    layer.hidden.weight.data[0, 0] = layer.hidden.weight.data[3, 1] = 1.0  # the first product
    layer.hidden.weight.data[1, 2] = layer.hidden.bias.data[4] = 1.0  # x_i times one
    layer.mix.weight.data[0, :2] = torch.tensor([1.0, -1.0])
    step.tendency.weight.data[0, 0], step.tendency.bias.data[:] = 1.0, forcing
    step.change.fill_(dt)

    def tendency(x):
        return (x.roll(-1, 1) - x.roll(2, 1)) * x.roll(1, 1) - x + forcing

    x = field(1)
    a = tendency(x)
    b = tendency(x + dt / 2 * a)
    c = tendency(x + dt / 2 * b)
    d = tendency(x + dt * c)
    torch.testing.assert_close(step(x)[0], x + dt / 6 * (a + 2 * b + 2 * c + d))


def test_turning_the_ring_turns_the_step():
    step, x = make(context=0, scheme="rk4"), field()
    torch.testing.assert_close(step(x.roll(3, 1))[0], step(x)[0].roll(3, 1))


def test_whitening_is_a_change_of_coordinates():
    step, x = make(context=0), field()
    plain = step(x)[0]
    turn = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64))[0]
    step.whiten.copy_(turn)
    step.seen.weight.data = step.seen.weight.data @ turn
    torch.testing.assert_close(step(x)[0], plain)


def test_what_is_known_changes_the_step():
    step, x = make(), field()
    calm, known = (
        step(x, context)[0]
        for context in (torch.zeros(3, NODES, CONTEXT).double(), torch.ones(3, NODES, CONTEXT).double())
    )
    assert not torch.allclose(calm, known)


def test_every_parameter_gets_a_gradient():
    step = make(scheme="rk4", blocks=2)
    after, rest = step(field(), torch.randn(3, NODES, CONTEXT, dtype=torch.float64))
    (after.square().sum() + rest.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in step.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [({"scheme": "rk5"}, "scheme 'rk5'.*rk4"), ({"substeps": 0}, "substeps 0"), ({"unit": "swish"}, "unit 'swish'")],
)
def test_an_option_out_of_range_is_refused(options, said):
    with pytest.raises(RequestError, match=said):
        make(**options)


def test_the_exponential_scheme_starts_as_the_classical_one():
    plain, learned = (make(context=0, unit="bilinear", scheme=scheme, substeps=2) for scheme in ("rk4", "exponential"))
    learned.load_state_dict(plain.state_dict(), strict=False)
    for step in (plain, learned):
        step.tendency.weight.data *= 10
    torch.testing.assert_close(learned(field())[0], plain(field())[0])


def advanced(x, terms):
    """exp(L) x on the ring, L = sum of terms[k] times the k-th symbol, by the matrices of the difference operators."""
    eye = torch.eye(NODES, dtype=torch.float64)
    laplacian = eye.roll(1, 0) + eye.roll(-1, 0) - 2 * eye
    central = (eye.roll(1, 1) - eye.roll(-1, 1)) / 2  # (u_{i+1} - u_{i-1}) / 2
    powers = [torch.linalg.matrix_power(laplacian, k) for k in range(ORDER + 1)]
    operators = [*powers, *(central @ p for p in powers[:-1])]
    whole = sum(c * o for c, o in zip(terms, operators, strict=True))
    return torch.einsum("ij,...jt->...it", torch.linalg.matrix_exp(whole), x)


@pytest.mark.parametrize("substeps", [1, 3])
def test_a_linear_operator_is_carried_exactly_however_stiff(substeps):
    """Decay, advection, diffusion, dispersion and fourth-order damping of rates up to 300 a step."""
    step = make(make_patches(halo=0), context=0, extra=0, scheme="exponential", substeps=substeps)
    step.tendency.weight.data.zero_()
    terms = torch.tensor([-0.5, 1.0, -18.0, 0.0, 0.0, 1.7, 0.3, 0.0, 0.0], dtype=torch.float64)
    step.exponential.operator.data.copy_(terms[:, None].expand(-1, TARGETS))
    torch.testing.assert_close(step(field())[0], advanced(field(), terms))


def test_a_stiff_step_is_of_order_four():
    """Kuramoto-Sivashinsky-like: u' = L u + N(u), both of order one, L stiff on short waves."""

    def after(substeps):
        step = make(context=0, unit="bilinear", scheme="exponential", substeps=substeps)
        step.tendency.weight.data *= 10
        step.exponential.operator.data[2] = -0.6  # 9.6 a step on the shortest wave
        return step(field())[0]

    with torch.no_grad():
        exact = after(128)
        errors = [float((after(n) - exact).norm()) for n in (8, 16)]
    assert 11 < errors[0] / errors[1] < 22


def test_no_wave_grows_by_more_than_e_in_a_substep():
    step = make(make_patches(halo=0), context=0, extra=0, scheme="exponential", substeps=2)
    step.tendency.weight.data.zero_()
    step.exponential.operator.data[2] = 50.0
    with torch.no_grad():
        assert step(field())[0].norm() <= math.exp(2) * field().norm()


def test_a_torus_carries_waves_along_both_axes():
    """A product of waves is an eigenfunction: it decays by the Laplacian, turns by the differences."""
    shape = (4, 6)
    spec = PanelSpec(
        targets=("u",), nodes=tuple(range(24)), step=1.0, time="model", window=1, horizon=1, boundary="periodic",
        lattice=shape,
    )  # fmt: skip
    step = Transition(Patches(spec, 2, 1), 1, 0, 0, width=3, scheme="exponential").double()
    step.tendency.weight.data.zero_()
    step.tendency.bias.data.zero_()
    laplacian, along = 0.3, (0.2, -0.4)
    step.exponential.operator.data[1] = laplacian
    step.exponential.operator.data[ORDER + 1], step.exponential.operator.data[2 * ORDER + 1] = along
    one, two = (2 * math.pi * torch.arange(n, dtype=torch.float64) / n for n in shape)
    angle = one[:, None] + 2 * two
    rate = -laplacian * (4 * math.sin(math.pi / 4) ** 2 + 4 * math.sin(2 * math.pi / 6) ** 2)
    turn = along[0] * math.sin(math.pi / 2) + along[1] * math.sin(4 * math.pi / 6)
    expected = math.exp(rate) * torch.cos(angle + turn)
    with torch.no_grad():
        made = step(torch.cos(angle).reshape(1, 24, 1))[0]
    torch.testing.assert_close(made.reshape(shape), expected)


def test_every_term_of_the_operator_gets_a_gradient_at_the_start():
    step = make(context=0, unit="bilinear", scheme="exponential", substeps=2)
    (step(field())[0] * field(seed=2)).sum().backward()
    assert (step.exponential.operator.grad.abs() > 0).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("patch", [1, 2])
def test_a_conservative_step_keeps_the_sum_of_each_target(scheme, patch):
    step = make(make_patches(patch), context=0, scheme=scheme, substeps=2, conservative=True)
    if step.exponential is not None:
        step.exponential.operator.data.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(3))
    step.tendency.bias.data.fill_(0.3)
    x = field()
    with torch.no_grad():
        for advance in (step, FusedTransition.of(step)):
            after = advance(x)[0]
            torch.testing.assert_close(after.sum(1), x.sum(1))
            assert not torch.allclose(after, x)


def test_a_panel_with_an_edge_has_no_waves():
    spec = PanelSpec(targets=("u",), nodes=(0, 1, 2), step=1.0, time="model", window=1, horizon=1, boundary="open")
    with pytest.raises(RequestError, match="needs a periodic panel, this one has an edge; give rk4"):
        Transition(Patches(spec, 1, 1), 1, 0, 0, scheme="exponential")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("patch", [1, 2])
def test_a_fused_step_is_the_step(scheme, unit, patch):
    patches = make_patches(patch)
    step = make(patches, scheme=scheme, unit=unit, blocks=2, substeps=2)
    step.whiten.copy_(torch.eye(len(step.whiten)) + 0.01 * torch.randn(step.whiten.shape))
    context = torch.randn(3, patches.count, CONTEXT, dtype=torch.float64)
    x = field()
    with torch.no_grad():
        fused = FusedTransition.of(step)
        assert type(fused) is FusedTransition
        for _ in range(3):
            expected, made = step(x, context), fused(x, context)
            torch.testing.assert_close(made, expected)
            x = made[0]


def test_a_step_with_another_gate_is_left_as_it_is():
    step = make(gate="coupled")
    assert FusedTransition.of(step) is step
