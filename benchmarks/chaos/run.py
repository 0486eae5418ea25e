"""Forecast chaos: python benchmarks/chaos/run.py [SYSTEM ...] [--work DIR] [--validate].

Fits the gated hybrid of each system (see systems.py), runs it beside persistence, climatology, a linear VAR and an
echo-state network, and writes results/chaos.json and results/chaos.md. Whatever is there already is not run again; a
fit that was stopped goes on. `--validate` scores the validation starts only, and writes nothing: all choices were made
with it. Needs the extra `bench`; one thread.
"""

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from fitting import fit
from references import REFERENCES, echo_state
from scoring import THRESHOLD, climate, forecasts, free_climate, prediction_time, truth_of
from systems import STARTS, STATES, SYSTEMS, WARM_UP, panel_of, starts_of

import stgate
from stgate.errors import CalibrationWarning

RESULTS = Path(__file__).parent.parent / "results"
LONG = 100_000
SAMPLES = 16


def values_of(system, forecast):
    """(member, lead, node), of the location."""
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


def table(results):
    """The Markdown."""
    lines = [
        "# Forecasting chaos",
        "",
        f"`python benchmarks/chaos/run.py`; {STATES:,} training states, {STARTS['test']} test starts of other "
        f"seeds. Valid prediction time: first time that NRMSE (each node's training sigma) exceeds {THRESHOLD}, in "
        "Lyapunov times (three-scale system: model time); definitions differ by a factor of two. One thread.",
        "",
        "| system | forecaster | mean ± standard error | median | worst decile | censored | minutes | parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, made in results.items():
        for name, s in made["prediction_time"].items():
            trained = f"{s['minutes']} | {s['parameters']:,}" if "minutes" in s else "| "
            lines.append(
                f"| {SYSTEMS[key].name} | {name} | {s['mean']:.2f} ± {s['standard_error']:.2f} | {s['median']:.2f} | "
                f"{s['worst_decile']:.2f} | {s['censored']:.0%} | {trained} |"
            )
    lines += [
        "",
        f"Intervals of {SAMPLES} sampled trajectories at 90 %, calibrated on as many other starts: the least and most "
        "coverage of any lead, from the first to well into the climate.",
        "",
        "| system | least | most | leads | starts |",
        "|---|---|---|---|---|",
    ]
    for key, made in results.items():
        if "intervals" in made:
            s = made["intervals"]
            lines.append(
                f"| {SYSTEMS[key].name} | {s['coverage_least']:.1%} | {s['coverage_most']:.1%} | {s['leads']} | "
                f"{starts_of(SYSTEMS[key], 'coverage')} |"
            )
    lines += [
        "",
        "Climate of a free run of 10,000 steps, and in brackets the floor, the system itself from another seed; how "
        f"far mean and spread of {LONG:,} steps are off, in training standard deviations.",
        "",
        "| system | spectrum, dB | Wasserstein distance | mean off | spread off |",
        "|---|---|---|---|---|",
    ]
    for key, made in results.items():
        if "climate" in made:
            ours, floor, long = (made["climate"][k] for k in ("ours", "floor", "long"))
            lines.append(
                f"| {SYSTEMS[key].name} | {ours['spectrum_error_db']} ({floor['spectrum_error_db']}) | "
                f"{ours['wasserstein']} ({floor['wasserstein']}) | {long['mean_off']:.2%} | {long['spread_off']:.2%} |"
            )
    lines += [
        "",
        "Published, second-hand and not verified: on Lorenz-96 with all of the state 2.3 (reservoir), 1.3 (GRU), 1.0 "
        "(LSTM), the forcing not stated; on Kuramoto-Sivashinsky with 512 points 4 (LSTM), 3.5 (GRU), 3.2 to 4.8 "
        "(reservoirs): a literature table that quotes Vlachas et al. (2020).",
        "",
    ]
    return "\n".join(lines)


def main():
    """Run what is missing; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "stgate-chaos")
    parser.add_argument("--validate", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = RESULTS / "chaos.json"
    for key in given.systems:
        system = SYSTEMS[key]
        names = [*REFERENCES, *system.reservoirs]
        if given.validate:
            print(key, hybrid(system, key, given.work, "validation"))
            for name in names:
                print(key, name, reference(system, name, given.work, "validation"))
            continue
        jobs = {("prediction_time", name): (reference, system, name, given.work, "test") for name in names}
        jobs |= {
            ("prediction_time", "gated hybrid"): (hybrid, system, key, given.work, "test"),
            ("intervals",): (intervals, system, key, given.work),
            ("climate",): (climates, system, key, given.work),
        }
        for where, (job, *arguments) in jobs.items():
            results = json.loads(path.read_text()) if path.exists() else {}
            place = results.setdefault(key, {"prediction_time": {}})
            for step in where[:-1]:
                place = place[step]
            if where[-1] not in place:
                place[where[-1]] = job(*arguments)
                print(key, *where, place[where[-1]], flush=True)
                path.write_text(json.dumps(results, indent=1) + "\n")
    if given.validate:
        return
    results = {
        k: v for k, v in sorted(json.loads(path.read_text()).items(), key=lambda item: list(SYSTEMS).index(item[0]))
    }
    (RESULTS / "chaos.md").write_text(table(results))
    print(table(results))
    sys.exit(int(any([missed(key, results[key]) for key in given.systems])))


def missed(key, made):
    """What a system's scores fall short of."""
    times = {name: s["mean"] for name, s in made["prediction_time"].items()}
    ours = times.pop("gated hybrid")
    bar = SYSTEMS[key].bar or 1.25 * max(times.values())
    cover, long = made["intervals"], made["climate"]["long"]
    minutes, allowed = made["prediction_time"]["gated hybrid"]["minutes"], SYSTEMS[key].minutes
    short = [f"{ours} < {bar}"] if ours < bar else []
    short += [f"{minutes} minutes of training > {allowed}"] if minutes > allowed else []
    short += ["coverage"] if not 0.87 <= cover["coverage_least"] <= cover["coverage_most"] <= 0.93 else []
    short += ["climate"] if max(long.values()) > 0.02 else []
    for what in short:
        print(f"{key}: missed, {what}")
    return short


if __name__ == "__main__":
    main()
