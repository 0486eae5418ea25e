"""Small fits of every kind, in as many processes as this script is one of; it writes what each of them has found."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import lightning as L
import torch
from helpers import QUIET, field_panel, make_panel, ring_panel

from stgate.data import FieldData, WindowData
from stgate.inference import Ensemble, MeanField
from stgate.models import CGLUBNF, Forecaster, GatedRNN
from stgate.nn import RollOut

WINDOWS = {"targets": "y", "window": 12, "horizon": 3}
PLAIN = {"transforms": None, "node_embedding": 0}


def rnn() -> tuple[Forecaster, WindowData]:
    """Gaps, a last batch of another size, and a validation of a single batch, which one process scores."""
    return GatedRNN(hidden=4, **PLAIN), WindowData(make_panel(steps=160), **WINDOWS, batch_size=37)


def fewer_windows_than_processes() -> tuple[Forecaster, WindowData]:
    """Batches of one window: the other processes have none."""
    return GatedRNN(hidden=4, **PLAIN), WindowData(make_panel(steps=160), **WINDOWS, batch_size=1, every=9)


def one_after_another() -> tuple[Forecaster, WindowData]:
    """Members whose gradients are computed one after another, with a prior that counts once."""
    model = GatedRNN(hidden=4, inference=Ensemble(2, prior="normal"), **PLAIN)
    return model, WindowData(make_panel(steps=160), **WINDOWS, batch_size=37)


def together() -> tuple[Forecaster, WindowData]:
    """Members in one pass."""
    model = GatedRNN(hidden=4, cell="none", attention=2, inference=Ensemble(2), **PLAIN)
    return model, WindowData(make_panel(steps=160), **WINDOWS, batch_size=37)


def field() -> tuple[Forecaster, WindowData]:
    """A field in pieces of a batch of times."""
    return CGLUBNF(width=16, graph=4, kriging=False), FieldData(field_panel(), targets="y", context=0, batch_size=29)


def stateful() -> tuple[Forecaster, WindowData]:
    """A rollout that carries its state along, in five streams."""
    data = WindowData(ring_panel(duration=8, members=2), targets="x", window=10, horizon=5, batch_size=5, streams=True)
    return GatedRNN(hidden=4, rollout=RollOut(stateful=True, unroll=[1, 2])), data


def draws() -> tuple[Forecaster, WindowData]:
    """Weights and dropout that are drawn: each process draws its own."""
    model = GatedRNN(hidden=4, dropout=0.2, inference=MeanField(members=1), **PLAIN)
    return model, WindowData(make_panel(steps=160), **WINDOWS, batch_size=37)


def kriging() -> tuple[Forecaster, WindowData]:
    """A field that hides entries at random, and whose validation hides the same in any number of processes."""
    data = FieldData(field_panel(), targets="y", context=6, batch_size=29)
    return CGLUBNF(width=16, graph=4, inference=Ensemble(2)), data


SAME = (rnn, fewer_windows_than_processes, one_after_another, together, field, stateful)
"""Fits that do not depend on the number of processes."""
DRAWN = (draws, kriging)
"""Fits that draw at random in training."""


class Record(L.Callback):
    """Gradients of the first step, scores of each epoch."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}
        self.scores: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if not self.gradients:
            given = pl_module.named_parameters()
            self.gradients = {name: p.grad.clone() for name, p in given if p.grad is not None}

    def on_validation_end(self, trainer, pl_module) -> None:
        self.scores.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def fit(made, processes: int) -> dict:
    """Fit for two epochs, and return what there is to compare."""
    L.seed_everything(0, verbose=False)
    (model, data), record = made(), Record()
    many = {"devices": processes, "strategy": "ddp" if processes > 1 else "auto", "accelerator": "cpu"}
    trainer = L.Trainer(max_epochs=2, num_sanity_val_steps=0, callbacks=[record], **many, **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, datamodule=data)
    scores = [epoch[model.monitor] for epoch in record.scores]
    weights = {n: w.clone() for n, w in model.state_dict().items() if w.is_floating_point()}
    found = {"gradients": record.gradients, "scores": record.scores, "best": scores.index(min(scores))}
    return {**found, "weights": weights, "seed": model.predictor.seed}


def refused(processes: int) -> str:
    """Return the error of a forecaster in closed form."""
    from stgate.models import Ridge

    trainer = L.Trainer(devices=processes, strategy="ddp", accelerator="cpu", max_epochs=1, **QUIET)
    try:
        trainer.fit(Ridge(), datamodule=rnn()[1])
    except ValueError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    count = int(os.environ["WORLD_SIZE"])
    every = {made.__name__: fit(made, count) for made in (*SAME, *DRAWN)}
    torch.save({"fits": every, "refused": refused(count)}, f"{sys.argv[1]}.{os.environ['RANK']}")
