"""The comparison of defaults reads its records as those who gave them did, and scores all forecasters alike."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("STGATE_SHARED", ROOT.parent / "shared")) / "data"
PERSISTENCE = {
    "irish_wind": {1: (3.542, 4.668)},
    "flu_districts": {1: (0.663, 2.592), 2: (0.824, 3.125), 4: (1.131, 4.071)},
    "noaa_tmax": {1: (5.89, 7.86), 3: (8.73, 11.33), 7: (9.40, 12.04)},
    "pacific_sst": {1: (0.297, 0.396), 3: (0.472, 0.628), 6: (0.573, 0.785), 12: (0.615, 0.897)},
}
"""MAE and RMSE that came with the data, by lead, on the test part."""


@pytest.fixture
def defaults(monkeypatch):
    """The modules of the comparison, which are not installed with the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("name", PERSISTENCE)
def test_persistence_has_the_figures_that_came_with_the_data(defaults, name, tmp_path):
    if not SHARED.is_dir():
        pytest.skip(f"no data sets in {SHARED}")
    sets, options = defaults("defaults.sets"), defaults("options")
    task = sets.task_of(sets.RECORDS[name], options.Options(data=SHARED, work=tmp_path), "test")
    for lead, (mae, rmse) in PERSISTENCE[name].items():
        error = task.truth - task.values[task.start - lead : len(task.values) - lead]
        digits = 2 if name == "noaa_tmax" else 3
        assert round(float(np.nanmean(np.abs(error))), digits) == mae
        assert round(float(np.nanmean(error**2) ** 0.5), digits) == rmse


def test_the_crps_of_23_quantiles_has_its_closed_form_and_is_lowest_for_the_truth(defaults):
    scores = defaults("defaults.scores")
    assert len(scores.QUANTILES) == 23 and scores.QUANTILES[scores.MEDIAN] == 0.5
    truth, normal = np.random.default_rng(0).standard_normal(40_000), norm.ppf(scores.QUANTILES)
    made = [
        scores.pinball(truth, np.broadcast_to(q, (40_000, 23))).mean() for q in (normal, 1.2 * normal, normal + 0.2)
    ]
    assert made[0] == pytest.approx(2 * norm.pdf(normal).mean(), rel=0.01)  # the loss at level q is pdf(ppf(q))
    assert made[0] == min(made)
    covered = scores.covered(truth, np.broadcast_to(normal, (40_000, 23)))
    assert all(abs(covered[f"{100 * level:g}"] - level) < 0.01 for level in scores.INTERVALS)


def test_cases_count_only_where_every_forecaster_has_them(defaults):
    scores = defaults("defaults.scores")
    whole = scores.Made(np.zeros((1, 3, 2, 23), np.float32), np.zeros((1, 3, 2), np.float32))
    lacking = scores.Made(whole.quantiles.copy(), whole.mean.copy())
    lacking.quantiles[0, 1, 0, 5] = np.nan
    truth = np.array([[1.0, np.nan], [1.0, 1.0], [1.0, 1.0]])
    cases = scores.shared_cases(truth, {"a": [whole], "b": [whole, lacking]})
    assert cases.sum() == 4 and not cases[0, 0, 1] and not cases[0, 1, 0]
