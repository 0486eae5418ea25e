"""Digits of values: kept by readers, and refused, with the way out, where float32 does not hold them."""

import numpy as np
import pytest
from helpers import make_panel
from hypothesis import given
from hypothesis import strategies as st

from stgate.data import WindowData
from stgate.errors import PanelError
from stgate.io import read_tables, to_panel
from stgate.schema.precision import check_precision, fits_float32, narrowed


@given(st.lists(st.integers(-(2**24), 2**24), min_size=2, max_size=8), st.sampled_from([1, 10, 100, 1000]))
def test_values_of_seven_digits_stay_float32(numbers, divisor):
    values = np.asarray(np.array(numbers) / divisor, "float32").astype(str).astype("float64")[:, None]
    assert narrowed(values).dtype == np.float32


@given(st.lists(st.integers(2**24 + 1, 2**53), min_size=2, max_size=8, unique=True))
def test_large_integers_keep_every_digit(numbers):
    values = np.array(numbers, "float64")[:, None]
    assert (narrowed(values, integers=True).astype("float64") == values).all()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_readers_keep_the_digits_of_counters(suffix, tmp_path):
    import pandas as pd

    counter = 1_000_000_000 + 3 * np.arange(5)
    frame = pd.DataFrame({"time": pd.date_range("2020", periods=5, freq="h"), "node": "a", "y": counter})
    path = tmp_path / f"table.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    assert read_tables(path, node="node")["y"].values.ravel().tolist() == counter.tolist()


def test_integers_that_float64_does_not_hold_are_refused():
    import pandas as pd

    frame = pd.DataFrame({"time": pd.date_range("2020", periods=3, freq="h"), "node": "a", "y": [2**60 + 1, 5, 7]})
    with pytest.raises(PanelError, match=r"y.*whole numbers of up to 19 digits"):
        to_panel(frame, time="time", node="node")


@pytest.mark.parametrize("name", ["y", "u"])
@pytest.mark.parametrize("offset", [1e8, -1e8, 1e10])
def test_an_offset_that_hides_the_signal_is_refused_and_the_advice_fits(name, offset):
    panel = make_panel(missing=0.1)
    moved = panel.assign({name: panel[name].astype("float64") + offset})
    options = {"targets": "y", "past_covariates": ["u"], "window": 4, "horizon": 2}
    with pytest.raises(PanelError, match="float32") as refused:
        WindowData(moved, **options).setup()
    assert f"panel['{name}'] - " in str(refused.value)
    back = moved.assign({name: moved[name] - float(f"{float(moved[name].median()):.6g}")})
    WindowData(back, **options).setup()


@pytest.mark.parametrize("offset", [0.0, 273.15, 101325.0])
def test_ordinary_offsets_pass(offset):
    values = np.random.default_rng(0).normal(size=(50, 3)) + offset
    check_precision("y", values)
    assert fits_float32(np.round(values, 2))
