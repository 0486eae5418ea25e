"""Windows: one gather gives what a slicing loop gives, and no lead leaves its part."""

import functools

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import make_panel
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.data.windows import (
    EpochBatches,
    Series,
    StreamBatches,
    Windows,
    hash_seed,
    part_origins,
    steps_since_observed,
)
from stgate.errors import PanelError
from stgate.schema.spec import PanelSpec


@functools.cache
def make_series(steps=40, members=1, window=4, horizon=3, missing=0.3, seed=0) -> tuple[Series, PanelSpec]:
    """Of a panel of targets y and z, a past covariate p, a future covariate u, and node coordinates."""
    parts = []
    for member in range(members):
        panel = make_panel(steps=steps, seed=seed + member, missing=missing)
        parts.append(panel.assign(z=-panel["y"].roll(time=2), p=panel["y"] * 2))
    panel = parts[0] if members == 1 else xr.concat(parts, "member").transpose("member", "time", "node")
    spec = PanelSpec(
        targets=("y", "z"),
        nodes=("a", "b", "c"),
        step=3600.0,
        time="calendar",
        window=window,
        horizon=horizon,
        past_covariates=("p",),
        future_covariates=("u",),
        static_covariates=("lat", "lon"),
        calendar=("hour", "weekday"),
    )
    return Series.of(panel, spec), spec


def test_the_tensors_are_the_panel():
    series, _ = make_series(members=2)
    for member in range(2):
        panel = make_panel(steps=40, seed=member, missing=0.3)
        np.testing.assert_array_equal(series.values[member, :, :, 0], panel["y"])
        np.testing.assert_array_equal(series.values[member, :, :, 3], panel["u"])
    np.testing.assert_allclose(series.static, np.stack([panel["lat"], panel["lon"]], -1), rtol=1e-6)
    assert series.clock.time[0] == panel["time"].values[0].astype("datetime64[s]").astype(int)
    assert torch.equal(series.clock.time.diff(), torch.full((39,), 3600.0, dtype=torch.float64))


@given(window=st.integers(1, 6), horizon=st.integers(1, 5), members=st.integers(1, 3), data=st.data())
@settings(deadline=None, max_examples=25)
def test_a_batch_is_what_a_slicing_loop_gives(window, horizon, members, data):
    series, spec = make_series(members=members, window=window, horizon=horizon)
    windows = Windows(series, spec, part_origins(series.observed, spec, (0, 40)))
    chosen = data.draw(st.lists(st.integers(0, len(windows) - 1), min_size=1, max_size=5))
    batch = windows[torch.as_tensor(chosen)]
    for i, index in enumerate(chosen):
        member, row = windows.origins[index].tolist()
        past, ahead = slice(row - window + 1, row + 1), slice(row + 1, row + 1 + horizon)
        expected = {
            "past": series.values[member, past],
            "since": series.since[member, past],
            "past_calendar": series.clock.calendar[past],
            "past_cell": series.clock.cell[past],
            "future": series.values[member, ahead, :, 3:],
            "future_calendar": series.clock.calendar[ahead],
            "future_cell": series.clock.cell[ahead],
            "time": series.clock.time[row - window + 1 : row + 1 + horizon],
            "target": series.values[member, ahead, :, :2],
            "origin": torch.tensor([member, row]),
        }
        assert set(expected) == set(batch) - {"static", "ever"}
        for key, value in expected.items():
            np.testing.assert_array_equal(batch[key][i], value, err_msg=key)
    assert torch.equal(batch["static"], series.static)


def test_one_window_is_a_batch_of_one():
    series, spec = make_series()
    windows = Windows(series, spec, part_origins(series.observed, spec, (0, 40)))
    assert windows[3]["past"].shape == (1, 4, 3, 4)
    for key, value in windows[3].items():
        np.testing.assert_array_equal(value, windows[torch.tensor([3])][key])


def test_without_covariates_a_window_has_targets_alone():
    panel = make_panel(steps=20)
    spec = PanelSpec(targets=("y",), nodes=("a", "b", "c"), step=3600.0, time="calendar", window=4, horizon=3)
    series = Series.of(panel, spec)
    batch = Windows(series, spec, part_origins(series.observed, spec, (0, 20)))[0]
    assert batch["past"].shape == (1, 4, 3, 1) and batch["future"].shape == (1, 3, 3, 0)
    assert batch["past_calendar"].shape == (1, 4, 0) and batch["static"].shape == (3, 0)


@given(pattern=st.lists(st.booleans(), min_size=1, max_size=30))
@settings(deadline=None)
def test_steps_since_observed_are_counted_the_long_way(pattern):
    seen = torch.tensor(pattern).view(1, -1, 1, 1)
    since = steps_since_observed(torch.where(seen, 1.5, torch.nan)).flatten().tolist()
    last = -1
    for row, observed in enumerate(pattern):
        last = row if observed else last
        assert since[row] == row - last


def test_steps_since_observed_are_counted_for_each_series_alone():
    series, _ = make_series(members=2)
    targets = series.values[..., :2]
    for index in np.ndindex(2, 3, 2):
        member, node, target = index
        alone = steps_since_observed(targets[member, :, node, target].view(1, -1, 1, 1)).flatten()
        assert torch.equal(series.since[member, :, node, target], alone)


