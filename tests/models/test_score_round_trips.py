"""The loss and the logged scores of a training and a validation step, of every likelihood, without numpy and scipy."""

import pytest
import torch
from helpers import make_data, make_panel

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

FAMILIES = {
    "normal": {"likelihood": Normal()},
    "t": {"likelihood": StudentT()},
    "lognormal": {"likelihood": LogNormal()},
    "shifted": {"likelihood": LogNormal(shift=1.0)},
    "quantiles": {"likelihood": Quantiles()},
    "counts": {"likelihood": NegativeBinomial()},
    "inflated": {"likelihood": ZeroInflatedNegativeBinomial()},
    "transformed t": {"likelihood": StudentT(), "transforms": [Log()]},
}


def refused(*given, **options):
    raise AssertionError("a tensor went to numpy")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("inference", [None, Ensemble(members=2, vectorized=False)], ids=["one", "ensemble"])
def test_no_tensor_goes_to_numpy_in_a_step(name, inference, monkeypatch):
    panel = make_panel(steps=120)
    panel["y"] = panel["y"].round().clip(min=1)
    data = make_data(panel, batch_size=4)
    model = GatedRNN(**{"transforms": None, **FAMILIES[name]}, hidden=4, inference=inference)
    data.setup("fit")
    model.adopt(data)
    monkeypatch.setattr(model, "log", lambda *given, **options: None)
    batch = next(iter(data.train_dataloader()))
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "numpy", refused)
        patched.setattr(torch.Tensor, "__array__", refused)
        model.train().training_step(batch, 0).backward()
        with torch.no_grad():
            model.eval().validation_step(batch, 0)
    for score in ("train_loss", "train_mae", "val_crps", "val_coverage_90"):
        if score != "train_mae" or "transforms" not in FAMILIES[name]:
            assert torch.isfinite(model.scores[score].compute())


def test_in_training_the_median_of_counts_is_scored_in_some_steps_of_some_entries(monkeypatch):
    panel = make_panel(steps=120)
    panel["y"] = panel["y"].round().clip(min=1)
    data = make_data(panel, batch_size=4)
    model = GatedRNN(likelihood=NegativeBinomial(), hidden=4)
    data.setup("fit")
    model.adopt(data)
    monkeypatch.setattr(model, "log", lambda *given, **options: None)
    batch = next(iter(data.train_dataloader()))
    for step in range(4):
        monkeypatch.setattr(type(model), "global_step", step)
        model.training_step(batch, 0)
    assert model.scores["train_mae"]._update_count == 1
    assert model.scores["train_loss"]._update_count == 4
    monkeypatch.setattr(type(model), "global_step", 16)
    model.training_step(batch, 0)
    assert model.scores["train_mae"]._update_count == 2
