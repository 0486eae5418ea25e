"""Options of forecasts and calibrations that are none are refused in one line; those that are one are taken as one."""

import numpy as np
import pytest
from helpers import make_model, make_panel

import stgate
from stgate.errors import RequestError
from stgate.forecasting.conformal import CalibrationOptions

PANEL = make_panel(steps=120)


@pytest.fixture(scope="module")
def fitted():
    return make_model(PANEL)


@pytest.mark.parametrize("levels", [None, "0.9", ["0.9"], [None], [True], [0.5, "a"], [np.nan], [90], 0, [1j]])
@pytest.mark.parametrize("verb", [stgate.forecast, stgate.backtest])
def test_levels_that_are_none_are_refused(fitted, verb, levels):
    with pytest.raises(RequestError, match=r"^level [^\n]*$"):
        verb(fitted[0], PANEL, levels=levels)
    if levels is not None:  # all levels
        with pytest.raises(RequestError, match=r"^level [^\n]*$"):
            stgate.calibrate(*fitted, levels=levels)


@pytest.mark.parametrize("levels", [0.9, (0.9, 0.5), {0.5, 0.9}, np.array([0.5, 0.9]), [0.9, 0.9], np.float32(0.75)])
def test_levels_of_any_kind_ascend_each_once(levels):
    ordered = CalibrationOptions(levels=levels).ordered
    assert ordered == sorted(
        set(np.atleast_1d(np.array(sorted(levels) if isinstance(levels, set) else levels)).tolist())
    )


@pytest.mark.parametrize("bad", [0, -1, 1.5, "a", None, True, np.nan])
@pytest.mark.parametrize("name", ["every", "calibration_window"])
def test_counts_of_a_backtest_that_are_none_are_refused(fitted, name, bad):
    with pytest.raises(RequestError, match=rf"^{name} [^\n]*$"):
        stgate.backtest(fitted[0], PANEL, **{name: bad})
