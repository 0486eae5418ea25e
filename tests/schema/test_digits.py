"""Digits of values: kept by readers, and refused, with the way out, where float32 does not hold them."""

import re
import warnings

import numpy as np
import pytest
import xarray as xr
from helpers import make_panel
from hypothesis import given
from hypothesis import strategies as st

from stgate.data import WindowData
from stgate.errors import PanelError, PanelWarning
from stgate.io import read_tables, to_panel
from stgate.schema.precision import Digits, check_precision, check_static, fits_float32, narrowed


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
@pytest.mark.parametrize("offset", [1e6, 1e8, -1e8, 1e10, 1.23456789e12])
def test_an_offset_that_hides_the_signal_is_refused_and_the_advice_fits(name, offset):
    panel = make_panel(missing=0.1)
    moved = panel.assign({name: panel[name].astype("float64") + offset})
    options = {"targets": "y", "past_covariates": ["u"], "window": 4, "horizon": 2}
    with pytest.raises(PanelError, match="float32") as refused:
        WindowData(moved, **options).setup()
    assert f"panel['{name}'] - " in str(refused.value)
    advised = re.search(r"panel\['\w'\] - ([-+.\de]+)", str(refused.value))
    back = moved.assign({name: moved[name] - float(advised[1])})
    WindowData(back, **options).setup()


@pytest.mark.parametrize("offset", [0.0, 273.15, 101325.0])
def test_ordinary_offsets_pass(offset):
    values = np.random.default_rng(0).normal(size=(50, 3)) + offset
    check_precision("y", values)
    assert fits_float32(np.round(values, 2))


