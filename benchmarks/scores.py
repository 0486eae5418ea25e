"""Scores: their speed beside other packages', and what logging them costs a fit."""

import contextlib
import time

import numpy as np
import scoringrules
import torch
from torchmetrics.regression import ContinuousRankedProbabilityScore

import stgate
from benchmarks.fits import trainer
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.speed.counts import loss_only
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.metrics import crps

ROUNDS = 5


def speed(rounds=ROUNDS):
    """Fair CRPS of 100,000 forecasts of 50 members; torchmetrics has the unfair one only."""
    rng = np.random.default_rng(0)
    truth, members = rng.standard_normal(100_000), rng.standard_normal((100_000, 50))
    tensors = torch.from_numpy(members), torch.from_numpy(truth)
    contenders = {"stgate": lambda: crps(truth, members)}
    for backend in ("numpy", "numba"):
        for estimator in ("fair", "pwm"):
            contenders[f"scoringrules {backend} {estimator}"] = lambda b=backend, e=estimator: (
                scoringrules.crps_ensemble(truth, members, estimator=e, backend=b)
            )
    contenders["torchmetrics"] = lambda: ContinuousRankedProbabilityScore()(*tensors)
    apart = np.abs(contenders["stgate"]() - contenders["scoringrules numpy fair"]()).max()
    assert apart < 1e-9, apart
    return {name: min(cpu_times({name: run}, rounds)[name]) for name, run in contenders.items()}


def logging(inference=None, rounds=ROUNDS, duration=100):
    """CPU seconds of a fit with its scores logged, and with its loss only, taken in turns."""
    import lightning as L

    panel = stgate.simulate.lorenz96(nodes=40, forcing=8.0, duration=duration, step=0.01, every=5, members=4, seed=0)
    options = {"window": 20, "horizon": 20, "split": [0.7, 0.1, 0.1, 0.1], "batch_size": 64}
    if inference is not None:
        options |= {"every": 8, "eval_every": 8}
    times = {"all scores": [], "loss only": []}
    for _ in range(rounds):
        for name, scoring in (("all scores", contextlib.nullcontext), ("loss only", loss_only)):
            L.seed_everything(0, verbose=False)
            model = stgate.models.GatedRNN(hidden=64, rollout=stgate.nn.RollOut(), halo=2, inference=inference)
            data = stgate.data.WindowData(panel, targets=["x"], **options)
            data.setup()
            started = time.process_time()
            with scoring():
                trainer(max_epochs=1, num_sanity_val_steps=0).fit(model, data)
            times[name].append(time.process_time() - started)
    return {name: min(values) for name, values in times.items()}


@benchmark(
    "scores",
    claim="fair CRPS is as fast as any package's, and logging scores costs a fit less than 10 %",
    cost="2 minutes",
    quick="one round instead of five, on a short panel",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options):
    rounds, duration = (1, 20) if options.quick else (ROUNDS, 100)
    figures = {
        "crps": speed(rounds),
        "fit": logging(None, rounds, duration),
        "ensemble": logging(stgate.inference.Ensemble(8), rounds, duration),
    }
    ours, others = figures["crps"]["stgate"], dict(figures["crps"])
    others.pop("stgate")
    slowest = others.pop("torchmetrics")
    rival = min(others, key=others.get)
    cost, more = (figures[name]["all scores"] / figures[name]["loss only"] - 1 for name in ("fit", "ensemble"))
    lines = [
        *table(["package", "ms"], ([name, f"{1000 * seconds:.0f}"] for name, seconds in figures["crps"].items())),
        "",
        f"{others[rival] / ours:.1f} times as fast as {rival}, {slowest / ours:.0f} times as fast as torchmetrics.",
        "",
        "CPU time of an epoch of GatedRNN on Lorenz-96 with CRPS, coverage and valid prediction time logged, against "
        f"one with its loss only: {100 * cost:+.1f} %; of an ensemble of 8: {100 * more:+.1f} %.",
    ]
    missed = [f"CRPS slower than {rival}"] if others[rival] < ours else []
    missed += ["CRPS less than 5 times as fast as torchmetrics"] if slowest < 5 * ours else []
    missed += ["logging costs 10 % or more"] if max(cost, more) >= 0.1 else []
    note = "CRPS of 100,000 forecasts of 50 members, one thread, milliseconds of CPU time:"
    return Findings("Scores", lines, figures, note, missed)
