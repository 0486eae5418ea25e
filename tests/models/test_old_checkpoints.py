"""Checkpoints of every format that was ever written load, and forecast what they forecast then."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import stgate
from stgate.models import Forecaster

FOLDER = Path(__file__).parents[1] / "checkpoints"
KEPT = sorted(FOLDER.glob("format*/*.ckpt"))
VERBS = {
    "forecast": lambda path, panel: stgate.forecast(path, panel, levels=[0.5, 0.8]),
    "backtest": lambda path, panel: stgate.backtest(
        path, panel, start=panel["time"].values[200], every=5, levels=[0.5, 0.8]
    ),
    "reconstruct": lambda path, panel: stgate.reconstruct(
        path, panel, start=str(panel["time"].values[210]), levels=[0.5, 0.8]
    ),
    "free_run": lambda path, panel: stgate.free_run(path, panel, steps=12),
}
"""As `benchmarks/bits.py` called them when it wrote the files."""


def panel_of(checkpoint: Path) -> xr.Dataset:
    with xr.open_dataset(
        checkpoint.parent / ("rollout_panel.nc" if "rollout" in checkpoint.stem else "panel.nc")
    ) as panel:
        loaded = panel.load()
    if "rollout" in checkpoint.stem:
        loaded.attrs["boundary"], loaded["time"].attrs["units"] = "periodic", "1"
    return loaded


@pytest.mark.parametrize("checkpoint", KEPT, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_old_checkpoint_forecasts_what_it_did(checkpoint):
    panel = panel_of(checkpoint)
    kept = sorted(checkpoint.parent.glob(f"{checkpoint.stem}.*.npz"))
    assert kept
    for file in kept:
        made = VERBS[file.name.split(".")[1]](checkpoint, panel)
        last = made.isel({dim: slice(-2, None) for dim in ("init_time", "time") if dim in made.dims})
        with np.load(file) as values:
            assert set(values) == {str(v) for v in last.data_vars if last[v].dtype.kind == "f"}
            for name in values:
                np.testing.assert_allclose(last[name].values, values[name], rtol=2e-4, atol=2e-4, err_msg=name)


def test_the_kept_files_hold_every_forecaster():
    classes = {torch.load(path, weights_only=True)["stgate"]["class"] for path in KEPT}
    assert classes == set(stgate.models.__all__) - {"Forecaster"}


def test_an_old_checkpoint_says_its_class():
    for path in KEPT:
        model = Forecaster.load_from_checkpoint(path)
        assert type(model).__name__ == torch.load(path, weights_only=True)["stgate"]["class"]
