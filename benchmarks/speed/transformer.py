"""Cost of `GatedTransformer` by the length of its window, beside attention of every step to every step.

CPU time, one thread, the median of rounds in turns: a forecast and a training step of a direct forecaster, of which
only the last layers x (span - 1) + 1 steps matter, and a training step of a rollout, which needs all steps. Before, all
steps of the window were computed in each layer, each against all others. What a training step keeps for its backward
pass is the sum of the tensors that autograd saves.
"""

import contextlib
import statistics
from unittest import mock

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.data import WindowData
from stgate.models import GatedTransformer
from stgate.models.training.steps import objective
from stgate.nn import RollOut
from stgate.nn.attention import CausalAttention
from stgate.nn.gated.network import HybridNetwork
from stgate.nn.gated.transformer import TransformerStack

WINDOWS, NODES, BATCH, BAR = (24, 168, 672), 10, 8, 10.0
WORK = {"forecast": False, "training step": False, "training step of a rollout": True}


@contextlib.contextmanager
def all_pairs():
    """All steps in each layer, each against all others, as it was."""

    def attend(self, query, key, value):
        return scaled_dot_product_attention(query, key, value, self._mask(query.shape[2], key.shape[2]))

    def run(self, x, caches, last):
        after = []
        for number, block in enumerate(self.blocks):
            x, past = block(x, caches[number] if caches else None)
            after.append(past)
        x = self.final(x)
        return (x[:, -1:] if last else x), after

    with (
        mock.patch.object(CausalAttention, "_attend", attend),
        mock.patch.object(TransformerStack, "_attend", run),
        mock.patch.object(HybridNetwork, "reach", None),
    ):
        yield


def made(window, rollout):
    """A forecaster of hourly noise with random weights, and a batch."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4 * window + 400, NODES)).astype("float32")
    time = pd.date_range("2020-01-01", periods=len(values), freq="h")
    panel = xr.Dataset({"y": (("time", "node"), values, {"units": "1"})}, {"time": time, "node": range(NODES)})
    data = WindowData(panel, targets="y", window=window, horizon=24, batch_size=BATCH)
    torch.manual_seed(0)
    model = GatedTransformer(hidden=64, transforms=None, linear=False, rollout=RollOut(unroll=1) if rollout else None)
    model.adopt(data)
    model.log = lambda *_, **__: None
    return model, next(iter(data.part_dataloader("train")))


def work(name, model, batch):
    """A function that does the work once and returns its numbers."""

    def forecast():
        with torch.no_grad():
            return model.eval().predictor(batch).mean

    def step():
        model.train().zero_grad()
        loss = objective(model, batch)
        loss.backward()
        return loss.detach()

    return forecast if name == "forecast" else step


def kept(model, batch):
    """Megabytes that a training step keeps for its backward pass."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
        objective(model.train(), batch)
    return sum(sizes) / 1e6


@benchmark(
    "speed_transformer",
    claim="at a window of 168 a GatedTransformer is at least 10 times as fast as with T x T attention, its means equal",
    cost="2 minutes",
    quick="windows of 24 and 168, one round",
    one_thread=True,
)
def run(options: Options):
    figures, rows, missed = {}, [], []
    for window in WINDOWS[:2] if options.quick else WINDOWS:
        for name, rollout in WORK.items():
            model, batch = made(window, rollout)
            after = work(name, model, batch)

            def before(after=after):
                with all_pairs():
                    return after()

            apart = float((before() - after()).abs().max())
            spent = cpu_times({"before": before, "after": after}, 1 if options.quick else 7)
            old, new = (1e3 * statistics.median(spent[key]) for key in ("before", "after"))
            found = {"before_ms": old, "after_ms": new, "ratio": old / new, "apart": apart}
            if name != "forecast":
                found["after_mb"] = kept(model, batch)
                with all_pairs():
                    found["before_mb"] = kept(model, batch)
            figures[f"{name}, window {window}"] = {key: float(f"{value:.4g}") for key, value in found.items()}
            memory = [f"{found[key]:.0f}" if key in found else "" for key in ("before_mb", "after_mb")]
            rows.append([name, window, f"{old:.0f}", f"{new:.1f}", f"{old / new:.1f}", f"{apart:.0e}", *memory])
            if apart > 1e-5:
                missed.append(f"{name}, window {window}: apart by {apart:.1e}")
            if window == 168 and not rollout and old < BAR * new:
                missed.append(f"{name}, window {window}: {old / new:.1f} times as fast, not {BAR:g}")
    header = ["work", "window", "before, ms", "after, ms", "ratio", "apart", "before, MB kept", "after, MB kept"]
    return Findings("Cost of a gated transformer", table(header, rows), figures, missed=missed)
