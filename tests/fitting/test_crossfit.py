"""Out-of-fold forecasts: each row is held out once, and no fit sees what it is to forecast."""

import numpy as np
import pytest
from helpers import make_panel
from hypothesis import given, settings
from hypothesis import strategies as st

import stgate
from stgate.fitting import out_of_fold
from stgate.fitting.blocks import before_test, blocks_of, hidden, without
from stgate.fitting.crossfit import cross_fit
from stgate.fitting.training import Length, train

LENGTH = Length(2, 2)


def window_data(panel, **options):
    return stgate.WindowData(panel, **{"targets": "y", "window": 6, "horizon": 3, "batch_size": 32, **options})


def small_rnn():
    return stgate.GatedRNN(hidden=4)


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 300), st.integers(2, 9), st.integers(1, 8), st.integers(1, 6))
def test_each_row_before_the_test_part_is_held_out_once(steps, folds, window, horizon):
    data = window_data(make_panel(steps, missing=0), window=window, horizon=horizon, split=(0.6, 0.1, 0.1, 0.2))
    blocks = blocks_of(data, folds)
    rows = np.concatenate([np.arange(*block) for block in blocks])
    np.testing.assert_array_equal(rows, np.arange(data.parts.test[0]))
    assert len(blocks) <= folds
    assert min(stop - start for start, stop in blocks) >= window + horizon - 1


def test_a_block_is_missing_in_the_data_of_its_fit_and_other_rows_are_all_there():
    panel = make_panel(200)
    data = window_data(panel, past_covariates=["u"])
    seen = without(data, (40, 80)).panel
    assert seen["y"][40:80].isnull().all() and seen["u"][40:80].isnull().all()
    rest = [*range(40), *range(80, 200)]
    assert seen.isel(time=rest).identical(data.panel.isel(time=rest))
    assert without(data, (40, 80)).parts.train == (0, data.parts.test[0])


def test_future_covariates_stay_known():
    data = window_data(make_panel(200), future_covariates=["u"])
    assert without(data, (40, 80)).panel["u"].identical(data.panel["u"])


@pytest.mark.parametrize(
    "make", [stgate.Ridge, small_rnn, stgate.Climatology], ids=["Ridge", "GatedRNN", "Climatology"]
)
def test_values_of_a_block_and_of_the_test_part_do_not_reach_its_fit(make):
    panel = make_panel(220, missing=0.05)
    other = panel.copy(deep=True)
    other["y"][60:110] += 100.0
    other["y"][window_data(panel).parts.test[0] :] -= 50.0
    weights = []
    for held in (panel, other):
        fitted = make()
        train(fitted, without(window_data(held), (60, 110)), seed=3, length=LENGTH)
        weights.append(fitted.predictor.fingerprint())
    assert weights[0] == weights[1]


def test_other_values_do_reach_it():
    panel = make_panel(220)
    other = panel.copy(deep=True)
    other["y"][40:50] += 1.0
    fits = [stgate.Ridge(), stgate.Ridge()]
    for fitted, held in zip(fits, (panel, other), strict=True):
        train(fitted, without(window_data(held), (60, 110)), seed=3, length=LENGTH)
    assert fits[0].predictor.fingerprint() != fits[1].predictor.fingerprint()


def test_forecasts_lie_in_the_block_that_their_fit_has_not_seen():
    data = window_data(make_panel(200, missing=0))
    held = cross_fit(stgate.Persistence, data, folds=4, length=LENGTH, seed=0)
    assert [len(set(held.predictors)), len(held.blocks)] == [4, 4]
    for predictor, batch in held.batches():
        start, stop = held.blocks[held.predictors.index(predictor)]
        origins = batch["origin"][:, 1].numpy()
        assert (origins + 1 >= start).all() and (origins + 3 < stop).all()


def test_out_of_fold_forecasts_have_the_schema_the_truth_and_every_origin():
    panel = make_panel(200)
    data = window_data(panel)
    made = out_of_fold(stgate.Ridge, data, folds=4)
    stgate.check_forecast(made)
    rows = made.indexes["time"] if "time" in made.indexes else made["init_time"].to_index()
    stop, blocks = data.parts.test[0], blocks_of(data, 4)
    expected = [row for a, b in blocks for row in range(max(a, 6) - 1, b - 3)]
    assert len(rows) == len(expected)
    assert made["valid_time"].max() < panel["time"][stop]
    truth = panel["y"].sel(time=made["valid_time"]).transpose(*made["y_truth"].dims)
    np.testing.assert_array_equal(made["y_truth"].values, truth.values)


def test_large_forecasts_are_made_from_origins_that_visit_every_hour(monkeypatch):
    from stgate.fitting import crossfit

    monkeypatch.setattr(crossfit, "LARGEST", 20_000)
    made = out_of_fold(stgate.Persistence, window_data(make_panel(400)), levels=[0.5])
    assert 40 < made.sizes["init_time"] < 400
    assert len(np.unique(made["init_time"].dt.hour)) == 24


def test_a_node_that_only_a_block_observes_is_no_error():
    panel = make_panel(200)
    panel["y"][:, 1] = panel["y"][:, 1].where((np.arange(200) >= 60) & (np.arange(200) < 70))
    made = out_of_fold(stgate.Ridge, window_data(panel), folds=3)
    assert np.isfinite(made["y"].values[-20:]).all()


def test_the_random_state_is_left_alone_and_fits_repeat():
    import torch

    data = window_data(make_panel(200))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = (out_of_fold(small_rnn, data, folds=2, length=LENGTH) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert first.drop_attrs().equals(again.drop_attrs())


def test_too_few_rows_are_refused():
    data = window_data(make_panel(20, missing=0), split=(0.8, 0.0, 0.0, 0.2))
    with pytest.raises(stgate.RequestError, match="too few for two blocks"):
        blocks_of(data, 2)
    with pytest.raises(stgate.RequestError, match="at least 2"):
        blocks_of(data, 1)


def test_the_training_part_can_be_all_that_precedes_the_test_part():
    data = window_data(make_panel(200))
    whole = before_test(data)
    assert whole.parts.train == (0, data.parts.test[0]) and whole.parts.test == data.parts.test
    assert data.parts.train[1] < data.parts.test[0]
    assert hidden(data.panel, ["y"], (0, 5))["y"][:5].isnull().all() and data.panel["y"][:5].notnull().any()
