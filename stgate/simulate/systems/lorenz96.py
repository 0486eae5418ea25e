"""Lorenz-96: a ring of weather-like sites, the standard benchmark of chaotic forecasting."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from stgate.errors import RequestError
from stgate.simulate.run import Progress, State, integrate_members, member_stream, steps_in

LYAPUNOV = {(40, 8.0): 1.698, (36, 8.0): 1.672, (40, 10.0): 2.304, (4, 20.0): 1.199}
"""Leading Lyapunov exponents by (nodes, forcing), from tangent-linear QR runs with standard errors of .005 to .011."""


def lorenz96(
    *,
    nodes: int = 40,
    forcing: float = 8.0,
    duration: float = 100.0,
    step: float = 0.01,
    every: int = 5,
    members: int = 1,
    seed: int = 0,
    spinup: float = 20.0,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Simulate the single-scale Lorenz-96 system.

    dx_k/dt = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F,  k = 0 … N-1 on a ring

    Advection conserves energy, the linear term damps it, F feeds it. For F = 8 and N = 40 the flow is chaotic with a
    leading exponent of 1.70 per time unit (a Lyapunov time of 0.59). One time unit is about five atmospheric days.
    Classical RK4; the first state is F plus seeded noise, and the spin-up is discarded.

    Args:
        nodes: Number of sites N, at least 4.
        forcing: F.
        duration: Model time from the first to the last state kept.
        step: Integration step. RK4 is safe up to about 0.4 / F.
        every: Output stride: one state kept every so many steps.
        members: Independent trajectories; member i does not depend on their number.
        seed: Of the initial states.
        spinup: Model time discarded at the start.
        progress: Called with (steps done, steps in all).

    Returns:
        A panel with `x(member, time, node)`, float32, and how it was made in its attrs.

    Raises:
        RequestError: The step does not divide the spans, or is beyond RK4's stability (0.75 / F).
        SimulationError: A member blew up.

    References:
        Lorenz, E. N. (1996), Predictability: a problem partly solved. ECMWF Seminar on Predictability, 1-18.

    >>> panel = lorenz96(nodes=8, duration=1.0, members=2)
    >>> dict(panel.sizes)
    {'member': 2, 'time': 21, 'node': 8}
    """
    if nodes < 4:
        raise RequestError(f"nodes {nodes}: Lorenz-96 needs at least 4 sites")
    if members < 1 or every < 1:
        raise RequestError(f"{'members' if members < 1 else 'every'} must be at least 1")
    if seed < 0:
        raise RequestError(f"seed {seed}: must not be negative")
    if step > 0.75 / max(abs(forcing), 1.0):
        raise RequestError(
            f"step {step:g}: RK4 blows up at forcing {forcing:g}; at most {0.4 / max(abs(forcing), 1.0):.2g} is safe"
        )
    discarded = steps_in(spinup, step, "spinup")
    steps = every * steps_in(duration, every * step, "duration")
    noise = [member_stream("lorenz96", seed, i).standard_normal(nodes) for i in range(members)]
    stepper = RungeKutta4(members, nodes, forcing, step)
    state = forcing + np.stack(noise)
    bound = 100.0 * max(abs(forcing), 1.0)
    if discarded:
        state = integrate_members(stepper, state, steps=discarded, every=discarded, step=step, bound=bound)[-1].copy()
    kept = integrate_members(stepper, state, steps=steps, every=every, step=step, bound=bound, progress=progress)
    return _panel(
        kept,
        {
            "nodes": nodes,
            "forcing": forcing,
            "duration": duration,
            "step": step,
            "every": every,
            "members": members,
            "seed": seed,
            "spinup": spinup,
        },
    )


class RungeKutta4:
    """One classical RK4 step of Lorenz-96, in place on a (member, node) state, with work arrays kept.

    The tendency reads a copy of the state with a halo (two sites before, one after), so that neighbours are views.
    """

    def __init__(self, members: int, nodes: int, forcing: float, step: float) -> None:
        self.forcing, self.step = forcing, step
        self.halo = np.empty((members, nodes + 3))
        self.slope, self.total = np.empty((members, nodes)), np.empty((members, nodes))

    def tendency(self, state: State, out: State) -> State:
        """dx/dt of a (member, node) state into `out`."""
        halo = self.halo
        halo[:, 2:-1] = state
        halo[:, :2] = state[:, -2:]
        halo[:, -1] = state[:, 0]
        np.subtract(halo[:, 3:], halo[:, :-3], out=out)
        out *= halo[:, 1:-2]
        out -= state
        out += self.forcing
        return out

    def __call__(self, state: State) -> None:
        """Advance the state by one step, in place."""
        slope, total, step = self.slope, self.total, self.step
        self.tendency(state, slope)
        total[:] = slope
        for weight, fraction in ((2.0, 0.5), (2.0, 0.5), (1.0, 1.0)):
            slope *= fraction * step
            slope += state
            self.tendency(slope.copy(), slope)
            total += weight * slope
        total *= step / 6.0
        state += total


def _panel(kept: State, parameters: dict[str, float]) -> xr.Dataset:
    from stgate import __version__

    nodes, forcing = int(parameters["nodes"]), parameters["forcing"]
    attrs: dict[str, object] = {
        "Conventions": "CF-1.11",
        "title": f"Lorenz-96, {nodes} sites, forcing {forcing:g}",
        "source": f"stgate {__version__} simulate lorenz96",
        "system": "lorenz96",
        "equation": "dx_k/dt = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F",
        "parameters": json.dumps(parameters),
        "integrator": "RK4, float64; stored as float32",
        "boundary": "periodic",
    }
    exponent = LYAPUNOV.get((nodes, forcing))
    if exponent:
        attrs["lyapunov_exponent"] = exponent
    # An integer count times the step, in float64: float32 time drifts on long runs.
    times = np.arange(kept.shape[0]) * parameters["every"] * parameters["step"]
    return xr.Dataset(
        {
            "x": (
                ("member", "time", "node"),
                kept.transpose(1, 0, 2).astype("float32"),
                {"long_name": "x", "units": "1"},
            )
        },
        coords={
            "member": np.arange(kept.shape[1]),
            "time": ("time", times, {"long_name": "model time", "units": "1"}),
            "node": np.arange(nodes),
        },
        attrs=attrs,
    )
