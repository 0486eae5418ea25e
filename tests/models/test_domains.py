"""Values that a transform does not take, after the training part: told of with their place, never silently moved."""

import warnings

import numpy as np
import pytest
from helpers import built, field_data, field_panel, fitted, make_data, make_panel, small_field

import stgate
from stgate.distributions import Anomaly, Log, Logit, Power
from stgate.errors import PanelWarning
from stgate.models import GatedRNN, GradientBoosting, Ridge

CUT = 96
"""Number of training steps of 160."""
BAD = {"log": (Log, -0.5), "zero": (Log, 0.0), "power": (Power, -1.0), "logit": (lambda: Logit(0.0, 100.0), 250.0)}
VERBS = {
    "forecast": lambda model, panel, data: stgate.forecast(model, panel, levels=[0.5]),
    "backtest": lambda model, panel, data: stgate.backtest(model, panel, levels=[0.5], every=3),
    "rolling": lambda model, panel, data: stgate.backtest(
        model, panel, start=str(panel["time"].values[-20]), levels=[0.5], calibration="rolling"
    ),
    "calibrate": lambda model, panel, data: stgate.calibrate(model, make_data(panel), levels=[0.5]),
    "recalibrate": lambda model, panel, data: stgate.recalibrate(model, panel, levels=[0.5], start=str(data)),
}


def panels(value, rows=slice(130, 133), node=1):
    plain = make_panel(steps=160, missing=0)
    strange = plain.copy(deep=True)
    strange["y"][rows, node] = value
    return plain, strange


def told(act):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return [str(w.message) for w in caught if w.category is PanelWarning and "transform" in str(w.message)]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", BAD)
def test_every_verb_tells_of_each_value_once_with_the_first_place(kind, verb):
    make, value = BAD[kind]
    plain, strange = panels(value, rows=slice(130, 133) if verb != "forecast" else slice(157, 160))
    model = fitted(Ridge(transforms=[make()]), make_data(plain), limit_val_batches=0)
    (line,) = told(lambda: VERBS[verb](model, strange, strange["time"].values[100]))
    first = str(strange["time"].values[130 if verb != "forecast" else 157])[:13]
    for word in (
        f"outside of what transform {type(make()).__name__} takes",
        "): 3, ",
        f"is {value:g} at {first}",
        "node b",
    ):
        assert word in line, line
    assert not told(lambda: VERBS[verb](model, plain, plain["time"].values[100]))


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("model", [Ridge, GradientBoosting, lambda **o: GatedRNN(hidden=4, **o)])
def test_a_fit_tells_of_later_parts(kind, model):
    make, value = BAD[kind]
    plain, strange = panels(value)
    (line,) = told(lambda: built(model(transforms=[make()]), make_data(strange)))
    assert "): 3, " in line
    assert not told(lambda: built(model(transforms=[make()]), make_data(plain)))


def test_values_are_judged_as_the_transforms_before_encode_them():
    plain, strange = panels(np.nan)
    model = fitted(Ridge(transforms=[Log(), Anomaly()]), make_data(plain), limit_val_batches=0)
    assert not told(lambda: stgate.backtest(model, strange, levels=[0.5], every=3))
    strange["y"][150, 0] = -1.0
    (line,) = told(lambda: stgate.backtest(model, strange, levels=[0.5], every=3))
    assert "): 1, " in line and "node a" in line


@pytest.mark.parametrize("where", ["truth", "panel"])
def test_a_field_tells_of_values_of_the_panel_and_of_the_truth(where):
    plain = field_panel(steps=80)
    field = fitted(
        small_field(kriging=True, transforms=[Log()]), field_data(plain, context=6, horizon=2), limit_train_batches=1
    )
    strange = plain.copy(deep=True)
    strange["y"][70, 2] = -3.0
    seen = strange if where == "panel" else plain.where(plain["node"] != "c")
    truth = None if where == "panel" else strange
    start = str(plain["time"].values[60])
    (line,) = told(lambda: stgate.calibrate_reconstruction(field, seen, truth, start=start, levels=[0.5]))
    assert "): 1, " in line and "first is -3" in line
    if where == "panel":
        assert len(told(lambda: stgate.reconstruct(field, seen, levels=[0.5]))) == 1
