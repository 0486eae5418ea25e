"""Cost of a training step of STH-SepNet: python -m benchmarks run sth_sepnet_cost [-- --agcrn AGCRN].

The default configuration, 207 nodes, 12 steps in and 12 ahead, batches of 64, beside the spatial layers that were
published with the paper (released.py), which are given the same temporal branch and a gate for each lead. And what
learned graphs cost: the spatial branch with its adaptive graph and hypergraph, and the whole default configuration, 32
nodes, batches of 16, 32 channels, beside AGCRN of PyTorch Geometric Temporal where AGCRN is its file `agcrn.py` (of
version 0.56.2; the package declares what cannot be installed beside this torch). CPU time of one thread, the median of
rounds in turns. Bars: the first is 3 times as fast, the second takes at most 38 ms and no more than AGCRN.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

from benchmarks.fits import ALONE
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.sth_sepnet.released import Released
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.data import WindowData
from stgate.distributions import Normal
from stgate.models import STHSepNet

WINDOW = HORIZON = 12
FASTER, MOST = 3.0, 0.038


def batch_of(nodes, size):
    """A module of random walks at random places, and a batch of it."""
    rng = np.random.default_rng(0)
    where = {"lat": ("node", rng.uniform(0, 1, nodes)), "lon": ("node", rng.uniform(0, 1, nodes))}
    coords = {"time": pd.date_range("2020", periods=300, freq="5min"), "node": np.arange(nodes).astype(str), **where}
    panel = xr.Dataset({"speed": (("time", "node"), rng.standard_normal((300, nodes)).cumsum(0))}, coords)
    data = WindowData(panel, targets="speed", window=WINDOW, horizon=HORIZON, batch_size=size)
    return data, next(iter(data.train_dataloader()))


def forecaster(data, **options):
    model = STHSepNet(**{**ALONE, "likelihood": Normal(), **options})
    model.adopt(data)
    model.log = lambda *_, **__: None
    return model


def training(parameters, loss):
    optimizer = torch.optim.Adam(parameters)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def ours(data, batch, **options):
    model = forecaster(data, **options)
    return training(model.parameters(), lambda: model.training_step(batch, 0))


def published(data, batch):
    """The released layers, our temporal branch, and the released gate: sigmoid of a map of both, for each lead."""
    model, layers = forecaster(data, spatial=False), Released(len(data.spec.nodes), WINDOW, HORIZON)
    gate = nn.Linear(2 * len(data.spec.nodes), len(data.spec.nodes))
    x, y = batch["past"][..., 0], batch["target"][..., 0]

    def loss():
        time_ = model.predictor.built(model.predictor.scaler(batch), None)[..., 0, 0].expand(y.shape)
        space = layers(x)
        share = torch.sigmoid(gate(torch.cat([time_, space], -1)))
        return (share * time_ + (1 - share) * space - y).square().mean()

    return training([*model.parameters(), *layers.parameters(), *gate.parameters()], loss)


def recurrence(path, batch, hidden=32):
    """A recurrence over the window, a linear map of its last state to all leads."""
    found = importlib.util.spec_from_file_location("agcrn", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    x, y = batch["past"], batch["target"][..., 0]
    cell, out = module.AGCRN(x.shape[2], 1, hidden, 2, 10), nn.Linear(hidden, HORIZON)
    embedding = nn.Parameter(torch.randn(x.shape[2], 10))

    def loss():
        state = None
        for step in range(WINDOW):
            state = cell(x[:, step], embedding, state)
        return (out(state).transpose(1, 2) - y).abs().mean()

    return training([*cell.parameters(), *out.parameters(), embedding], loss)


def seconds(contenders, rounds):
    """Return the median CPU seconds of each, after one round to warm up."""
    return {name: float(np.median(spent)) for name, spent in cpu_times(contenders, rounds).items()}


@benchmark(
    "sth_sepnet_cost",
    claim="a step of STH-SepNet is 3 times as fast as the published layers, and learned graphs cost at most 38 ms",
    cost="2 minutes; the file of AGCRN for a rival",
    quick="fewer rounds",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options, *, agcrn: Path | None = None):
    """Time the steps.

    Args:
        options: Options of all benchmarks.
        agcrn: File agcrn.py of PyTorch Geometric Temporal.
    """
    rounds = (1, 5) if options.quick else (5, 40)
    large = batch_of(207, 64)
    of_large = seconds({"STH-SepNet": ours(*large), "published layers": published(*large)}, rounds[0])
    small = batch_of(32, 16)
    contenders = {
        "spatial branch, learned graph and hypergraph": ours(*small, backbone=None, graph="adaptive"),
        "STH-SepNet": ours(*small),
    }
    if agcrn:
        contenders["AGCRN of PyTorch Geometric Temporal"] = recurrence(agcrn, small[1])
    of_small = seconds(contenders, rounds[1])
    fewer = of_large["published layers"] / of_large["STH-SepNet"]
    lines = [
        f"207 nodes, 12 steps in and ahead, batches of 64 (bar: {FASTER:g} times as fast):",
        "",
        *table(["", "seconds a step", "windows/s"], ([n, f"{s:.2f}", f"{64 / s:.0f}"] for n, s in of_large.items())),
        "",
        f"STH-SepNet is {fewer:.1f} times as fast.",
        "",
        f"32 nodes, 12 steps in and ahead, batches of 16, 32 channels (bar: {1e3 * MOST:g} ms):",
        "",
        *table(["", "ms a step"], ([name, f"{1e3 * s:.1f}"] for name, s in of_small.items())),
    ]
    own, *rest = of_small.values()
    missed = [f"less than {FASTER:g} times as fast as the published layers"] if fewer < FASTER else []
    missed += ["learned graphs cost more than the bar or AGCRN"] if own > min([MOST, *rest[1:]]) else []
    title, note = "What a training step of STH-SepNet costs", f"CPU time of one thread, torch {torch.__version__}."
    return Findings(title, lines, {"207 nodes": of_large, "32 nodes": of_small}, note, missed)
