"""Warnings of forecasts far beyond the training part."""

import types
import warnings

import pytest
import torch

from stgate.errors import ForecastWarning
from stgate.forecasting.tally import Tally


def warned(low, high, mean):
    model = types.SimpleNamespace(
        range=[(low, high)], always_forecasts=False, fitted_spec=types.SimpleNamespace(targets=("y",))
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Tally.of(model, [{"mean": torch.tensor([[mean]])}]).warn(model)
    assert all(w.category is ForecastWarning for w in told)
    return bool(told)


@pytest.mark.parametrize(
    ("low", "high", "mean", "told"),
    [
        (0.0, 0.0, 1e-13, False),  # rounding of what never changed
        (0.1, 0.1, 0.1 + 1e-8, False),
        (1e8, 1e8, 1e8 + 8, False),
        (0.0, 0.0, 1.0, True),
        (5.0, 5.0, 6.0, True),
        (0.0, 1.0, 1.9, False),
        (0.0, 1.0, 2.1, True),
        (0.0, 1e-20, 1e-13, True),
        (0.0, 1.0, float("nan"), False),
    ],
)
def test_rounding_is_not_far_and_the_width_of_the_training_part_is(low, high, mean, told):
    assert warned(low, high, mean) is told
