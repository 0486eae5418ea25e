"""Forecast chaos: python -m benchmarks run chaos [--work FOLDER] [-- --systems SYSTEM ... --validate].

Fits the gated hybrid of each system (see systems.py), runs it beside persistence, climatology, a linear VAR and an
echo-state network, and writes chaos.json and chaos.md. Whatever is there already is not run again; a
fit that was stopped goes on. `--validate` scores the validation starts only, and writes nothing: all choices were made
with it. Needs the extra `bench`; one thread.
"""

import tempfile
import warnings
from functools import partial
from pathlib import Path

import numpy as np

import stgate
from benchmarks.chaos.fitting import fit
from benchmarks.chaos.references import REFERENCES, echo_state
from benchmarks.chaos.scoring import THRESHOLD, climate, forecasts, free_climate, prediction_time, truth_of
from benchmarks.chaos.systems import STARTS, STATES, SYSTEMS, WARM_UP, panel_of, starts_of
from benchmarks.options import Findings, Options
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.store import Store
from benchmarks.tables import table
from stgate.errors import CalibrationWarning

LONG = 100_000
SAMPLES = 16


def values_of(system, forecast):
    """Return the location, (member, lead, node)."""
    made = forecast[f"{system.variable}_mean"].isel(init_time=0)
    return made.transpose("member", "lead_time", "node").values


def reference(system, name, work, part):
    """Scores of one reference."""
    train, test = (panel_of(system, p, work)[system.variable].values.astype("float64") for p in ("train", part))
    make = REFERENCES.get(name, echo_state)
    made = make(train, test[:, :WARM_UP], system.horizon, **system.reservoirs.get(name, {}))
    sigma = panel_of(system, "train", work)[system.variable].std(["member", "time"])
    return prediction_time(system, truth_of(system, panel_of(system, part, work)), made, sigma)


def hybrid(system, key, work, part):
    """Scores of the fitted hybrid."""
    model, minutes = fit(system, key, work)
    forecast = forecasts(model, system, panel_of(system, part, work))
    scored = prediction_time(
        system,
        truth_of(system, panel_of(system, part, work)),
        values_of(system, forecast),
        forecast[f"{system.variable}_sigma"],
    )
    count = sum(p.numel() for p in model.parameters())
    return {**scored, "minutes": round(minutes, 1), "parameters": count}


def intervals(system, key, work):
    """Coverage of 90 % intervals by lead, of sampled trajectories calibrated on other starts."""
    model, _ = fit(system, key, work)
    model.predictor.rollout.samples = SAMPLES
    calibration = panel_of(system, "calibration", work)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # the same model times, of other trajectories
        stgate.recalibrate(model, calibration, start=float(calibration["time"][WARM_UP]), levels=[0.9])
    panel = panel_of(system, "coverage", work)
    forecast = forecasts(model, system, panel).isel(init_time=0)
    truth = forecast[f"{system.variable}_truth"]
    low, high = (forecast[system.variable].sel(quantile=q) for q in (0.05, 0.95))
    inside = ((truth >= low) & (truth <= high)).mean(["member", "node"])
    width = (high - low).mean(["member", "node"]) / float(truth.std())
    at = np.unique(np.linspace(0, len(inside) - 1, 25).astype(int))
    leads = inside["lead_time"].values * system.exponent
    return {
        "coverage_least": round(float(inside.min()), 4),
        "coverage_most": round(float(inside.max()), 4),
        "leads": len(inside),
        "by_lead": {f"{leads[i]:.2f}": [round(float(inside[i]), 3), round(float(width[i]), 4)] for i in at},
    }


def climates(system, key, work):
    """Climate of a free run beside its floor, and mean and spread of one ten times as long."""
    model, _ = fit(system, key, work)
    test, floor = panel_of(system, "test", work), panel_of(system, "floor", work)
    truth = panel_of(system, "train", work)[system.variable]
    run = free_climate(model, system, test, LONG)
    return {
        "ours": climate(system, truth, run.isel(time=slice(0, floor.sizes["time"]))),
        "floor": climate(system, truth, floor[system.variable]),
        "long": {k: v for k, v in climate(system, truth, run).items() if k.endswith("off")},
    }


def note():
    return (
        f"{STATES:,} training states, {STARTS['test']} test starts of other "
        f"seeds. Valid prediction time: first time that NRMSE (each node's training sigma) exceeds {THRESHOLD}, in "
        "Lyapunov times (three-scale system: model time); definitions differ by a factor of two. One thread."
    )


