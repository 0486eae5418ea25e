"""What a training step of STH-SepNet costs: python benchmarks/sth_sepnet/cost.py [AGCRN].

The default configuration, 207 nodes, 12 steps in and 12 ahead, batches of 64, beside the spatial layers that were
published with the paper (released.py), which are given the same temporal branch and a gate for each lead. And what
learned graphs cost: the spatial branch with its adaptive graph and hypergraph, and the whole default configuration, 32
nodes, batches of 16, 32 channels, beside AGCRN of PyTorch Geometric Temporal where AGCRN is its file `agcrn.py` (of
version 0.56.2; the package declares what cannot be installed beside this torch). CPU time of one thread, the median of
rounds in turns. Exits 1 where the first is not 3 times as fast, or the second takes more than 38 ms or than AGCRN.
"""

import argparse
import importlib.util
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
import xarray as xr
from kept import record
from released import Released
from torch import nn

from stgate.data import WindowData
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
    model = STHSepNet(**options)
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


def agcrn(path, batch, hidden=32):
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
    """CPU seconds of each, medians, after one round to warm up."""
    spent = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, step in contenders.items():
            started = time.process_time()
            step()
            spent[name].append(time.process_time() - started)
    return {name: float(np.median(found[1:])) for name, found in spent.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agcrn", type=Path, nargs="?")
    given = parser.parse_args()
    torch.set_num_threads(1)
    large = batch_of(207, 64)
    of_large = seconds({"STH-SepNet": ours(*large), "published layers": published(*large)}, 5)
    small = batch_of(32, 16)
    contenders = {
        "spatial branch, learned graph and hypergraph": ours(*small, backbone=None, graph="adaptive"),
        "STH-SepNet": ours(*small),
    }
    if given.agcrn:
        contenders["AGCRN of PyTorch Geometric Temporal"] = agcrn(given.agcrn, small[1])
    of_small = seconds(contenders, 40)
    fewer = of_large["published layers"] / of_large["STH-SepNet"]
    lines = [
        "# What a training step of STH-SepNet costs",
        "",
        f"`python benchmarks/sth_sepnet/cost.py [AGCRN]`; CPU time of one thread, torch {torch.__version__}.",
        "",
        f"207 nodes, 12 steps in and ahead, batches of 64 (bar: {FASTER:g} times as fast):",
        "",
        "| | seconds a step | windows/s |",
        "|---|---|---|",
        *(f"| {name} | {s:.2f} | {64 / s:.0f} |" for name, s in of_large.items()),
        "",
        f"STH-SepNet is {fewer:.1f} times as fast.",
        "",
        f"32 nodes, 12 steps in and ahead, batches of 16, 32 channels (bar: {1e3 * MOST:g} ms):",
        "",
        "| | ms a step |",
        "|---|---|",
        *(f"| {name} | {1e3 * s:.1f} |" for name, s in of_small.items()),
    ]
    print("\n".join(lines))
    record("sth_sepnet_cost", lines, {"207 nodes": of_large, "32 nodes": of_small})
    own, *rest = of_small.values()
    raise SystemExit(int(fewer < FASTER or own > min([MOST, *rest[1:]])))


if __name__ == "__main__":
    main()
