"""Panels of dask arrays: the same numbers as in memory, and large ones never as a whole."""

import numpy as np
import pytest
import xarray as xr
from helpers import built, field_data, field_panel, make_data, make_model, make_panel, refusal, same, small_field

import stgate
from stgate.data import WindowData
from stgate.data.history import History
from stgate.data.streaming import StoredSeries
from stgate.errors import PanelError
from stgate.io.readers import open_within
from stgate.io.store import quiet_zarr

ROWS = 50
SMALL = 0.005
"""Megabytes that a panel of 400 rows does not fit into, while its windows do."""


@pytest.fixture(scope="module")
def panels(tmp_path_factory):
    """A panel in memory, and the same in a store, as dask arrays."""
    panel = make_panel(steps=400)
    path = tmp_path_factory.mktemp("panels") / "p.zarr"
    with quiet_zarr():
        panel.chunk(time=ROWS).to_zarr(path, zarr_format=3)
        opened = xr.open_zarr(path, chunks={})
    assert opened["y"].chunks is not None
    return panel, opened


@pytest.fixture(scope="module")
def model(panels):
    return make_model(panels[0])[0]


VERBS = {
    "forecast": lambda m, p, **o: stgate.forecast(m, p, **o),
    "backtest": lambda m, p, **o: stgate.backtest(m, p, every=5, **o),
    "rolling": lambda m, p, **o: stgate.backtest(m, p, start="2020-01-12", calibration="rolling", **o),
    "free run": lambda m, p, **o: stgate.backtest(m, p, end="2020-01-05", **o),
}


@pytest.mark.parametrize("memory", [None, SMALL])
@pytest.mark.parametrize("verb", VERBS)
def test_a_panel_of_dask_arrays_gives_the_same_forecasts(panels, model, verb, memory):
    panel, lazy = panels
    assert same(VERBS[verb](model, lazy, max_memory=memory), VERBS[verb](model, panel))
    assert lazy["y"].chunks is not None  # the caller's panel stays as it is


def test_a_large_one_is_read_in_blocks(panels, model):
    lazy = panels[1]
    history = History.of(lazy, model.predictor.fitted_spec, SMALL)
    assert isinstance(history.series, StoredSeries)
    whole = History.of(panels[0], model.predictor.fitted_spec, None)
    np.testing.assert_array_equal(history.series.read(0, 403), whole.series.values)
    assert history.digest() == whole.digest()


def test_a_small_one_is_computed_and_variables_without_a_role_are_not(panels):
    lazy = panels[1]
    made, stored = open_within(lazy, ["y"], ["y"], 1e9)
    assert not stored and made["y"].chunks is None and made["u"].chunks is not None
    made, stored = open_within(lazy, ["y"], ["y"], 1e3)
    assert stored and made["y"].chunks is not None


@pytest.mark.parametrize("memory", [None, 0.012])
def test_windows_are_those_of_a_panel_in_memory(panels, memory):
    panel, lazy = panels
    one = make_data(panel, targets=["y"], future_covariates=["u"])
    other = make_data(lazy, targets=["y"], future_covariates=["u"], max_memory=memory)
    for part in ("validation", "test"):
        for ours, theirs in zip(one.part_dataloader(part), other.part_dataloader(part), strict=True):
            for name in ours:
                np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_calibration_and_a_reconstruction_take_it(panels, model, tmp_path):
    panel, lazy = panels
    options = {"levels": [0.5], "start": "2020-01-10"}
    assert stgate.recalibrate(model, lazy, **options) == stgate.recalibrate(model, panel, **options)
    model.predictor.calibration = None
    places = field_panel()
    field = built(small_field(), field_data(places))
    assert same(stgate.reconstruct(field, places.chunk(time=30)), stgate.reconstruct(field, places))


def test_scores_of_a_forecast_of_dask_arrays_are_those_in_memory(panels, model):
    hindcast = stgate.backtest(model, panels[0])
    options = {"by": "lead_time", "levels": [0.5]}
    xr.testing.assert_allclose(
        stgate.evaluate(hindcast.chunk(init_time=100), **options), stgate.evaluate(hindcast, **options)
    )


def test_the_check_of_a_panel_goes_chunk_by_chunk(panels):
    lazy = panels[1]
    stgate.check_panel(lazy)
    odd = lazy.assign(y=lazy["y"].where(lazy["y"] != lazy["y"][120, 1], np.inf).fillna(np.inf))
    assert refusal(PanelError, stgate.check_panel, odd).startswith("`y`: infinite at time ")
    assert isinstance(make_data(lazy, targets=["y"]), WindowData)
