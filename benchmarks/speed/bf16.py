"""What `--trainer.precision bf16-mixed` gains and costs: CPU time of a training step, and the CRPS after a short fit.

One thread, contenders in turns; the fits are of a simulated panel of counts with a daily cycle, and of the hourly
record of fine particles in Beijing, where it is there.
"""

import statistics
import warnings

import lightning as L
import torch

from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.speed.counts import counts_panel, silent
from benchmarks.speed.pieces import real_panels
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.data import WindowData
from stgate.models import GatedRNN, GatedTransformer, STHSepNet
from stgate.models.training import steps

FORECASTERS = {"GatedRNN": GatedRNN, "GatedTransformer": GatedTransformer, "STHSepNet": STHSepNet}
PRECISIONS = {"float32": False, "bf16": True}
LEAST_GAIN, MOST_LOSS = 1.0, 0.01


def contender(kind, data, batch, mixed):
    """A training step of a forecaster, without its logged scores."""
    torch.manual_seed(0)
    model = kind(hidden=64)
    model.adopt(data)
    model.train()
    model.log = silent
    optimizer = model.make_optimizer()

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            optimizer.zero_grad()
            loss = steps.objective(model, batch)
        loss.backward()
        optimizer.step()

    return step


def score(kind, data, mixed, seed, epochs):
    """CRPS of the validation part after a fit."""
    L.seed_everything(seed, verbose=False)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", precision="bf16-mixed" if mixed else "32-true", **quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(kind(), data)
    return float(trainer.callback_metrics["val_crps"])


@benchmark(
    "speed_bf16",
    claim="a training step in bf16 is faster than in float32, and the CRPS after a fit at most 1 % worse",
    cost="10 minutes",
    quick="2 rounds at 8 nodes, one epoch of one seed, and no bar",
    seeds=3,
    one_thread=True,
)
def run(options: Options):
    nodes, rounds, epochs = (8, 2, 1) if options.quick else (50, 7, 5)
    seeds = options.seeds[:1] if options.quick else options.seeds
    data = WindowData(counts_panel(nodes), targets=["y"], window=24, horizon=12, batch_size=32)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    records = {"counts": data}
    if not options.quick and (panel := real_panels(options).get("beijing_air")) is not None:
        records["Beijing"] = WindowData(panel, targets=["y"], window=24, horizon=12, batch_size=64, every=4)
    figures, missed = {}, []
    for name, kind in FORECASTERS.items():
        spent = cpu_times({key: contender(kind, data, batch, mixed) for key, mixed in PRECISIONS.items()}, rounds)
        gain = statistics.median(a / b for a, b in zip(spent["float32"], spent["bf16"], strict=True))
        step = statistics.median(spent["float32"])
        figures[name] = {"step": round(step, 4), "gain": round(gain, 2), "scores": {}, "loss": {}}
        if gain < LEAST_GAIN:
            missed.append(f"{name}: a step in bf16 takes {1 / gain:.2f} times that in float32")
        for record, held in records.items():
            scores = {key: [score(kind, held, mixed, s, epochs) for s in seeds] for key, mixed in PRECISIONS.items()}
            plain, mixed = (statistics.mean(scores[key]) for key in PRECISIONS)
            figures[name]["scores"][record], figures[name]["loss"][record] = scores, round(mixed / plain - 1, 4)
            if mixed / plain - 1 > MOST_LOSS:
                missed.append(f"{name}, {record}: the CRPS is {mixed / plain - 1:.1%} worse")
        print(name, figures[name], flush=True)
    rows = (
        [name, f"{one['step']:.3f}", f"{one['gain']:.2f}", *(f"{loss:+.2%}" for loss in one["loss"].values())]
        for name, one in figures.items()
    )
    header = ["forecaster", "float32, CPU seconds a step", "times as fast in bf16"]
    header += [f"change of the CRPS, {record}" for record in records]
    lines = table(header, rows)
    return Findings("What bf16 gains and costs", lines, figures, missed=[] if options.quick else missed)