def tables(results):
    """Return the tables of scores, intervals and climates."""
    header = ["system", "forecaster", "mean ± standard error", "median", "worst decile", "censored", "minutes"]
    rows = (
        [
            *(SYSTEMS[key].name, name, f"{s['mean']:.2f} ± {s['standard_error']:.2f}", f"{s['median']:.2f}"),
            *(f"{s['worst_decile']:.2f}", f"{s['censored']:.0%}"),
            *((s["minutes"], f"{s['parameters']:,}") if "minutes" in s else ("", "")),
        ]
        for key, made in results.items()
        for name, s in made["prediction_time"].items()
    )
    lines = table([*header, "parameters"], rows)
    lines += [
        "",
        f"Intervals of {SAMPLES} sampled trajectories at 90 %, calibrated on as many other starts: the least and most "
        "coverage of any lead, from the first to well into the climate.",
        "",
    ]
    rows = (
        [
            *(SYSTEMS[key].name, f"{s['coverage_least']:.1%}", f"{s['coverage_most']:.1%}", s["leads"]),
            starts_of(SYSTEMS[key], "coverage"),
        ]
        for key, s in ((key, made["intervals"]) for key, made in results.items() if "intervals" in made)
    )
    lines += table(["system", "least", "most", "leads", "starts"], rows)
    lines += [
        "",
        "Climate of a free run of 10,000 steps, and in brackets the floor, the system itself from another seed; how "
        f"far mean and spread of {LONG:,} steps are off, in training standard deviations.",
        "",
    ]
    rows = []
    for key, made in results.items():
        if "climate" in made:
            ours, floor, long = (made["climate"][k] for k in ("ours", "floor", "long"))
            both = (f"{ours[k]} ({floor[k]})" for k in ("spectrum_error_db", "wasserstein"))
            rows.append([SYSTEMS[key].name, *both, f"{long['mean_off']:.2%}", f"{long['spread_off']:.2%}"])
    lines += table(["system", "spectrum, dB", "Wasserstein distance", "mean off", "spread off"], rows)
    lines += [
        "",
        "Published, second-hand and not verified: on Lorenz-96 with all of the state 2.3 (reservoir), 1.3 (GRU), 1.0 "
        "(LSTM), the forcing not stated; on Kuramoto-Sivashinsky with 512 points 4 (LSTM), 3.5 (GRU), 3.2 to 4.8 "
        "(reservoirs): a literature table that quotes Vlachas et al. (2020).",
    ]
    return lines


def score(results, key, work, part, quick):
    """Make the scores of a system that are not there."""
    system = SYSTEMS[key]
    for name in [*REFERENCES, *(() if quick else system.reservoirs)]:
        results.once(key, "prediction_time", name, make=partial(reference, system, name, work, part))
    if not quick:
        results.once(key, "prediction_time", "gated hybrid", make=partial(hybrid, system, key, work, part))
    if not quick and part == "test":
        results.once(key, "intervals", make=partial(intervals, system, key, work))
        results.once(key, "climate", make=partial(climates, system, key, work))


@benchmark(
    "chaos",
    claim="Lorenz-96 and Kuramoto-Sivashinsky: the gated hybrid is valid for longest, covers, and keeps the climate",
    cost="a day; the extra bench",
    quick="references of Lorenz-96 without reservoirs",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options, *, systems: list[str] | None = None, validate: bool = False):
    """Run what the results lack.

    Args:
        options: Options of all benchmarks.
        systems: Names of the systems; all by default.
        validate: The validation starts, on which all was chosen; nothing is written.
    """
    keys = systems or (["l96-8"] if options.quick else list(SYSTEMS))
    if unknown := sorted(set(keys) - set(SYSTEMS)):
        raise BenchmarkError(f"chaos has no system {', '.join(unknown)}; it has {', '.join(SYSTEMS)}")
    work = options.working("chaos")
    with tempfile.TemporaryDirectory() as nowhere:
        results = Store((Path(nowhere) if validate else options.out) / "chaos.json")
        for key in keys:
            score(results, key, work, "validation" if validate else "test", options.quick)
        made = {key: results[key] for key in SYSTEMS if key in results}
    jobs = sum(len(place["prediction_time"]) + len(place) - 1 for place in made.values())
    short = [] if validate or options.quick else [miss for key in keys for miss in missed(key, made[key])]
    return Findings(
        "Forecasting chaos",
        tables(made),
        dict(results),
        note(),
        short,
        keep=not validate,
        reused=results.reused(jobs),
    )


def missed(key, made):
    """Name what a system's scores fall short of."""
    times = {name: s["mean"] for name, s in made["prediction_time"].items()}
    ours = times.pop("gated hybrid")
    bar = SYSTEMS[key].bar or 1.25 * max(times.values())
    cover, long = made["intervals"], made["climate"]["long"]
    minutes, allowed = made["prediction_time"]["gated hybrid"]["minutes"], SYSTEMS[key].minutes
    short = [f"{ours} < {bar}"] if ours < bar else []
    short += [f"{minutes} minutes of training > {allowed}"] if minutes > allowed else []
    short += ["coverage"] if not 0.87 <= cover["coverage_least"] <= cover["coverage_most"] <= 0.93 else []
    short += ["climate"] if max(long.values()) > 0.02 else []
    return [f"{key}: {what}" for what in short]