ROWS = np.arange(300)[:, None]
NOISE = np.random.default_rng(0).normal(size=(300, 3))
REFUSED = {
    "one node of three": NOISE + np.array([0, 1e8, 0]),
    "observed every other step": np.where(ROWS % 2, NOISE + 1e8, np.nan),
    "the last rows only": np.where(ROWS > 280, NOISE + 1e8, NOISE),
    "a meter": 1e10 + 12.0 * ROWS,
    "a meter whose values look like those of float32": 1.2e8 + 10.0 * ROWS,
    "a meter beside a node that changes more": np.concatenate([1e3 * NOISE, 1.2e8 + 10.0 * ROWS], 1),
    "seconds since 1970": 1.7e9 + 1.0 * ROWS,
    "two members": np.stack([NOISE + 1e8, NOISE]),
    "an hour that counts from another zero": np.where(ROWS > 200, NOISE + 1e9, NOISE + 10),
    "one node that jumps": NOISE + np.where((ROWS > 150) & (np.arange(3) == 1), 1e10, 0),
    "a walk of long steps": NOISE + 1e7 * (ROWS // 50),
    "jumps down": NOISE + np.where(ROWS > 250, -3e9, 3e9),
}
TAKEN = {
    "pascals": 101325 + 100 * NOISE,
    "pascals in text": np.round(101325 + NOISE, 2),
    "a file of float32": (1e8 + NOISE).astype("float32"),
    "heavy tails": np.exp(8 * NOISE),
    "one spike": np.where(ROWS == 77, 1e12 + 0.3, NOISE),
    "a node that jitters around a constant": np.concatenate([NOISE, 271.35 + 1e-9 * NOISE], 1),
    "a large constant": np.full((300, 3), 1e8 + 0.3),
    "nothing": np.full((300, 3), np.nan),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_values_whose_changes_float32_does_not_hold_are_refused(kind):
    with pytest.raises(PanelError, match=r"`y`: values .* float32, .*; take ") as refused:
        check_precision("y", REFUSED[kind])
    values = REFUSED[kind]
    dims = ("member", "time", "node")[3 - values.ndim :]
    panel = xr.Dataset({"y": (dims, values)})
    ways = re.findall(
        r"panel\['y'\](?:\.diff\('time'\)| - (?:panel\['y'\]\.median\('time'\)|[-+.\de]+))", str(refused.value)
    )
    assert ways
    for way in ways:
        check_precision("y", eval(way, {"panel": panel}).transpose(*dims).values)


@pytest.mark.parametrize("kind", TAKEN)
def test_values_whose_changes_survive_are_taken(kind):
    check_precision("y", TAKEN[kind])


@pytest.mark.parametrize("kind", [*REFUSED, *TAKEN])
@pytest.mark.parametrize("rows", [1, 7])
def test_pieces_of_rows_are_judged_together(kind, rows):
    digits, values = Digits(), {**REFUSED, **TAKEN}[kind]
    for first in range(0, 300, rows):
        digits.add(values[..., first : first + rows, :])
    assert (digits.fault is not None) == (kind in REFUSED)


@pytest.mark.parametrize("size", [1e-300, 1e-47, 1e38, 1e300])
@pytest.mark.parametrize("check", [check_precision, lambda name, values: check_static(name, values[0])])
def test_sizes_beyond_float32_name_the_unit(size, check):
    with pytest.raises(PanelError, match=r"change its units: panel\['y'\] / ") as refused:
        check("y", 30 * size * NOISE)
    check("y", 30 * size * NOISE / float(str(refused.value).rsplit(" ", 1)[1]))


@pytest.mark.parametrize(
    "values", [[1e8 + 0.1, 1e8 + 0.7, 1e8], [1e12 + 1, 1e12 + 9, np.nan], [-1e9, -1e9 + 4, -1e9 + 2]]
)
def test_static_covariates_whose_differences_float32_does_not_hold_are_refused(values):
    with pytest.raises(PanelError, match=r"`x`: .* from node to node, .*; take panel\['x'\] - ") as refused:
        check_static("x", np.array(values))
    check_static("x", np.array(values) - float(str(refused.value).rsplit(" ", 1)[1]))


@pytest.mark.parametrize(
    "values", [[4.5e6, 4.51e6, 4.6e6], [116.1, 116.101, 116.1], [1e8, 1e8, 1e8], [np.nan, np.nan, 1e8]]
)
def test_static_covariates_that_differ_enough_are_taken(values):
    check_static("x", np.array(values))


@pytest.mark.parametrize("factor", [1e-30, 1e-17, 1e17, 1e30])
@pytest.mark.parametrize("name", ["y", "u"])
def test_scales_of_targets_stay_within_what_likelihoods_square(name, factor):
    panel = make_panel(steps=120)
    data = WindowData(
        panel.assign({name: panel[name].astype("float64") * factor}),
        targets="y",
        past_covariates=["u"],
        window=4,
        horizon=2,
    )
    if name == "u":
        assert float(data.statistics().scale[1]) > 0
        return
    with pytest.raises(PanelError, match=r"`y`: has a standard deviation of .*; change its units: panel\['y'\] / "):
        data.statistics()


def test_constants_have_no_scale_to_refuse():
    panel = make_panel(steps=120, missing=0)
    data = WindowData(panel.assign(y=panel["y"] * 0 + np.float32(0.1)), targets="y", window=4, horizon=2)
    assert data.statistics().scale.shape == (1,)


def test_whole_numbers_with_gaps_keep_their_digits():
    values = 1.2e8 + 10.0 * ROWS
    values[::3] = np.nan
    kept = narrowed(values)
    assert kept.dtype == np.float64


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.where(np.arange(3) == 1, 1e15 / 7, NOISE), True),
        (np.where(np.arange(3) == 2, 1e12, NOISE), True),
        (np.where(np.arange(3) == 0, -3e8, NOISE), True),
        (np.where(np.arange(3) == 0, 1e5, NOISE), False),
        (NOISE * [1, 1e3, 1e-2], False),
        (NOISE * [1, 1e9, 1e-2], False),  # what hardly moves beside another does not count
        (np.full((300, 3), 1e9 / 7), False),
        (np.where(np.arange(3) == 0, 271.35 + 1e-9 * NOISE, NOISE), False),
    ],
)
def test_a_scale_that_hides_most_nodes_is_told_of_and_the_advice_fits(values, told):
    panel = make_panel(steps=300, missing=0)
    panel = panel.assign(y=(("time", "node"), values))
    options = {"targets": "y", "window": 4, "horizon": 2}

    def warned(given):
        with warnings.catch_warnings(record=True) as lines:
            warnings.simplefilter("always")
            WindowData(given, **options).statistics()
        return [str(line.message) for line in lines if issubclass(line.category, PanelWarning)]

    lines = warned(panel)
    assert bool(lines) is told
    for line in lines:
        assert not warned(panel.assign(y=eval(line.rsplit("or take ", 1)[1], {"panel": panel})))
