"""Batches in pieces beside whole batches, and a fit beside a plain loop over `nn.GRU`.

Found are CPU seconds, taken in turns, of a training step and of a batch's forecasts, whole and in pieces; those of an
epoch of `Trainer.fit` beside those of a plain loop with a GRU of the same hidden size, window, batch and number of
steps; and the peak memory of a process that takes one training step of 64 windows of many nodes. The panel is random,
of the shape of the data set los_loop; the loop is compared on the data sets too, where they are there.
"""

from __future__ import annotations

import logging
import time
import warnings
from statistics import median

import lightning as L
import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

import stgate
from benchmarks.options import Findings, Options
from benchmarks.processes import call, peak_memory
from benchmarks.registry import benchmark
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.inference import pieces
from stgate.io import read_tables
from stgate.models.training.steps import keep_what_is_freed

WINDOW, HORIZON, BATCH = 24, 12, 64
WHOLE = 2**62
"""Numbers that no batch computes: each is one piece."""
SLOWER, LIMIT = 1.2, 4.0
"""Bars: largest ratio of a fit to a plain loop; gigabytes of a training step."""
FORECASTERS = ("GatedRNN", "GatedTransformer", "STHSepNet")
LARGE = 10_000


def panel_of(nodes, steps):
    """Return a random panel with coordinates, of which a twentieth is missing."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((steps, nodes)).astype("float32")
    values[rng.random(values.shape) < 0.05] = np.nan
    places = {"lat": ("node", 34 + rng.random(nodes)), "lon": ("node", -118 + rng.random(nodes))}
    times = pd.date_range("2012-03-01", periods=steps, freq="5min")
    return xr.Dataset(
        {"y": (("time", "node"), values)}, {"time": times, "node": [str(n) for n in range(nodes)], **places}
    )


def prepared(name, panel, target="y"):
    """Return a forecaster that knows its panel, in training mode, and its data."""
    torch.manual_seed(0)
    data = stgate.data.WindowData(panel, targets=target, window=WINDOW, horizon=HORIZON, batch_size=BATCH)
    model = getattr(stgate.models, name)()
    model.adopt(data)
    model.log = lambda *_, **__: None  # there is no trainer
    keep_what_is_freed()
    return model.train(), data


def step(model, batch):
    """Compute the gradients of a batch."""
    model.zero_grad()
    model.training_step(batch, 0).backward()


def of_forecaster(name, panel, rounds):
    """Return CPU seconds of a training step and of forecasts, whole and in pieces, with the number of pieces."""
    model, data = prepared(name, panel)
    batch = next(iter(data.train_dataloader()))

    def held(most, act):
        def run():
            before, pieces.MOST = pieces.MOST, most
            try:
                act()
            finally:
                pieces.MOST = before

        return run

    def forecast():
        with torch.no_grad():
            model.predictor.predict(batch, (0.05, 0.5, 0.95))

    found = {"pieces": len(model.training_pieces(model.predictor.encode(batch)))}
    for kind, act in (("step", lambda: step(model, batch)), ("forecast", forecast)):
        model.train(kind == "step")
        spent = cpu_times({"whole": held(WHOLE, act), "in pieces": held(pieces.MOST, act)}, rounds)
        found |= {f"{kind} {how}": median(seconds) for how, seconds in spent.items()}
    return found


class Plain(nn.Module):
    """A GRU over each node's window, and a linear layer: location and logarithm of the scale of each lead."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cell, self.out = nn.GRU(2, hidden, batch_first=True), nn.Linear(hidden, 2 * HORIZON)

    def forward(self, past: Tensor) -> Tensor:
        """Map windows (batch, step, node, 1) to (batch, lead, node, 2)."""
        seen = ~torch.isnan(past)
        rows = torch.cat([torch.where(seen, past, 0.0), seen.float()], -1).transpose(1, 2).flatten(0, 1)
        return self.out(self.cell(rows)[1][0]).view(len(past), -1, HORIZON, 2).transpose(1, 2)


def plain_epoch(values: Tensor, hidden: int, steps: int, seed: int = 0):
    """Train for some batches of windows, in a random order."""
    torch.manual_seed(seed)
    network = Plain(hidden)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.003)
    count = len(values) - WINDOW - HORIZON + 1
    for rows in torch.split(torch.randperm(count), BATCH)[:steps]:
        windows = values[rows[:, None] + torch.arange(WINDOW + HORIZON)].unsqueeze(-1)  # (batch, step, node, 1)
        past, target = windows[:, :WINDOW], windows[:, WINDOW:]
        location, scale = network(past).split(1, -1)
        seen = ~torch.isnan(target)
        forecast = torch.distributions.Normal(location, scale.exp(), validate_args=False)
        losses = -forecast.log_prob(torch.where(seen, target, location.detach()))
        optimizer.zero_grad()
        (torch.where(seen, losses, 0.0).sum() / seen.sum()).backward()
        optimizer.step()


