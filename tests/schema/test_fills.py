"""Marks of missing values that were not masked are named before a fit, and the printed mend makes them missing."""

import numpy as np
import pytest
import xarray as xr
from helpers import make_panel
from hypothesis import given
from hypothesis import strategies as st

from stgate.data import WindowData
from stgate.errors import PanelError, PanelWarning
from stgate.io.store import write
from stgate.panels.summary import summarize
from stgate.schema.fills import SIZES, marks_of

OPTIONS = {"targets": "y", "past_covariates": ["u"], "window": 4, "horizon": 2}


@given(
    size=st.sampled_from([size for size in SIZES if size >= 9999]),
    sign=st.sampled_from([1, -1]),
    count=st.integers(1, 20),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_planted_marks_are_found_with_their_counts(size, sign, count, dtype):
    values = np.random.default_rng(0).normal(10, 3, (60, 3)).astype(dtype)
    mark = np.array(sign * min(size, float(np.finfo(dtype).max))).astype(dtype)
    values.flat[: 3 * count : 3] = mark
    assert {np.array(m).astype(dtype).item(): n for m, n in marks_of(values).items()} == {mark.item(): count}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["normal", "lognormal", "poisson", "uniform"])
def test_ordinary_records_have_none(seed, kind):
    rng = np.random.default_rng(seed)
    values = {
        "normal": rng.normal(0, 1000, 500),
        "lognormal": rng.lognormal(2, 2, 500),
        "poisson": rng.poisson(999, 500).astype(float),
        "uniform": rng.uniform(-9999, 9999, 500).round(),
    }[kind]
    assert marks_of(values) == {}
    assert marks_of(np.append(values, np.nan)) == {}


@pytest.mark.parametrize(
    ("mark", "near", "spread"),
    [
        (9.96921e36, 10, 3),  # as texts write it
        (3.40282e38, 10, 3),
        (1e31, 10, 3),
        (-1e33, 10, 3),
        (9e15, 10, 3),
        (1e10, 10, 3),
        (-9999.99, 10, 3),
        (-999.99, 10, 3),
        (-99.99, 0.5, 0.1),
        (-99, 0.5, 0.1),
        (-6999, 10, 3),
        (-7777, 10, 3),
        (-9999, 101325, 900),
        (-32768, 101325, 900),
        (9999, 1013, 9),
        (-999, 285, 5),
        (9999.9, 285, 5),
        (-9999, 1e5, 2e3),
    ],
)
def test_marks_of_other_services_are_found_once(mark, near, spread):
    values = np.random.default_rng(0).normal(near, spread, 60)
    values[5] = mark
    assert marks_of(values) == {mark: 1}


def test_two_marks_of_one_side_do_not_hide_each_other():
    values = np.random.default_rng(0).normal(10, 3, 60)
    values[3:7] = -9999, -8888, -9999, -999
    assert marks_of(values) == {-9999: 2, -8888: 1, -999: 1}


ORDINARY = {
    "shares of a hundred": np.r_[np.random.default_rng(0).uniform(20, 90, 50), 99, 99.9],
    "few heights": np.array([650.0, 700.0, 999.0]),
    "a cap": np.r_[np.random.default_rng(0).poisson(600, 50), 999.0, 999.0],
    "prices": np.r_[np.random.default_rng(0).lognormal(9, 1, 200), 9999, 99999],
    "losses": np.array([-999.0, -20.0, 5.0, 800.0]),
    "numbers of particles": np.random.default_rng(0).lognormal(38, 3, 200),
    "numbers of particles, mostly none": np.r_[np.zeros(50), 2e15, 5e17],
    "all large": np.array([1e20, 2e20]),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_values_that_look_like_marks_among_their_like_are_none(kind):
    assert marks_of(ORDINARY[kind]) == {}


@pytest.mark.parametrize("name", ["y", "u"])
@pytest.mark.parametrize("mark", [1e20, -1e30, 9.96921e36])
@pytest.mark.parametrize("stored", [False, True])
def test_large_ones_are_refused_before_a_fit(name, mark, stored, tmp_path):
    panel = make_panel(missing=0.1)
    marked = panel.assign({name: panel[name].where(panel[name].notnull(), mark)})
    given = write(marked, tmp_path / "p.zarr") if stored else marked
    with pytest.raises(PanelError, match=f"`{name}`.*mark missing values") as refused:
        data = WindowData(given, **OPTIONS, **({"max_memory": 1e-3} if stored else {}))
        data.setup()
    mended = eval(str(refused.value).rsplit("with ", 1)[1], {"panel": marked})
    xr.testing.assert_identical(mended[name], panel[name])


def test_small_ones_are_warned_of():
    panel = make_panel(missing=0.1)
    with pytest.warns(PanelWarning, match=r"`y`: -9999 at \d+ entries"):
        WindowData(panel.assign(y=panel["y"].fillna(-9999)), **OPTIONS).setup()


def test_static_covariates_too():
    panel = make_panel().assign_coords(elevation=("node", [12.0, 1e20, 40.0]))
    with pytest.raises(PanelError, match=r"`elevation`.*mark missing values"):
        WindowData(panel, **OPTIONS, static_covariates=["elevation"]).setup()


def test_a_check_of_the_panel_names_each_of_two_marks():
    panel = make_panel(missing=0)
    panel["y"].values[3, 0], panel["y"].values[::7, 1] = 1e20, -9999
    said = summarize(panel.assign_coords(elevation=("node", [12.0, -9999.0, 40.0])))
    assert "1e+20" in said and "-9999" in said and "`elevation`: -9999 at 1 of the nodes" in said


@pytest.mark.parametrize("mark", [-9999.0, 999.0, 9999.0, 65504.0])
def test_marks_in_half_precision_are_found_without_a_word_from_numpy(mark):
    values = np.random.default_rng(0).normal(10, 3, (60, 3)).astype("float16")
    assert marks_of(values) == {}
    values[5] = mark
    assert list(marks_of(values)) == [float(str(np.float16(mark)))]
