"""The equations and their integrators: orders, what is conserved, index-loop references, tangent-linear maps."""

from itertools import product

import numpy as np
import pytest
from scipy.integrate import simpson

from stgate.simulate import lorenz96_two_scale
from stgate.simulate.counting import member_stream
from stgate.simulate.integrators.advection import Ring
from stgate.simulate.integrators.etdrk4 import Coefficients
from stgate.simulate.integrators.rk4 import RungeKutta4
from stgate.simulate.systems.kuramoto_sivashinsky import KuramotoSivashinsky
from stgate.simulate.systems.lorenz96 import Lorenz96
from stgate.simulate.systems.lorenz96_scales import ScalesSlope
from stgate.simulate.systems.lorenz96_three_scale import Lorenz96ThreeScale
from stgate.simulate.systems.lorenz96_two_scale import Lorenz96TwoScale

SMALL = (
    Lorenz96(nodes=7, forcing=(6.0, 7.0, 8.0, 9.0, 10.0, 9.0, 8.0)),
    Lorenz96TwoScale(nodes=5, fast=7, forcing=10.0, h=0.9, b=8.0, c=6.0, coupling="sum"),
    Lorenz96TwoScale(nodes=5, fast=6, forcing=(8.0, 9.0, 10.0, 11.0, 12.0), h=0.9, b=8.0, c=6.0, coupling="mean"),
    Lorenz96ThreeScale(nodes=4, fast=3, fastest=5, forcing=10.0, h=0.9, b=8.0, c=6.0, d=7.0, e=5.0),
    KuramotoSivashinsky(length=30.0, nodes=48),
)


def label(system):
    return system.name + ("-" + system.coupling if hasattr(system, "coupling") else "")


def starts(system, members):
    return np.stack([system.initial(member_stream(system.name, 0, i)) for i in range(members)])


def after(system, states, step, time):
    stepper = system.stepper(states, step=step)
    stepper.advance(round(time / step))
    return stepper.state


def orders(system, states, time, finest, counts):
    truth = after(system, states, 1 / finest, time)
    errors = [np.abs(after(system, states, 1 / n, time) - truth).max() for n in counts]
    return np.log2(np.divide(errors[:-1], errors[1:]))


def chaotic(system, members):
    return after(system, system.encode(starts(system, members)), 0.0625, 200.0)


def test_rk4_is_of_fourth_order():
    found = orders(Lorenz96(), starts(Lorenz96(), 3), 1.0, 2048, (64, 128, 256, 512))
    assert ((found > 3.9) & (found < 4.05)).all(), found


def test_etdrk4_is_of_fourth_order_at_small_steps_and_looks_like_third_at_a_quarter():
    system = KuramotoSivashinsky()
    states = chaotic(system, 4)
    assert orders(system, states, 2.0, 1024, (64, 128))[0] >= 3.6
    assert 2.5 < orders(system, states, 8.0, 1024, (4, 8))[0] < 3.5


def test_advection_does_no_work():
    ring = Ring(np.zeros((43, 5)), 0, 40)
    ring.sites[...] = np.random.default_rng(0).normal(2, 4, (40, 5))
    advection = np.empty((40, 5))
    ring.advect(advection)
    work = (ring.sites * advection).sum(axis=0)
    assert np.abs(work / (np.abs(ring.sites * advection).sum(axis=0))).max() < 1e-12


def test_rk4_keeps_the_energy_of_pure_advection_to_fifth_order():
    class Advection:
        def __init__(self):
            self.ring = Ring(np.zeros((43, 3)), 0, 40)
            self.stage = self.ring.sites

        def __call__(self, out, time):
            self.ring.advect(out)

    states = starts(Lorenz96(), 3).T
    drifts = []
    for step in (0.01, 0.005, 0.0025):
        rk4 = RungeKutta4(Advection(), states.copy(), step)
        rk4.advance(round(1 / step))
        drifts.append(np.abs((rk4.state**2).sum(axis=0) / (states**2).sum(axis=0) - 1).mean())
    found = np.log2(np.divide(drifts[:-1], drifts[1:]))
    assert ((found > 4.7) & (found < 5.3)).all(), (drifts, found)


def test_a_nyquist_component_decays_and_the_mean_never_changes():
    system = KuramotoSivashinsky(nodes=64)
    field = starts(system, 1) + 0.1 * (-1.0) ** np.arange(64) + 0.5
    spectrum = system.encode(field)
    mean = spectrum[0, 0].copy()
    found = after(system, spectrum, 0.0625, 10.0)
    assert abs(found[0, -1]) / 64 < 1e-12
    assert found[0, 0] == mean  # to the last bit


