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
    said = summarize(panel)
    assert "1e+20" in said and "-9999" in said