def against_a_plain_loop(panel, target, batches, rounds):
    """Return the CPU seconds of some batches of a fit and of a plain loop; the fit's preparation is not counted.

    The forecaster has adopted its data before, as `Trainer.fit` would have it do first.
    """
    model, data = prepared("GatedRNN", panel, target)
    del model.log
    values = torch.tensor(panel[target].transpose("time", "node").values[: data.parts.train[1]])
    values = (values - values.nanmean()) / np.nanstd(values)
    quiet = {name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")}
    hidden = model.predictor.hidden

    def fit():
        machine = L.Trainer(max_epochs=1, limit_train_batches=batches, limit_val_batches=0, accelerator="cpu", **quiet)
        machine.fit(model, data)

    spent = cpu_times({"fit": fit, "plain": lambda: plain_epoch(values, hidden, batches)}, rounds)
    return {"hidden": hidden, **{who: median(seconds) for who, seconds in spent.items()}}


def memory_of(name, nodes, windows):
    """Return the peak memory of this process in gigabytes, with a training step, and its CPU seconds."""
    torch.set_num_threads(1)
    model, data = prepared(name, panel_of(nodes, steps=160))
    batch = next(iter(data.train_dataloader()))
    batch = {key: value if key in pieces.SHARED else value[:windows] for key, value in batch.items()}
    started = time.process_time()
    step(model, batch)
    return peak_memory() / 2**30, time.process_time() - started


def real_panels(options):
    """Return panels of real data sets by name, with their target, where they are there."""
    found = {}
    if (folder := options.data / "los_loop").is_dir():
        speed = pd.read_csv(folder / "los_speed.csv.gz")
        times = pd.date_range("2012-03-01", periods=len(speed), freq="5min")
        nodes = [str(name) for name in speed.columns]
        coordinates = {"time": times, "node": nodes}
        found["los_loop"] = xr.Dataset({"y": (("time", "node"), speed.values.astype("float32"))}, coordinates)
    if (folder := options.data / "beijing_air").is_dir():
        columns = {"time": ["year", "month", "day", "hour"], "node": "station", "drop": ["No", "wd"]}
        files = sorted(folder.glob("PRSA_Data_*.csv*"))
        panel = read_tables(files, rename={"PM2.5": "y"}, coords=folder / "stations.csv", **columns)
        found["beijing_air"] = panel[["y"]]
    return found


@benchmark(
    "speed_pieces",
    claim="a fit costs at most 1.2 times a plain `nn.GRU` loop, and a step of 64 windows of 10,000 nodes takes 4 GB",
    cost="half an hour and 4 GB; data los_loop and beijing_air, where they are there",
    quick="one round of one forecaster, 30 nodes, two batches of a fit",
    one_thread=True,
)
def run(options: Options):
    """Time whole batches and pieces, and a fit beside a plain loop."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    quick = options.quick
    panel, rounds = panel_of(30 if quick else 207, 300 if quick else 2016), 1 if quick else 3
    names = FORECASTERS[:1] if quick else FORECASTERS
    speed = {name: of_forecaster(name, panel, rounds) for name in names}
    panels = {"random": panel, **({} if quick else real_panels(options))}
    loops = {name: against_a_plain_loop(one, "y", 2 if quick else 10, rounds) for name, one in panels.items()}
    nodes, windows = (100, 4) if quick else (LARGE, BATCH)
    memory = {name: call(memory_of, name, nodes, windows, environment={"OMP_NUM_THREADS": "1"}) for name in names}
    rows = []
    for name, found in speed.items():
        ratios = [f"{found[f'{kind} whole'] / found[f'{kind} in pieces']:.2f}" for kind in ("step", "forecast")]
        seconds = [f"{found[f'{kind} in pieces']:.2f}" for kind in ("step", "forecast")]
        rows.append([name, found["pieces"], seconds[0], ratios[0], seconds[1], ratios[1], f"{memory[name][0]:.2f}"])
    header = ["forecaster", "pieces", "step, s", "times as fast as whole", "forecasts, s", "times as fast as whole"]
    lines = [*table([*header, f"GB of a step at {nodes:,} nodes"], rows), ""]
    ratio = {name: found["fit"] / found["plain"] for name, found in loops.items()}
    more = [[n, f["hidden"], f"{f['plain']:.2f}", f"{f['fit']:.2f}", f"{ratio[n]:.2f}"] for n, f in loops.items()]
    lines += table(["panel", "hidden", "plain loop, s", "fit of GatedRNN, s", "ratio"], more)
    missed = [f"{name}: a fit costs {times:.2f} times a plain loop" for name, times in ratio.items() if times > SLOWER]
    missed += [f"{name}: a step takes {found[0]:.1f} GB" for name, found in memory.items() if found[0] > LIMIT]
    return Findings("Batches in pieces", lines, {"speed": speed, "fits": loops, "memory": memory}, missed=missed)
