"""Simulated missingness: exact rates, what each pattern hides, and nothing that was missing already."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import stgate
from stgate.errors import PanelError, RequestError
from stgate.panels.graph import Graph
from stgate.panels.missing import PATTERNS, mask


def make(times=60, nodes=6, members=None, gaps=0.1, seed=0):
    """Stations on a line, 10 km apart, with gaps."""
    rng = np.random.default_rng(seed)
    shape = (times, nodes) if members is None else (members, times, nodes)
    values = rng.standard_normal(shape)
    values[rng.random(shape) < gaps] = np.nan
    dims = ("member", "time", "node")[-len(shape) :]
    return xr.Dataset(
        {"y": (dims, values, {"units": "1"})},
        {
            "time": pd.date_range("2020-01-01", periods=times, freq="h"),
            "node": [f"n{i}" for i in range(nodes)],
            "x": ("node", 10.0 * np.arange(nodes), {"units": "km"}),
        },
    )


def runs(mask):
    """Lengths of the runs of True along time, of a (time, node) mask."""
    padded = np.pad(mask.astype(int), ((1, 1), (0, 0)))
    edges = np.diff(padded, axis=0).T
    return np.concatenate([np.flatnonzero(e == -1) - np.flatnonzero(e == 1) for e in edges])


@given(
    pattern=st.sampled_from(list(PATTERNS)),
    rate=st.floats(0, 1),
    seed=st.integers(0, 100),
    members=st.sampled_from([None, 1, 3]),
    gaps=st.sampled_from([0.0, 0.3, 0.9]),
    length=st.sampled_from([1, 7, (2, 9)]),
)
@settings(deadline=None, max_examples=80)
def test_the_rate_is_met_to_one_entry_and_nothing_else_changes(pattern, rate, seed, members, gaps, length):
    panel = make(times=20, nodes=5, members=members, gaps=gaps, seed=seed)
    before = panel.copy(deep=True)
    masked, hidden = mask(panel, "y", pattern=pattern, rate=rate, seed=seed, length=length, neighbours=2)
    observed = panel["y"].notnull()
    assert int(hidden.sum()) == round(rate * int(observed.sum()))
    assert not (hidden & ~observed).any()
    xr.testing.assert_identical(panel, before)
    xr.testing.assert_identical(masked["y"], panel["y"].where(~hidden))
    assert hidden.dims == panel["y"].dims and hidden.dtype == bool


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_seed_fixes_the_mask_and_a_higher_rate_hides_the_same_and_more(pattern):
    panel = make()
    low, again, high = (mask(panel, "y", pattern=pattern, rate=r, seed=4)[1] for r in (0.2, 0.2, 0.5))
    other = mask(panel, "y", pattern=pattern, rate=0.2, seed=5)[1]
    assert low.equals(again) and not low.equals(other)
    assert not (low & ~high).any()


def test_points_are_spread_evenly_over_times_and_nodes():
    hidden = mask(make(times=4000, gaps=0), "y", pattern="point", rate=0.3)[1]
    np.testing.assert_allclose(hidden.mean("time"), 0.3, atol=0.04)
    assert np.corrcoef(hidden.values[:-1].ravel(), hidden.values[1:].ravel())[0, 1] == pytest.approx(0, abs=0.03)


def test_a_block_is_a_run_of_its_own_length_and_only_the_last_is_cut():
    hidden = mask(make(times=2000, gaps=0), "y", pattern="block", rate=0.03, length=10)[1].values
    found = runs(hidden)
    inside = found[found != 10]
    assert (found == 10).sum() >= 25
    assert len(inside) <= 8 and (inside < 40).all()  # two that overlap, one at an end, the last


def test_each_fault_draws_its_own_length():
    found = runs(mask(make(times=8000, gaps=0), "y", pattern="block", rate=0.02, length=(5, 30))[1].values)
    assert len(set(found.tolist())) > 12 and np.median(found) == pytest.approx(17, abs=5)
    assert ((found >= 5) & (found <= 30)).mean() > 0.9


def test_blocks_are_as_likely_at_the_ends_as_in_the_middle():
    panel = make(times=60, nodes=40, gaps=0)
    share = np.mean([mask(panel, "y", pattern="block", rate=0.2, length=15, seed=s)[1] for s in range(60)], axis=0)
    by_time = share.mean(axis=1)
    np.testing.assert_allclose([by_time[:5].mean(), by_time[-5:].mean()], by_time[25:35].mean(), atol=0.05)


def test_an_outage_takes_whole_nodes_and_one_in_part():
    panel = make(gaps=0)
    hidden = mask(panel, "y", pattern="outage", rate=0.4)[1].values  # of 6 nodes: 2.4
    shares = np.sort(hidden.mean(axis=0))
    np.testing.assert_allclose(shares, [0, 0, 0, 0.4, 1, 1])
    partial = hidden[:, (hidden.mean(axis=0) > 0) & (hidden.mean(axis=0) < 1)][:, 0]
    assert partial[-24:].all() and not partial[:-24].any()  # it falls silent later, for good
    later = mask(panel, "y", pattern="outage", rate=0.3, start="2020-01-02T06:00")[1].values
    assert not later[:30].any() and later.sum() == round(0.3 * 360)
    with pytest.raises(RequestError, match=r"rate 0\.6: the pattern can mask at most 0\.5"):
        mask(panel, "y", pattern="outage", rate=0.6, start="2020-01-02T06:00")


def test_a_spatial_block_is_a_neighbourhood_at_one_time():
    hidden = mask(make(times=3000, nodes=20, gaps=0), "y", pattern="spatial_block", rate=0.02, neighbours=2)[1].values
    sizes = hidden.sum(axis=1)
    assert (sizes[sizes > 0] == 3).mean() > 0.8
    where = np.flatnonzero(hidden[np.flatnonzero(sizes == 3)[0]])
    assert np.ptp(where) <= 3  # together on the line
    assert np.corrcoef(hidden[:-1].ravel(), hidden[1:].ravel())[0, 1] < 0.1


def test_a_spatiotemporal_block_is_a_neighbourhood_for_a_run_of_steps():
    panel = make(times=3000, nodes=20, gaps=0)
    hidden = mask(panel, "y", pattern="spatiotemporal_block", rate=0.02, neighbours=2, length=12)[1].values
    found = runs(hidden)
    assert (found == 12).mean() > 0.6
    sizes = hidden.sum(axis=1)
    assert (sizes[sizes > 0] >= 3).mean() > 0.9


def test_without_coordinates_the_panels_edges_make_the_neighbourhoods():
    panel = make(gaps=0).drop_vars("x")
    with pytest.raises(PanelError, match="no coordinates"):
        mask(panel, "y", pattern="spatial_block")
    matrix = np.zeros((6, 6))
    matrix[5, 0] = matrix[0, 5] = 1
    linked = Graph.of_matrix(panel["node"].values.tolist(), matrix).add_to(panel)
    hidden = mask(linked, "y", pattern="spatial_block", rate=0.1)[1].values
    assert (hidden[:, 0] == hidden[:, 5]).mean() > 0.97  # the last fault may be cut


def test_high_values_are_lost_and_the_stronger_the_surer():
    panel = make(times=2000, gaps=0)
    means = [
        float(panel["y"].where(mask(panel, "y", pattern="value_dependent", rate=0.2, strength=s)[1]).mean())
        for s in (0.0, 2.0, 50.0)
    ]
    assert abs(means[0]) < 0.06 and 0.7 < means[1] < 1.3
    top = np.sort(panel["y"].values.ravel())[-round(0.2 * panel["y"].size) :].mean()
    assert means[2] == pytest.approx(top, abs=0.02)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pattern": "blok"}, RequestError, "did you mean block"),
        ({"rate": 1.2}, RequestError, r"rate 1\.2: must be a share"),
        ({"seed": -1}, RequestError, "seed -1"),
        ({"pattern": "block", "length": 0}, RequestError, "length 0"),
        ({"pattern": "block", "length": (5, 3)}, RequestError, "the minimum not above the maximum"),
        ({"pattern": "block", "length": 61}, RequestError, "must be at most 60"),
        ({"pattern": "outage", "start": "2021"}, RequestError, "after the panel's last time"),
        ({"pattern": "outage", "start": "soon"}, RequestError, "not a time of this panel"),
        ({"pattern": "spatial_block", "neighbours": 6}, RequestError, "neighbours 6: must lie between 1 and 5"),
        ({"pattern": "value_dependent", "strength": np.inf}, RequestError, "strength inf"),
        ({"name": "z"}, PanelError, "no such variable"),
        *[({"rate": rate}, RequestError, "rate .*must be") for rate in ("a", None, np.nan, True)],
        *[({"seed": seed}, RequestError, "seed .*must be") for seed in ("a", None, 1.5, np.inf)],
        *[
            ({"pattern": "block", "length": length}, RequestError, "length .*must be")
            for length in ("a", None, 1.5, (1, 2, 3), (1, "b"), (0, 2), [])
        ],
        *[
            ({"pattern": "spatial_block", "neighbours": count}, RequestError, "neighbours .*must be")
            for count in ("a", None, 1.5, 0)
        ],
    ],
)
def test_a_wrong_request_is_named(options, error, message):
    with pytest.raises(error, match=message):
        mask(make(), **{"name": "y", **options})


def test_it_is_reached_from_the_package():
    masked, hidden = stgate.panels.missing.mask(make(), "y", pattern="point", rate=0.5)
    assert masked["y"].attrs == {"units": "1"} and hidden.attrs["pattern"] == "point"
