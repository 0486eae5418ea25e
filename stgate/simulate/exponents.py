"""Lyapunov exponents by the tangent-linear flow and QR."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from stgate.errors import RequestError, SimulationError
from stgate.simulate.counting import member_stream, steps_in
from stgate.simulate.plan import Progress, check_step
from stgate.simulate.reference import known
from stgate.simulate.registry import build
from stgate.simulate.system import Array, System, number, positive, whole

BETWEEN = 10
"""Steps between two orthonormalisations."""


def lyapunov(
    system: str,
    *,
    exponents: int | None = None,
    duration: float | None = None,
    transient: float | None = None,
    step: float | None = None,
    members: int = 8,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
    **parameters: Any,  # noqa: ANN401 (a system's own)
) -> xr.Dataset:
    """Compute the leading Lyapunov exponents of a system.

    Perturbations follow the tangent-linear map of the integrator and are made orthonormal every ten steps. The
    exponents are the mean logarithms of their growth, over time and members (Benettin et al. 1980). The Kaplan-Yorke
    dimension is j + (λ_1 + … + λ_j) / |λ_{j+1}| for the last j whose sum is not negative. Standard errors come from the
    standard deviation between members.

    Args:
        system: Name of the system: `lorenz96`, `kuramoto_sivashinsky`, …
        exponents: Number of exponents; by default all of a small system, and enough for the dimension of a large one.
        duration: Model time of the average, for each member.
        transient: Model time after the spin-up in which the perturbations align; it is not averaged.
        step: Integration step; the system's default when None.
        members: Number of independent trajectories, at least 2.
        seed: Seed of the initial states and perturbations.
        force: Run although the step is above the system's limit.
        progress: Function called with (steps done, total steps); None for no reports.
        **parameters: Parameters of the system, by name.

    Returns:
        `exponent(rank)` and `exponent_error(rank)`, per unit of model time, and the scalars `kaplan_yorke_dimension`
        and its error, `positive` (the number of positive exponents), `kolmogorov_sinai_entropy` (the sum of these),
        `lyapunov_time`, `total` (the sum of all exponents) and `total_exact`, and `zero` (the largest magnitude of the
        exponents that are zero in theory); NaN where there are too few exponents.

    Raises:
        RequestError: There is no such system, it is not chaotic, or an option is wrong.
        SimulationError: A member blew up.

    References:
        Benettin, G. et al. (1980), Meccanica 15, 9-20, doi:10.1007/BF02128236.
        Kaplan, J. L., Yorke, J. A. (1979), Lecture Notes in Mathematics 730, 204-227.

    >>> found = lyapunov("lorenz96", nodes=5, forcing=8.0, duration=20.0, members=2)
    >>> found["exponent"].shape, round(float(found["total"]), 2)
    ((5,), -5.0)
    """
    equation = build(system, parameters)
    if not equation.zeros:
        raise RequestError(f"{system}: not a chaotic system; choose one that is")
    step = equation.defaults.step if step is None else number("step", step)
    duration = 20 * equation.defaults.duration if duration is None else number("duration", duration)
    members, seed = whole("members", members), whole("seed", seed)
    transient = max(0.1 * duration // step, BETWEEN) * step if transient is None else transient
    count = equation.exponents_needed if exponents is None else whole("exponents", exponents)
    positive(exponents=count)
    if members < 2:
        raise RequestError(f"members {members}: must be at least 2, for the standard error")
    if seed < 0:
        raise RequestError(f"seed {seed}: must not be negative")
    if count > equation.dimension:
        raise RequestError(f"exponents {count}: must be at most {equation.dimension}, the dimension of the system")
    check_step(equation, step, force=force)
    rounds = steps_in(duration, step, "duration") // BETWEEN
    discarded = steps_in(transient, step, "transient") // BETWEEN
    if rounds < 1:
        raise RequestError(f"duration {duration:g}: must be at least {BETWEEN} steps of {step:g}")
    rates = _rates(equation, count, rounds, discarded, step, members, seed, progress)
    return _dataset(equation, rates, {"step": step, "duration": duration, "members": members, "seed": seed})


def _rates(
    system: System,
    count: int,
    rounds: int,
    discarded: int,
    step: float,
    members: int,
    seed: int,
    progress: Progress | None,
) -> Array:
    """Compute the exponents of each member, (member, count)."""
    streams = [member_stream(system.name, seed, member) for member in range(members)]
    stepper = system.stepper(system.encode(np.stack([system.initial(stream) for stream in streams])), step=step)
    total = BETWEEN * (discarded + rounds)
    settle = round(system.defaults.spinup / step)
    report: Callable[[int], None] = lambda done: progress(done, settle + total) if progress else None  # noqa: E731
    for done in range(0, settle, 1000):
        stepper.advance(min(1000, settle - done))
        report(done)
    vectors = np.stack([np.linalg.qr(stream.standard_normal((system.dimension, count)))[0] for stream in streams])
    flow = system.tangent(stepper.state, vectors, step=step)
    grown = np.zeros((members, count))
    for turn in range(discarded + rounds):
        flow.advance(BETWEEN)
        vectors = flow.vectors
        if not np.isfinite(vectors).all():
            raise SimulationError(f"a member blew up with step {step:g}; try --step {step / 2:g}")
        flow.vectors, triangle = np.linalg.qr(vectors)
        if turn >= discarded:
            grown += np.log(np.abs(np.einsum("mii->mi", triangle)))
        report(settle + BETWEEN * (turn + 1))
    return grown / (rounds * BETWEEN * step)


def kaplan_yorke(exponents: Array) -> float:
    """Kaplan-Yorke dimension of exponents in falling order; NaN if their sum stays positive, 0 if none is positive.

    Args:
        exponents: Lyapunov exponents, (rank,), the largest first.

    >>> round(kaplan_yorke(np.array([0.906, 0.0, -14.572])), 3)
    2.062
    """
    sums = np.cumsum(exponents)
    if sums[0] < 0:
        return 0.0
    below = np.flatnonzero(sums < 0)
    if not below.size:
        return float("nan")
    j = int(below[0])
    return j + float(sums[j - 1] / abs(exponents[j]))


def _dataset(system: System, rates: Array, made: dict[str, float]) -> xr.Dataset:
    members, count = rates.shape
    rates = -np.sort(-rates, axis=1)
    mean = rates.mean(axis=0)
    error = rates.std(axis=0, ddof=1) / np.sqrt(members)
    dimensions = np.array([kaplan_yorke(member) for member in rates])
    dimension = kaplan_yorke(mean)
    # The exponents that are exactly zero are those nearest to it; what is above them is positive.
    near = np.argsort(np.abs(mean))[: min(system.zeros, count)]
    above = int((mean > 0).sum() - (mean[near] > 0).sum())
    whole = count == system.dimension
    certain = (mean < 0).any() and count - above >= system.zeros + 1
    entry = known(system.name, system.parameters)
    unknown = float("nan")
    scalars: dict[str, tuple[float, str]] = {
        "positive": (above if certain else unknown, "number of positive exponents"),
        "kaplan_yorke_dimension": (dimension, "Kaplan-Yorke dimension"),
        "kaplan_yorke_dimension_error": (
            float(dimensions.std(ddof=1) / np.sqrt(members)) if np.isfinite(dimension) else unknown,
            "standard error of the Kaplan-Yorke dimension",
        ),
        "kolmogorov_sinai_entropy": (
            float(mean[:above].sum()) if certain else unknown,
            "sum of the positive exponents, the Kolmogorov-Sinai entropy by Pesin's identity",
        ),
        "lyapunov_time": (1 / float(mean[0]) if mean[0] > 0 else unknown, "1 / the leading exponent"),
        "total": (float(mean.sum()) if whole else unknown, "sum of all exponents"),
        "total_exact": (unknown if system.trace is None else system.trace, "mean divergence of the flow"),
        "zero": (
            float(np.abs(mean[near]).max()) if certain else unknown,
            "largest magnitude of what should be "
            + ("a zero exponent" if system.zeros == 1 else f"{system.zeros} zeros"),
        ),
    }
    attrs = {
        "title": f"Lyapunov exponents of {system.title}",
        "system": system.name,
        "parameters": json.dumps(system.parameters),
        "method": f"tangent-linear {system.integrator}, QR every {BETWEEN} steps",
        **made,
    }
    if entry:
        attrs["reference_exponent"] = entry["exponent"]
        attrs["reference_exponent_error"] = entry["exponent_error"]
        attrs["reference_provenance"] = entry["provenance"]
    rank = ("rank", np.arange(1, count + 1))
    return xr.Dataset(
        {
            "exponent": ("rank", mean, {"units": "1", "long_name": "Lyapunov exponent"}),
            "exponent_error": ("rank", error, {"units": "1", "long_name": "standard error of the Lyapunov exponent"}),
            **{name: ((), value, {"long_name": text}) for name, (value, text) in scalars.items()},
        },
        coords={"rank": rank},
        attrs=attrs,
    )