@given(
    start=st.integers(0, 20),
    size=st.integers(0, 20),
    window=st.integers(1, 6),
    horizon=st.integers(1, 6),
    every=st.integers(1, 3),
    missing=st.sampled_from([0.0, 0.5, 0.9]),
)
@settings(deadline=None, max_examples=80)
def test_origins_are_those_whose_leads_all_fall_in_the_part_and_see_a_target(
    start, size, window, horizon, every, missing
):
    series, spec = make_series(members=2, window=window, horizon=horizon, missing=missing)
    stop = start + size
    fitting = [r for r in range(40) if r + 1 >= window and r + 1 >= start and r + horizon < stop][::every]
    if not fitting:
        with pytest.raises(PanelError, match="the test part"):
            part_origins(series.observed, spec, (start, stop), every=every, name="test")
        return
    observed = ~np.isnan(series.values[..., :2].numpy())
    expected = [[m, r] for m in range(2) for r in fitting if observed[m, r + 1 : r + 1 + horizon].any()]
    assert part_origins(series.observed, spec, (start, stop), every=every, name="test").tolist() == expected


def test_a_part_that_is_too_short_is_named_with_what_it_needs():
    series, spec = make_series(window=6, horizon=5)
    with pytest.raises(PanelError, match=r"validation part has 4 steps.*need 5"):
        part_origins(series.observed, spec, (20, 24), name="validation")
    with pytest.raises(PanelError, match=r"train part has 3 steps.*need 11"):
        part_origins(series.observed, spec, (0, 3), name="train")
    assert len(part_origins(series.observed, spec, (20, 25))) == len(part_origins(series.observed, spec, (0, 11))) == 1


@given(size=st.integers(1, 200), seed=st.integers(-5, 2**40), epoch=st.integers(0, 50))
@settings(deadline=None, max_examples=30)
def test_an_epoch_serves_each_window_once(size, seed, epoch):
    batches = EpochBatches(size, 16, seed)
    batches.set_epoch(epoch)
    served = list(batches)
    assert len(batches) == len(served) and all(len(b) == 16 for b in served[:-1])
    assert sorted(torch.cat(served).tolist()) == list(range(size))


def test_without_a_seed_the_order_is_kept():
    assert torch.cat(list(EpochBatches(50, 7))).tolist() == list(range(50))


def test_a_shuffle_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        batches = EpochBatches(50, 8, seed)
        batches.set_epoch(epoch)
        return tuple(torch.cat(list(batches)).tolist())

    first = order(1, 2)
    torch.manual_seed(99)
    torch.rand(7)
    assert order(1, 2) == first
    resumed = EpochBatches(50, 8, 1)
    for epoch in range(3):  # a run that went through all epochs comes to the same
        resumed.set_epoch(epoch)
        last = tuple(torch.cat(list(resumed)).tolist())
    assert last == first
    assert len({order(s, e) for s in range(4) for e in range(4)}) == 16


def test_shuffling_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(EpochBatches(50, 8, 1))
    assert torch.equal(torch.rand(1), expected)


def test_seeds_of_different_parts_differ():
    seeds = [hash_seed(a, b) for a in range(30) for b in range(30)]
    assert len(set(seeds)) == 900 and all(0 <= s < 2**63 for s in seeds)


@given(
    window=st.integers(1, 6),
    horizon=st.integers(1, 5),
    members=st.integers(1, 3),
    missing=st.sampled_from([0.0, 0.3, 0.8]),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=30)
def test_a_panel_put_together_again_from_its_windows_is_the_panel(window, horizon, members, missing, seed):
    series, spec = make_series(members=members, window=window, horizon=horizon, missing=missing, seed=seed)
    always = torch.ones(members, 40, dtype=torch.bool)
    batch = Windows(series, spec, part_origins(always, spec, (0, 40)))[
        torch.arange(len(part_origins(always, spec, (0, 40))))
    ]
    values, future = torch.full_like(series.values, torch.inf), torch.full_like(series.values[..., 3:], torch.inf)
    for i, (member, row) in enumerate(batch["origin"].tolist()):
        values[member, row - window + 1 : row + 1] = batch["past"][i]
        values[member, row + 1 : row + 1 + horizon, :, :2] = batch["target"][i]
        future[member, row + 1 : row + 1 + horizon] = batch["future"][i]
    reached = 40 - horizon  # beyond it there are leads only, which have no past covariate
    torch.testing.assert_close(values[:, :reached], series.values[:, :reached], equal_nan=True)
    torch.testing.assert_close(values[..., :2], series.values[..., :2], equal_nan=True)
    torch.testing.assert_close(future[:, window:], series.values[:, window:, :, 3:], equal_nan=True)


@given(members=st.integers(1, 4), of_one=st.integers(1, 30), batch_size=st.integers(1, 9), seed=st.integers(0, 3))
def test_a_stream_of_batches_goes_on_within_each_member(members, of_one, batch_size, seed):
    """Windows are numbered member by member: each row of a batch is the next number, of the same member."""
    batches = StreamBatches(members * of_one, members, batch_size, seed)
    made = list(batches)
    assert len(made) == len(batches)
    seen = torch.cat(made)
    assert len(seen.unique()) == len(seen) >= members * max(of_one - batches.length + 1, 1)
    for first in range(0, len(made), batches.length):
        rows = torch.stack(made[first : first + batches.length])  # (step, stretch)
        assert (rows.diff(dim=0) == 1).all() and len(rows[0]) <= batch_size
        assert (rows // of_one == rows[0] // of_one).all()