def test_the_energy_budget_of_kuramoto_sivashinsky_closes():
    # d/dt <u²>/2 = <u_x²> - <u_xx²>, integrated over eight time units
    system, step, steps = KuramotoSivashinsky(nodes=64), 1 / 128, 1024
    stepper = system.stepper(chaotic(system, 3), step=step)
    k = 2 * np.pi * np.arange(33) / system.length
    weight = np.where(np.arange(33) % 32, 2.0, 1.0) / 64**2
    energies, gains, losses = (np.empty((steps + 1, 3)) for _ in range(3))
    for n in range(steps + 1):
        power = np.abs(stepper.state) ** 2 * weight
        energies[n], gains[n], losses[n] = power.sum(1) / 2, (k**2 * power).sum(1), (k**4 * power).sum(1)
        stepper.advance(1)
    change, source = energies[-1] - energies[0], simpson(gains - losses, dx=step, axis=0)
    assert np.abs(change - source).max() / (losses.mean() * steps * step) < 1e-6


def test_a_moving_observer_sees_the_same_flow():
    # u(x, t) + v solves the equation where u(x - v t, t) does; ETDRK4 keeps that to its own error
    system = KuramotoSivashinsky(nodes=64)
    field = np.fft.irfft(chaotic(system, 1), 64)
    time, cells = 8.0, 16
    speed = cells * system.length / 64 / time
    rest, moving = (np.fft.irfft(after(system, system.encode(f), 0.005, time), 64) for f in (field, field + speed))
    assert np.abs(np.roll(rest, cells, axis=1) + speed - moving).max() < 1e-8


@pytest.mark.parametrize("length", [22.0, 200.0])
def test_the_contour_integrals_have_converged(length):
    system = KuramotoSivashinsky(length=length)
    k = 2 * np.pi * np.arange(system.sites // 2 + 1) / length
    ours, finer = (Coefficients.of(k**2 - k**4, -0.5j * k, 0.0625, points=p) for p in (32, 256))
    for a, b in zip(ours, finer, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15)


def loop(system, state):
    """The slope of one member's state, index by index, as the equations are printed."""
    forcing = np.broadcast_to(system.forcing, system.nodes)
    if isinstance(system, Lorenz96):
        n = system.nodes
        return [(state[(k + 1) % n] - state[k - 2]) * state[k - 1] - state[k] + forcing[k] for k in range(n)]
    three = isinstance(system, Lorenz96ThreeScale)
    K, J, Z = system.nodes, system.fast, system.fastest if three else 0
    h, b, c, d, e = system.h, system.b, system.c, *((system.d, system.e) if three else (1.0, 0.0))
    outer = h * c / (b if getattr(system, "coupling", "sum") == "sum" else J)
    inner = h * e / d
    x, y, z = state[:K], state[K : K + K * J], state[K + K * J :]
    slope = [
        x[k - 1] * (x[(k + 1) % K] - x[k - 2]) - x[k] + forcing[k] - outer * sum(y[k * J + j] for j in range(J))
        for k in range(K)
    ]
    for k, j in product(range(K), range(J)):
        m, n = k * J + j, K * J
        below = sum(z[m * Z + i] for i in range(Z))
        slope.append(c * b * y[(m + 1) % n] * (y[m - 1] - y[(m + 2) % n]) - c * y[m] + outer * x[k] - inner * below)
    for m in range(K * J * Z):
        n = K * J * Z
        slope.append(e * d * z[m - 1] * (z[(m + 1) % n] - z[m - 2]) - e * z[m] + inner * y[m // Z])
    return slope


@pytest.mark.parametrize("system", SMALL[:4], ids=label)
def test_the_slope_equals_a_loop_over_indices(system):
    states = np.random.default_rng(0).standard_normal((2, system.dimension))
    if isinstance(system, Lorenz96):
        # Through one short step, whose slope is all that is left: the same road as a run's.
        step = 1e-7
        found = (after(system, states, step, step) - states) / step
        tolerance = 1e-5
    else:
        slope = ScalesSlope(system, (2,))
        slope.stage[system.rows] = states.T
        out = np.zeros_like(slope.stage)
        slope(out, 0.0)
        found, tolerance = out[system.rows].T, 1e-12
    np.testing.assert_allclose(found, [loop(system, state) for state in states], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("system", SMALL, ids=label)
def test_the_tangent_linear_flow_is_the_derivative_of_the_flow(system):
    step, steps, distance = 0.01, 20, 1e-6
    rng = np.random.default_rng(1)
    states = starts(system, 2)
    vectors = np.linalg.qr(rng.standard_normal((2, system.dimension, 3)))[0]
    flow = system.tangent(system.encode(states), vectors, step=step)
    flow.advance(steps)

    def run(physical):
        state = after(system, system.encode(physical), step, steps * step)
        return np.fft.irfft(state, system.dimension) if np.iscomplexobj(state) else state

    for i in range(3):
        ahead, behind = (run(states + s * distance * vectors[:, :, i]) for s in (1, -1))
        np.testing.assert_allclose(flow.vectors[:, :, i], (ahead - behind) / (2 * distance), atol=2e-7)


def test_the_couplings_agree_only_where_b_is_j():
    short = {"duration": 0.1, "spinup": 0.0, "every": 10, "verify": False, "dtype": "float64"}
    for fast, same in ((10, True), (8, False)):
        a, b = (lorenz96_two_scale(nodes=6, fast=fast, coupling=c, **short)["x"].values for c in ("sum", "mean"))
        assert np.allclose(a, b, rtol=1e-9) is same
