"""The limit of what the slow variables alone can tell.

The three-scale Lorenz-96 system forecasts itself, from its true slow variables X and from fast ones that are not true:

* Z drawn anew for each Y: from another member and site, where Y has the nearest value;
* Y and Z drawn anew for each X: from another member and site, the nearest in X, in the sum of Y (and so in the tendency
  of X) and, with less weight, in the neighbours of X; Y is then shifted so that the sum stays as it is.

The first knows more than any forecaster of X: all of Y. The second draws what one who knows X and its tendency cannot
tell; a forecast by the mean of such draws errs by 1 / sqrt(2) of it while errors are small, worth 0.08 of model
time at a growth rate of 4.6. Valid prediction times as in run.py.
"""

import numpy as np
import xarray as xr
from scipy.spatial import cKDTree

import stgate
from benchmarks.chaos.scoring import prediction_time
from benchmarks.chaos.systems import SYSTEMS
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table

STARTS, LIBRARY = 100, 500
SYSTEM = SYSTEMS["l96-3scale"]


def simulate(initial=None, **options):
    """Simulate all scales, from a panel or from a seed."""
    return stgate.simulate.lorenz96_three_scale(
        **SYSTEM.parameters, scales=("x", "y", "z"), step=SYSTEM.step, verify=False, initial=initial, **options
    )


def numbered(panel, letter):
    """(member, node, number): the fast variables of one scale at the last time."""
    names = [n for n in panel.data_vars if n.startswith(f"{letter}_")]
    return np.stack([panel[n].isel(time=-1).transpose("member", "node").values for n in names], -1)


def replaced(panel, letter, values):
    """The panel with other fast variables."""
    made = panel.isel(time=[-1]).copy(deep=True)
    for number in range(values.shape[-1]):
        made[f"{letter}_{number}"] = made[f"{letter}_{number}"].copy(
            data=_like(made, values[..., number], letter, number)
        )
    return made


def _like(panel, values, letter, number):
    array = xr.DataArray(values[:, None], dims=("member", "time", "node"))
    return array.transpose(*panel[f"{letter}_{number}"].dims).values


@benchmark(
    "chaos_limit",
    claim="the slow variables of three-scale Lorenz-96 can be forecast from themselves for a limited time only",
    cost="10 minutes",
    quick="five starts",
    seeds=(7,),
)
def run(options: Options):
    starts, library = (5, 50) if options.quick else (STARTS, LIBRARY)
    states = simulate(members=starts + library, seed=7, duration=0.05, every=10)
    x = states["x"].isel(time=-1).transpose("member", "node").values
    y, z = numbered(states, "y"), numbered(states, "z")
    nodes, fast = y.shape[1:]
    z_of_y = z.reshape(*y.shape, -1)
    _, nearest = cKDTree(y[starts:].reshape(-1, 1)).query(y[:starts].reshape(-1, 1))
    drawn_z = z_of_y[starts:].reshape(-1, z_of_y.shape[-1])[nearest].reshape(starts, nodes, -1)

    total, sd = y.sum(-1), x.std()
    near = np.stack([x / sd, total / total.std(), 0.3 * np.roll(x, 1, 1) / sd, 0.3 * np.roll(x, -1, 1) / sd], -1)
    _, nearest = cKDTree(near[starts:].reshape(-1, 4)).query(near[:starts].reshape(-1, 4))
    other_y = y[starts:].reshape(-1, fast)[nearest].reshape(starts, nodes, fast)
    other_y += (total[:starts] - other_y.sum(-1))[..., None] / fast
    other_z = z[starts:].reshape(-1, z.shape[-1])[nearest].reshape(starts, nodes, -1)

    true = states.isel(member=slice(0, starts))
    known = {
        "X and Y true, Z drawn anew": replaced(true, "z", drawn_z),
        "X and the sum of Y true, Y and Z drawn anew": replaced(replaced(true, "y", other_y), "z", other_z),
    }
    times = {"duration": SYSTEM.horizon * SYSTEM.interval, "every": SYSTEM.every, "spinup": 0.0}
    truth = _ahead(simulate(true.isel(time=[-1]), **times))
    sigma = xr.full_like(truth.isel(member=0, lead_time=0, drop=True), sd)
    scores = {
        name: prediction_time(SYSTEM, truth, _ahead(simulate(start, **times)).values, sigma)
        for name, start in known.items()
    }
    note = (
        f"{SYSTEM.name}, run by its own equations from states whose fast variables "
        "are not the true ones; valid prediction time in model time."
    )
    rows = ([n, f"{s['mean']:.2f} ± {s['standard_error']:.2f}", f"{s['median']:.2f}"] for n, s in scores.items())
    lines = table(["known at the start", "mean ± standard error", "median"], rows)
    return Findings("What the slow variables alone can tell", lines, scores, note)


def _ahead(panel):
    made = panel["x"].transpose("member", "time", "node").isel(time=slice(1, None))
    return made.rename(time="lead_time")
