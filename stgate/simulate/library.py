"""Systems as functions: parameters in, a panel out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from stgate.errors import RequestError
from stgate.simulate.plan import RunOptions
from stgate.simulate.registry import build
from stgate.simulate.run import simulate
from stgate.simulate.system import Array
from stgate.simulate.systems.kuramoto_sivashinsky import KuramotoSivashinsky
from stgate.simulate.systems.lorenz96_scales import ScaleName
from stgate.simulate.systems.lorenz96_two_scale import Coupling, PresetName
from stgate.simulate.systems.ordinary import OrdinarySystem
from stgate.simulate.systems.sensor_network import KEPT, SensorNetwork


def lorenz96(*, nodes: int = 40, forcing: float | Sequence[float] = 8.0, **run: Unpack[RunOptions]) -> xr.Dataset:
    """Simulate the single-scale Lorenz-96 system, dx_k/dt = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F_k.

    Args:
        nodes: Number of sites N, at least 4.
        forcing: F, one number or one for each site.
        **run: Options of a run: duration, step, every, members, seed, spinup, initial, out and the others that
            `stgate.simulate.plan.RunOptions` lists.

    Returns:
        A panel with `x(member, time, node)`; its attributes describe the run.

    Raises:
        RequestError: The step does not divide the spans or is beyond RK4's stability (0.75 / F), or an option is wrong.
        SimulationError: A member blew up.

    References:
        Lorenz, E. N. (1996), Predictability: a problem partly solved. ECMWF Seminar on Predictability, 1-18.

    >>> panel = lorenz96(nodes=8, duration=1.0, members=2)
    >>> dict(panel.sizes)
    {'member': 2, 'time': 21, 'node': 8}
    """
    return simulate(build("lorenz96", {"nodes": nodes, "forcing": forcing}), **run)


def lorenz96_two_scale(
    *,
    preset: PresetName | None = None,
    nodes: int | None = None,
    fast: int | None = None,
    forcing: float | Sequence[float] | None = None,
    h: float | None = None,
    b: float | None = None,
    c: float | None = None,
    coupling: Coupling | None = None,
    scales: Sequence[ScaleName] = ("x",),
    **run: Unpack[RunOptions],
) -> xr.Dataset:
    """Simulate Lorenz-96 with two scales: slow sites X, each with J fast ones Y.

    The equations and the two conventions of the coupling are given by
    `stgate.simulate.systems.lorenz96_two_scale.Lorenz96TwoScale`. A node of the panel is a slow site with its fast
    sites: its variables are `x` and `y_0` … `y_{J-1}`.

    Args:
        preset: `lorenz1996`, `wilks2005` (the default), `arnold2013` or `schneider2017`; parameters
            given beside it win.
        nodes: Number of slow sites K.
        fast: Number of fast sites J in each slow one.
        forcing: F, one number or one for each slow site.
        h: Strength of the coupling.
        b: Ratio of the amplitudes.
        c: Ratio of the time scales.
        coupling: Convention of the coupling, `sum` or `mean` over fast sites; they agree if and only if b = J.
        scales: Scales to return: `x`, `y` or both.
        **run: Options of a run: duration, step, every, members, seed, spinup, initial, out and the others that
            `stgate.simulate.plan.RunOptions` lists.

    Returns:
        A panel with the variables over (member, time, node); its attributes describe the run.

    Raises:
        RequestError: An option is wrong, or RK4 blows up with this step.
        SimulationError: A member blew up.

    >>> brief = {"duration": 0.1, "spinup": 0.1, "every": 10, "verify": False}
    >>> panel = lorenz96_two_scale(preset="lorenz1996", nodes=6, scales=("x", "y"), **brief)
    >>> panel.sizes["node"], len(panel.data_vars)  # x, and the fast scale's y_0 to y_9
    (6, 11)
    """
    named = {
        "nodes": nodes,
        "fast": fast,
        "forcing": forcing,
        "h": h,
        "b": b,
        "c": c,
        "coupling": coupling,
        "scales": scales,
        "preset": preset,
    }
    return simulate(build("lorenz96_two_scale", named), **run)


def lorenz96_three_scale(
    *,
    nodes: int = 8,
    fast: int = 8,
    fastest: int = 8,
    forcing: float | Sequence[float] = 20.0,
    h: float = 1.0,
    b: float = 10.0,
    c: float = 10.0,
    d: float = 10.0,
    e: float = 10.0,
    scales: Sequence[ScaleName] = ("x",),
    **run: Unpack[RunOptions],
) -> xr.Dataset:
    """Simulate Lorenz-96 with three scales: slow sites X, fast ones Y in each, still faster ones Z in each of those.

    The equations are given by `stgate.simulate.systems.lorenz96_three_scale.Lorenz96ThreeScale`. A node of the panel is
    a slow site with its faster sites: its variables are `x`, `y_0` … `y_{J-1}` and `z_0` … `z_{J I - 1}`.

    Args:
        nodes: Number of slow sites K.
        fast: Number of fast sites J in each slow one.
        fastest: Number of the fastest sites I in each fast one.
        forcing: F, one number or one for each slow site.
        h: Strength of both couplings.
        b: Ratio of the amplitudes of X and Y.
        c: Ratio of the time scales of X and Y.
        d: Ratio of the amplitudes of Y and Z.
        e: Rate of Z.
        scales: Scales to return: any of `x`, `y` and `z`.
        **run: Options of a run: duration, step, every, members, seed, spinup, initial, out and the others that
            `stgate.simulate.plan.RunOptions` lists.

    Returns:
        A panel with the variables over (member, time, node); its attributes describe the run.

    Raises:
        RequestError: An option is wrong, or RK4 blows up with this step.
        SimulationError: A member blew up.

    >>> panel = lorenz96_three_scale(duration=0.1, spinup=0.1, every=10, verify=False)
    >>> panel["x"].shape
    (1, 11, 8)
    """
    counts = {"nodes": nodes, "fast": fast, "fastest": fastest}
    rates = {"forcing": forcing, "h": h, "b": b, "c": c, "d": d, "e": e}
    return simulate(build("lorenz96_three_scale", {**counts, **rates, "scales": scales}), **run)


def kuramoto_sivashinsky(*, length: float = 22.0, nodes: int | None = None, **run: Unpack[RunOptions]) -> xr.Dataset:
    """Simulate the Kuramoto-Sivashinsky equation, u_t = -u u_x - u_xx - u_xxxx with period L.

    The scheme is ETDRK4 with the 2/3 rule. `stgate.simulate.systems.kuramoto_sivashinsky.KuramotoSivashinsky` describes
    the numerics, and the accuracy of a step of 0.25.

    Args:
        length: The physical period L, not divided by 2π.
        nodes: Grid points, even; by default enough to resolve the field (2.56 L).
        **run: Options of a run: duration, step, every, members, seed, spinup, initial, out and the others that
            `stgate.simulate.plan.RunOptions` lists.

    Returns:
        A panel with `u(member, time, node)` and the coordinate `x(node)`; its attributes describe the run.

    Raises:
        RequestError: An option is wrong, or the step is above 0.5, where the field looks right but is wrong.
        SimulationError: A member blew up.

    >>> panel = kuramoto_sivashinsky(length=22.0, duration=10.0, spinup=50.0)
    >>> panel["u"].shape, panel.attrs["period"]
    ((1, 41, 60), 22.0)
    """
    return simulate(KuramotoSivashinsky(length=length, nodes=nodes), **run)


def sensor_network(
    *,
    stations: int = 36,
    places: int = 0,
    size: float = 100.0,
    noise: float = 0.1,
    start: str = "2020-01-01",
    pollutants: int = 1,
    missing: float = 0.0,
    kept: Sequence[str] = KEPT,
    **run: Unpack[RunOptions],
) -> xr.Dataset:
    """Simulate hourly concentrations at scattered stations, with the truth known there and at places without a station.

    The field and its exact solution are described in `stgate.simulate.systems.sensor_network.SensorNetwork`.

    Args:
        stations: Number of stations.
        places: Number of further places without a station; their `pm25` is always missing, their truth is known.
        size: Side of the domain in km.
        noise: Relative standard deviation of the instrument noise.
        start: First time of the panel.
        pollutants: Number of pollutants, from pm25, pm10, no2, o3, so2, co.
        missing: Share of the measurements that is missing, in gaps of whole stations.
        kept: What the panel holds: `measured`, `truth`, `wind`.
        **run: Options of a run: duration, step, every, members, seed, spinup, initial, out and the others that
            `stgate.simulate.plan.RunOptions` lists. Times are in hours.

    Returns:
        A panel with `pm25` as measured, `pm25_truth`, `wind_u` and `wind_v` over (member, time, node), and the
        coordinates `x`, `y` (km) and `station(node)`.

    Raises:
        RequestError: An option is wrong.

    >>> panel = sensor_network(stations=5, places=2, duration=48.0)
    >>> panel["pm25"].shape, int(panel["pm25"].notnull().all("time").sum())
    ((1, 49, 7), 5)
    """
    system = SensorNetwork(
        stations=stations,
        places=places,
        size=size,
        noise=noise,
        start=start,
        pollutants=pollutants,
        missing=missing,
        kept=tuple(kept),
    )
    return simulate(system, **run)


def integrate(
    rhs: Callable[[float, Array], ArrayLike],
    state: ArrayLike,
    *,
    name: str = "user",
    variable: str = "x",
    units: str = "1",
    parameters: Mapping[str, Any] | None = None,
    **run: Unpack[RunOptions],
) -> xr.Dataset:
    """Integrate your own right-hand side by RK4, with the panel, checks, streaming and resuming of the other systems.

    Args:
        rhs: Right-hand side, called as rhs(time, state) with states (member, node); it returns dstate/dt of the same
            shape. Members must not depend on one another.
        state: Initial state, (node,) or (member, node).
        name: Name of the system in the panel's attributes.
        variable: Name of the variable in the panel.
        units: Units of the variable.
        parameters: Parameters that distinguish this system from others. They are stored, and a run is resumed only if
            they agree, since functions cannot be compared.
        **run: Options of a run: duration, step, every, members, seed, spinup, initial, out and the others that
            `stgate.simulate.plan.RunOptions` lists. `duration` and `step` are required. No safe step is
            known for this system, so look at the panel's valid-ground-truth time. By default `every` is 1 and `spinup`
            is 0.

    Returns:
        A panel with `variable(member, time, node)`.

    Raises:
        RequestError: An option is wrong, or the right-hand side returns another shape.
        SimulationError: A member blew up.

    >>> def lorenz63(time, state):
    ...     x, y, z = state.T
    ...     return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], axis=1)
    >>> panel = integrate(lorenz63, [1.0, 1.0, 1.0], duration=5.0, step=0.01, name="lorenz63")
    >>> panel["x"].shape
    (1, 501, 3)
    """
    if not callable(rhs):
        raise RequestError(f"rhs {rhs!r}: must be a function of (time, state)")
    if "initial" in run:
        raise RequestError("initial: integrate starts from state; leave initial out")
    if np.iscomplexobj(state) or not np.size(state):
        raise RequestError("state: must hold real numbers, at least one, over (node,) or (member, node)")
    try:
        states = np.atleast_2d(np.asarray(state, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise RequestError("state: must hold real numbers over (node,) or (member, node)") from error
    if not np.isfinite(states).all():
        raise RequestError("state: not all values are finite")
    system = OrdinarySystem.from_rhs(rhs, states, name=name, variable=variable, units=units, parameters=parameters)
    if "duration" not in run or "step" not in run:
        raise RequestError("duration and step: both are needed; give them")
    run["initial"] = states
    return simulate(system, **run)
