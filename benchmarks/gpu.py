"""Throughput of training steps and forecasts on a GPU, in float32 and bf16, and whether it gives the CPU's numbers.

Windows a second of each forecaster on a batch of 64 windows of a synthetic panel, the median of rounds, with the host
waiting at the end of a round only. A round repeats the work. Use of the GPU is what nvidia-ml says during the rounds,
where the package `pynvml` is there. Without a GPU the same is measured on the CPU.
"""

import contextlib
import statistics
import time

import numpy as np
import pandas as pd
import torch
import xarray as xr

from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from stgate.data import FieldData, WindowData
from stgate.data.windows import to_device
from stgate.models import CGLUBNF, GatedRNN, GatedTransformer, STHSepNet
from stgate.models.training.steps import objective
from stgate.nn import RollOut
from stgate.schema.batch import noted

APART = 1e-3
"""Largest difference between the means of GPU and CPU, in standard deviations of the target."""
PLAIN = {"hidden": 64, "transforms": None}
FORECASTERS = {
    "GatedRNN": lambda: GatedRNN(**PLAIN),
    "GatedTransformer": lambda: GatedTransformer(**PLAIN),
    "STHSepNet": lambda: STHSepNet(transforms=None),
    "GatedTransformer, rollout": lambda: GatedTransformer(hidden=64, rollout=RollOut()),
    "CGLUBNF": lambda: CGLUBNF(transforms=None),
}


def panel_of(nodes, steps):
    """An hourly panel of noise around a daily cycle, a tenth missing."""
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(steps) / 24 * 2 * np.pi)[:, None] + 0.5 * rng.standard_normal((steps, nodes))
    values[rng.random(values.shape) < 0.1] = np.nan
    places = {"lat": ("node", 40 + 5 * rng.random(nodes)), "lon": ("node", 116 + 5 * rng.random(nodes))}
    time = pd.date_range("2020-01-01", periods=steps, freq="h")
    variable = ("time", "node"), values.astype("float32"), {"units": "1"}
    return xr.Dataset({"y": variable}, {"time": time, "node": range(nodes), **places})


def made(name, nodes, steps):
    """A forecaster with random weights, and a batch of the host."""
    panel = panel_of(nodes, steps)
    if name == "CGLUBNF":
        data = FieldData(panel, targets="y", context=8, batch_size=64)
    else:
        data = WindowData(panel, targets="y", window=24, horizon=12, batch_size=64)
    torch.manual_seed(0)
    model = FORECASTERS[name]()
    model.adopt(data)
    model.log = lambda *_, **__: None
    return model, next(iter(data.part_dataloader("train")))


def per_second(work, windows, device, rounds, repeats):
    """Windows a second, the median of rounds, and the use of the GPU in per cent; None where it is not known."""
    spent, used = [], []
    for number in range(rounds + 1):
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        if device.type == "cuda":
            with contextlib.suppress(ModuleNotFoundError, RuntimeError):
                used.append(torch.cuda.utilization())
            torch.cuda.synchronize()
        if number:
            spent.append(time.perf_counter() - started)
    return windows * repeats / statistics.median(spent), max(used, default=None)


def measure(name, nodes, steps, device, rounds, repeats):
    """The figures of a forecaster on a device."""
    model, host = made(name, nodes, steps)
    model = model.to(device)
    optimizer, windows = torch.optim.AdamW(model.parameters()), len(host["origin"])

    def batch():
        return to_device(noted(model.predictor, host), device)

    def step(kind):
        model.train()
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16"):
            loss = objective(model, batch())
        loss.backward()
        optimizer.step()

    def forecast():
        model.eval()
        with torch.no_grad():
            return model.predictor(batch()).mean

    found = {}
    ours = forecast().float().cpu()
    found["forecasts"], _ = per_second(forecast, windows, device, rounds, repeats)
    for kind in ("float32", "bf16"):
        found[kind], used = per_second(lambda kind=kind: step(kind), windows, device, rounds, repeats)
        if used is not None:
            found["use"] = max(used, found.get("use", 0))
    return found, ours


@benchmark(
    "gpu",
    claim="a GPU gives the CPU's means to 1e-3 standard deviations; windows a second of each forecaster, and bf16",
    cost="5 minutes on a GPU",
    quick="ten nodes, one round, two forecasters",
    seeds=(0,),
)
def run(options: Options):
    there = torch.cuda.is_available()
    nodes, steps, rounds, repeats = (10, 240, 1, 1) if options.quick else (200, 1200, 5, 5)
    devices = [torch.device("cpu"), *([torch.device("cuda")] if there else [])]
    figures, rows, missed = {}, [], []
    for name in list(FORECASTERS)[: 2 if options.quick else None]:
        means = {}
        for device in devices:
            found, means[device.type] = measure(name, nodes, steps, device, rounds, repeats)
            apart = float((means[device.type] - means["cpu"]).abs().max())
            figures[f"{name}, {device.type}"] = {key: round(value, 1) for key, value in found.items()} | {
                "apart": apart
            }
            use = f"{found['use']:.0f} %" if "use" in found else ""
            speeds = [f"{found[key]:,.0f}" for key in ("float32", "bf16", "forecasts")]
            rows.append([name, device.type, *speeds, use, f"{apart:.0e}" if device.type == "cuda" else ""])
            if apart > APART:
                missed.append(f"{name}: the means of {device.type} and CPU are apart by {apart:.1e}")
    header = ["windows a second", "device", "training", "training, bf16", "forecasts", "use", "apart from the CPU"]
    note = torch.cuda.get_device_name() if there else "no CUDA device here: the CPU alone was measured"
    return Findings("On a GPU", [note, "", *table(header, rows)], figures, missed=missed)
