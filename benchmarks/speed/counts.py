"""What the logged scores of each likelihood cost beside a training step.

CPU time, one thread, contenders in turns: training steps of GatedRNN (loss, backward, optimizer) with and without their
logged scores, as many as go from one score of counts to the next; and the validation of a batch of the same size.
"""

import contextlib
import statistics
from unittest import mock

import numpy as np
import pandas as pd
import torch
import xarray as xr

from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.data import WindowData
from stgate.distributions import (
    Log,
    LogNormal,
    NegativeBinomial,
    Normal,
    Quantiles,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from stgate.inference import Ensemble
from stgate.models import GatedRNN
from stgate.models.training import steps

NODES, STEPS, WINDOW, HORIZON, BATCH = 50, 600, 24, 12, 32
LIKELIHOODS = {
    "Normal": {"likelihood": Normal()},
    "StudentT": {"likelihood": StudentT()},
    "LogNormal": {"likelihood": LogNormal(shift=1.0)},
    "Quantiles": {"likelihood": Quantiles()},
    "NegativeBinomial": {"likelihood": NegativeBinomial()},
    "ZeroInflatedNegativeBinomial": {"likelihood": ZeroInflatedNegativeBinomial()},
    "Normal of the logarithm": {"likelihood": Normal(), "transforms": [Log(1.0)]},
    "StudentT of the logarithm": {"likelihood": StudentT(), "transforms": [Log(1.0)]},
    "Normal, 4 members": {"likelihood": Normal(), "inference": Ensemble(members=4)},
    "NegativeBinomial, 4 members": {"likelihood": NegativeBinomial(), "inference": Ensemble(members=4)},
}
MOST_LOGGING, MOST_VALIDATION = 0.05, 2.0


def counts_panel(nodes=NODES, length=STEPS):
    """An hourly panel of overdispersed counts with a daily cycle, a tenth missing."""
    rng = np.random.default_rng(0)
    day = 2 * np.pi * np.arange(length)[:, None] / 24
    mean = np.exp(1.5 + np.sin(day) + 0.5 * rng.standard_normal(nodes))
    counts = rng.poisson(mean * rng.gamma(2.0, 0.5, mean.shape)).astype("float32")
    counts[rng.random(counts.shape) < 0.1] = np.nan
    time = pd.date_range("2020-01-01", periods=length, freq="h")
    place = {"lat": ("node", np.linspace(40, 50, nodes)), "lon": ("node", np.linspace(0, 10, nodes))}
    return xr.Dataset({"y": (("time", "node"), counts, {"units": "1"})}, {"time": time, "node": range(nodes), **place})


def silent(*given, **options):
    """Log nothing."""


@contextlib.contextmanager
def loss_only():
    """Score and log the loss alone."""
    own = steps._update

    def update(forecaster, stage, name, *given):
        if name == "loss":
            own(forecaster, stage, name, *given)

    def log(forecaster, stage):
        forecaster.log(f"{stage}_loss", forecaster.scores[f"{stage}_loss"], on_step=False, on_epoch=True)

    with mock.patch.multiple(steps, _update=update, _update_median=silent, _log=log):
        yield


def contenders(options, data, batch):
    """Functions of one likelihood to be timed, by name."""
    torch.manual_seed(0)
    model = GatedRNN(**options)
    model.adopt(data)
    model.train()
    model.log = silent
    optimizer = model.make_optimizer()

    def run():
        for number in range(steps.EVERY):
            with mock.patch.object(GatedRNN, "global_step", number):
                optimizer.zero_grad()
                steps.objective(model, batch).backward()
                optimizer.step()

    def plain():
        with loss_only():
            run()

    def validate():
        model.eval()
        with torch.no_grad():
            model.validation_step(batch, 0)
        model.train()

    return {"step": plain, "logged": run, "validation": validate}


@benchmark(
    "speed_counts",
    claim="the logged scores cost at most 5 % of a training step, and validation at most 2 steps, of any likelihood",
    cost="6 minutes",
    quick="2 rounds at 8 nodes, and no bar",
    one_thread=True,
)
def run(options: Options):
    nodes, rounds = (8, 2) if options.quick else (NODES, 3)
    data = WindowData(counts_panel(nodes), targets=["y"], window=WINDOW, horizon=HORIZON, batch_size=BATCH)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    figures, missed = {}, []
    for name, given in LIKELIHOODS.items():
        spent = cpu_times(contenders(given, data, batch), rounds)
        step = statistics.median(spent["step"]) / steps.EVERY
        logging = (
            statistics.median(b - a for a, b in zip(spent["step"], spent["logged"], strict=True)) / step / steps.EVERY
        )
        validation = statistics.median(spent["validation"]) / step
        figures[name] = {"step": round(step, 4), "logging": round(logging, 3), "validation": round(validation, 2)}
        print(name, figures[name], flush=True)
        if logging > MOST_LOGGING:
            missed.append(f"{name}: the scores cost {logging:.1%} of a step")
        if validation > MOST_VALIDATION:
            missed.append(f"{name}: validation costs {validation:.1f} steps")
    rows = (
        [name, f"{one['step']:.3f}", f"{one['logging']:.1%}", f"{one['validation']:.2f}"]
        for name, one in figures.items()
    )
    lines = table(["likelihood", "step, CPU seconds", "logged scores, share of a step", "validation, steps"], rows)
    return Findings("What scores cost beside a training step", lines, figures, missed=[] if options.quick else missed)
