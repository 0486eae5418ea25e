"""Climatology for filling gaps: means by month and hour, from the training part alone."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import make_panel

from stgate.data.streaming import StoredSeries
from stgate.data.window_data import WindowData
from stgate.io import store
from stgate.models import GatedRNN


def long_panel(days=500, missing=0.3, members=None):
    """Hourly, more than a year, so that each cell of (month, hour) is seen more than once."""
    panels = [make_panel(steps=24 * days, seed=seed, missing=missing) for seed in range(members or 1)]
    return xr.concat(panels, "member").assign_coords(member=range(members)) if members else panels[0]


def test_each_cell_holds_what_a_pandas_groupby_gives():
    panel = long_panel()
    data = WindowData(panel, targets="y", window=6, horizon=3, future_covariates=["u"], split=(0.8, 0.1, 0.1, 0.0))
    means = data.cell_means()
    train = panel.isel(time=slice(*data.parts.train))
    for channel, name in enumerate(("y", "u")):
        frame = train[name].transpose("time", "node").to_pandas()
        grouped = frame.groupby([frame.index.month, frame.index.hour]).mean()
        for (month, hour), row in grouped.iterrows():
            np.testing.assert_allclose(means[(month - 1) * 24 + hour, :, channel], row, rtol=1e-5)


def test_a_month_never_seen_takes_that_hour_of_all_months_and_a_silent_node_the_mean_of_the_others():
    panel = long_panel(days=40, missing=0.0)  # January and a part of February
    panel["u"][:, 1] = np.nan
    data = WindowData(panel, targets="y", window=6, horizon=3, past_covariates=["u"], split=(1, 0, 0, 0))
    means = data.cell_means()
    assert not means.isnan().any()
    july = means[6 * 24 : 7 * 24]
    by_hour = panel["y"].groupby("time.hour").mean("time").transpose("hour", "node")
    np.testing.assert_allclose(july[..., 0], by_hour, rtol=1e-5)
    np.testing.assert_allclose(july[:, 1, 1], float(panel["u"].mean()), rtol=1e-5)


@pytest.mark.parametrize("step", ["D", "W-MON"])
def test_from_a_day_on_the_cells_are_months(step):
    time = pd.date_range("2015-01-01", periods=400, freq=step)
    panel = xr.Dataset(
        {"y": (("time", "node"), np.random.default_rng(0).random((400, 2)))}, coords={"time": time, "node": ["a", "b"]}
    )
    data = WindowData(panel, targets="y", window=6, horizon=3, split=(1, 0, 0, 0))
    expected = panel["y"].groupby("time.month").mean("time").transpose("month", "node")
    np.testing.assert_allclose(data.cell_means()[..., 0], expected, rtol=1e-5)


def test_model_time_has_one_cell_the_mean_of_each_node():
    values = np.random.default_rng(0).random((2, 90, 3))
    panel = xr.Dataset(
        {"x": (("member", "time", "node"), values)},
        coords={"time": ("time", np.arange(90) * 0.1, {"units": "1"}), "node": range(3), "member": range(2)},
    )
    means = WindowData(panel, targets="x", window=6, horizon=3, split=(1, 0, 0, 0)).cell_means()
    np.testing.assert_allclose(means[:, :, 0], values.mean((0, 1))[None], rtol=1e-6)


def test_what_a_model_fills_with_is_the_climatology_in_own_units():
    data = WindowData(long_panel(days=60), targets="y", window=6, horizon=3, future_covariates=["u"])
    model = GatedRNN(hidden=4, imputation="climatology")
    model.adopt(data)
    batch = next(iter(data.part_dataloader("validation")))
    inputs, means = model.predictor.scaler(batch), data.cell_means()
    filled = inputs.values * model.predictor.scaler.scale + model.predictor.scaler.center
    gone = batch["past"].isnan()
    assert gone.any()
    torch.testing.assert_close(filled[gone], means[batch["past_cell"]][gone], rtol=1e-4, atol=1e-4)


def test_nothing_after_the_training_part_is_used():
    panel = long_panel(days=60)
    altered = panel.copy(deep=True)
    altered["y"][24 * 40 :] *= 1e5
    first, second = (WindowData(p, targets="y", window=6, horizon=3).cell_means() for p in (panel, altered))
    assert torch.equal(first, second)


def test_a_store_read_in_blocks_gives_the_means_of_memory(tmp_path):
    panel = long_panel(days=200, members=2)
    store.write(panel, tmp_path / "p.zarr")
    split = (0.7, 0.1, 0.2, 0.0)
    memory = WindowData(panel, targets="y", window=6, horizon=3, split=split)
    blocks = WindowData(tmp_path / "p.zarr", targets="y", window=6, horizon=3, split=split, max_memory=0.05)
    assert isinstance(blocks.series, StoredSeries)
    torch.testing.assert_close(blocks.cell_means(), memory.cell_means(), rtol=1e-6, atol=1e-6)
