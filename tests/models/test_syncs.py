"""No step, forecast or rollout makes a host wait for a device: counted on a CPU, and by torch where there is a GPU."""

import contextlib

import numpy as np
import pytest
import torch
from helpers import SMALL_SEPNET, built, field_data, field_panel, make_data, make_panel, ring_panel, small_field
from syncs import counted

from stgate.data.windows import to_device
from stgate.distributions import Anomaly
from stgate.inference import Ensemble
from stgate.models import (
    CGLUBNF,
    BayesNF,
    Climatology,
    GatedRNN,
    GatedTransformer,
    GradientBoosting,
    Persistence,
    Ridge,
    STHSepNet,
)
from stgate.nn import RollOut
from stgate.schema.batch import noted

REMAINING = {
    "nn/field/kriging.py:forward": "a factorisation is only repaired at once on a CPU, where that waits for nothing",
    "distributions/mixture.py": "iterations end early on a CPU, where a look waits for nothing",
    "lift_fresh in distributions/families.py:__init__": "the levels of fitted quantiles are copied to the device",
}
"""What still waits, by the place in the package, and why."""
PLAIN = {"hidden": 8, "transforms": None}


def gaps():
    return make_data(make_panel(steps=120), future_covariates=["u"])


def rings(missing=True, **options):
    panel = ring_panel(duration=6)
    seen = np.random.default_rng(0).random(panel["x"].shape) > 0.1
    return make_data(panel.where(seen) if missing else panel, targets="x", horizon=2, **options)


def field(**options):
    return lambda: field_data(field_panel(steps=90), **options)


CASES = {
    "gru": (lambda: GatedRNN(**PLAIN), gaps),
    "lstm": (lambda: GatedRNN(**PLAIN, cell="lstm", attention=2, linear=False, imputation="climatology"), gaps),
    "highway and graph": (lambda: GatedRNN(**PLAIN, cell="rhn", spatial="torch_geometric.nn.GraphConv"), gaps),
    "anomalies": (lambda: GatedRNN(hidden=8, transforms=[Anomaly()]), gaps),
    "ensemble": (lambda: GatedTransformer(**PLAIN, inference=Ensemble(members=2)), gaps),
    "transformer": (lambda: GatedTransformer(**PLAIN), gaps),
    "recurrent transformer": (lambda: GatedTransformer(**PLAIN, recurrence=True, span=2, imputation="last"), gaps),
    "STH-SepNet": (lambda: STHSepNet(**SMALL_SEPNET, transforms=None), gaps),
    "rollout": (lambda: GatedRNN(hidden=8, rollout=RollOut(width=8, noise=0.1)), rings),
    "rollout of patches": (
        lambda: GatedTransformer(hidden=8, patch=2, halo=1, rollout=RollOut(width=8, scheme="exponential")),
        rings,
    ),
    "complete rollout": (lambda: GatedTransformer(hidden=8, rollout=RollOut(width=8)), lambda: rings(False)),
    "trajectories": (lambda: GatedRNN(hidden=8, rollout=RollOut(width=8, samples=3)), rings),
    "stateful rollout": (
        lambda: GatedTransformer(hidden=8, recurrence=True, span=4, rollout=RollOut(width=8, stateful=True)),
        lambda: rings(streams=True),
    ),
    "field": (small_field, field()),
    "field in pieces": (lambda: CGLUBNF(width=16, kriging=False, inference=Ensemble(members=2)), field(context=3)),
    "kriged field": (lambda: small_field(kriging=True), field(context=4)),
    "kriged anomalies": (lambda: small_field(kriging=True, transforms=[Anomaly()]), field(context=4)),
    "BayesNF": (lambda: BayesNF(width=16), field()),
    "Ridge": (Ridge, gaps),
    "Persistence": (Persistence, gaps),
    "Climatology": (Climatology, gaps),
    "GradientBoosting": (GradientBoosting, gaps),
}


def train(model, batch):
    loss = model.training_step(batch, 0)
    if loss is not None and loss.requires_grad:
        loss.backward()


def validate(model, batch):
    with torch.inference_mode():
        model.validation_step(batch, 0)


WORK = {
    "train": ("train", train),
    "validate": ("validation", validate),
    "predict": ("test", lambda model, batch: model.predict_step(batch, 0)),
}


@contextlib.contextmanager
def pieces(name, monkeypatch):
    if name.endswith("pieces"):
        monkeypatch.setattr("stgate.inference.pieces.MOST", 1)
    yield


@pytest.fixture(scope="module")
def made():
    known = {}

    def get(name, device="cpu"):
        if name not in known:
            make, data = CASES[name]
            known[name] = data(), make()
            built(known[name][1], known[name][0])
        data, model = known[name]
        return data, model.to(device)

    return get


def ready(data, model, work, device="cpu"):
    """The model in the mode of the work, and two batches as a trainer hands them over."""
    part, _ = WORK[work]
    model.train(work == "train")
    if hasattr(model, "on_validation_epoch_start"):
        model.on_validation_epoch_start()
    batches = iter(data.part_dataloader(part))
    first = next(batches)
    return [to_device(noted(model.predictor, b), torch.device(device)) for b in (first, next(batches, first))]


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("name", CASES)
def test_no_work_reads_values_of_a_device(name, work, made, monkeypatch):
    data, model = made(name)
    with pieces(name, monkeypatch):
        first, second = ready(data, model, work)
        WORK[work][1](model, first)  # a new panel may be looked at once
        with counted() as found:
            WORK[work][1](model, second)
    waits = {place: count for place, count in found.items() if not any(known in place for known in REMAINING)}
    assert waits == {}


def test_the_count_sees_what_would_wait():
    x = torch.arange(4.0)
    with counted() as found:
        x.tolist(), x.numpy(), x[x > 1], torch.nonzero(x), torch.equal(x, x), x.sum().item(), bool(x.any())
        torch.tensor([1, 2]), torch.repeat_interleave(x.long())
        x[torch.arange(2)], torch.where(x > 1, x, 0.0), x.sum() * torch.tensor(0.5)  # these do not
    assert sum(found.values()) == 9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(("kriged", "Climatology"))])
def test_torch_sees_no_wait_for_a_gpu(name, work, made, monkeypatch):
    data, model = made(name, "cuda")
    if work != "train" and name in ("ensemble", "trajectories", "BayesNF", "field in pieces"):
        pytest.skip("quantiles of mixtures are found by bisection")
    with pieces(name, monkeypatch):
        first, second = ready(data, model, work, "cuda")
        WORK[work][1](model, first)
        torch.cuda.set_sync_debug_mode("error")
        try:
            WORK[work][1](model, second)
        finally:
            torch.cuda.set_sync_debug_mode("default")
