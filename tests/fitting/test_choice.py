"""The way in which a fit is calibrated, by default."""

import numpy as np
import pytest
import xarray as xr
from helpers import field_data, make_panel

import stgate
from stgate.distributions.transforms import Log, Logit, Power
from stgate.errors import PanelError
from stgate.fitting.choice import choose


def data_of(steps, **options):
    panel = xr.Dataset({"y": (("time", "node"), np.zeros((steps, 1)))}, {"time": np.arange(float(steps)), "node": [0]})
    return stgate.WindowData(panel, **{"targets": "y", "window": 4, "horizon": 2, **options})


@pytest.mark.parametrize(
    "make, steps, expected",
    [
        (stgate.Ridge, 300, "cross"),
        (stgate.Ridge, 560, "cross"),
        (stgate.Ridge, 600, "refit"),
        (stgate.Ridge, 40_000, "refit"),
        (stgate.GatedRNN, 300, "cross"),
        (stgate.GatedRNN, 700, "refit"),
        (stgate.GatedRNN, 11_000, "refit"),
        (stgate.GatedRNN, 12_000, "split"),
    ],
)
def test_the_rule_of_auto(make, steps, expected):
    how, reason = choose("auto", make(), data_of(steps))
    assert how == expected
    assert reason == f"{round(0.85 * steps):,} steps before the test part"


def test_trajectories_count_as_steps():
    panel = stgate.simulate.lorenz96(nodes=4, forcing=8.0, duration=30, step=0.01, every=5, members=3, verify=False)
    data = stgate.WindowData(panel, targets=["x"], window=4, horizon=2)
    assert choose("auto", stgate.GatedRNN(), data)[0] == "refit"


def test_what_cannot_be_fitted_again_is_split():
    assert choose("auto", stgate.CGLUBNF(), field_data())[0] == "split"
    assert (
        choose("auto", stgate.Ridge(), data_of(300, split=(0.7, 0.1, 0, 0.2)))[1]
        == "the split leaves no calibration part"
    )


def test_a_panel_that_is_read_in_blocks_is_split(tmp_path):
    stgate.write(make_panel(400), tmp_path / "p.zarr")
    data = stgate.WindowData(tmp_path / "p.zarr", targets="y", window=4, horizon=2, max_memory=0.005)
    assert choose("auto", stgate.Ridge(), data) == ("split", "the panel is read in blocks")


def test_what_is_asked_for_is_taken_unless_the_record_is_too_short():
    for asked in ("split", "cross", "refit"):
        assert choose(asked, stgate.Ridge(), data_of(300)) == (asked, "as asked")
    with pytest.raises(stgate.RequestError, match="too few for two blocks"):
        choose("cross", stgate.Ridge(), data_of(12))


@pytest.mark.parametrize("asked", ["refit", "cross", "auto", "split"])
@pytest.mark.parametrize("transform, wrong", [(Log(), -2.0), (Log(0.0), 0.0), (Power(0.5), -2.0), (Logit(0, 9), 10.0)])
@pytest.mark.parametrize("part", ["validation", "calibration", "test"])
def test_transforms_that_the_last_fit_could_not_learn_are_refused_before_the_first(asked, transform, wrong, part):
    data = data_of(300)
    data.panel["y"][:] = 1.0
    data.panel["y"][getattr(data.parts, part)[0] + 5] = wrong
    data = stgate.WindowData(data.panel, targets="y", window=4, horizon=2)
    forecaster = stgate.Ridge(transforms=[transform])
    if asked == "split" or part == "test":
        choose(asked, forecaster, data)
    else:
        with pytest.raises(
            PanelError, match=r"transform .*`y`.* calibration split learns from the training part alone$"
        ):
            choose(asked, forecaster, data)
