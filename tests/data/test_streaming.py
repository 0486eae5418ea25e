"""Windows from a store in blocks are those from memory, each once an epoch, and a function of seed and epoch."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import trainer
from hypothesis import given, settings
from hypothesis import strategies as st

import stgate
from stgate.data import WindowData
from stgate.data.streaming import StoredWindows
from stgate.errors import ForecastError, PanelError, RequestError
from stgate.io.store import quiet_zarr

STEPS, NODES = 700, 4
PAST, AHEAD = ("past", "since", "past_calendar", "past_cell"), ("future", "future_calendar", "future_cell")
KEYS = (*PAST, *AHEAD, "time", "target", "origin")


def make(path, members=None, chunk=97, missing=0.3):
    rng = np.random.default_rng(0)
    shape = (STEPS, NODES) if members is None else (members, STEPS, NODES)
    dims = ("member", "time", "node")[-len(shape) :]
    y, u = (rng.standard_normal(shape).astype("float32") for _ in range(2))
    y[rng.random(shape) < missing] = np.nan
    y[..., 100:330, 1] = np.nan  # silent for longer than a block
    panel = xr.Dataset(
        {"y": (dims, y), "u": (dims, u), "v": (("time", "node"), rng.standard_normal((STEPS, NODES)))},
        {
            "time": pd.date_range("2020-01-01", periods=STEPS, freq="h"),
            "node": [f"n{i}" for i in range(NODES)],
            "height": ("node", np.arange(4.0)),
        },
    )
    sizes = {"member": members or 1, "time": chunk, "node": NODES}
    encoding = {n: {"chunks": [sizes[d] for d in panel[n].dims]} for n in panel.data_vars}
    with quiet_zarr():
        panel.to_zarr(path, encoding=encoding, consolidated=False)
    return path


OPTIONS = {
    "targets": ["y"],
    "past_covariates": ["u"],
    "future_covariates": ["v"],
    "static_covariates": ["height"],
    "window": 9,
    "horizon": 4,
    "batch_size": 16,
}


@pytest.fixture(scope="module", params=[None, 3], ids=["one", "members"])
def both(request, tmp_path_factory):
    path = make(tmp_path_factory.mktemp("store") / "p.zarr", members=request.param)
    small = 0.02 * (request.param or 1)
    memory = WindowData(path, **OPTIONS)
    stored = WindowData(path, **OPTIONS, max_memory=small)
    assert isinstance(stored._windows("train"), StoredWindows)
    assert not isinstance(memory._windows("train"), StoredWindows)
    return memory, stored


def by_origin(batches):
    found = {}
    for batch in batches:
        for i, origin in enumerate(batch["origin"].tolist()):
            assert tuple(origin) not in found
            found[tuple(origin)] = {key: batch[key][i] for key in KEYS}
    return found


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_each_window_is_served_once_and_is_that_of_memory(both, part):
    memory, stored = both
    loaders = [d.train_dataloader() if part == "train" else d.part_dataloader(part) for d in (memory, stored)]
    ours, theirs = (by_origin(loader) for loader in loaders)
    assert ours.keys() == theirs.keys()
    for origin, window in ours.items():
        for key in KEYS:
            torch.testing.assert_close(theirs[origin][key], window[key], rtol=0, atol=0, equal_nan=True)
    assert len(loaders[1]) == sum(1 for _ in loaders[1]) == -(-len(ours) // 16)


def test_scales_spec_and_split_are_those_of_memory(both):
    memory, stored = both
    assert memory.spec == stored.spec and memory.parts == stored.parts
    ours, theirs = memory.statistics(), stored.statistics()
    for name in ("center", "scale", "static_center", "static_scale", "node_scale"):
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name))
    torch.testing.assert_close(stored.series.observed, memory.series.observed)


@given(start=st.integers(0, STEPS - 1), rows=st.integers(1, 300))
@settings(deadline=None, max_examples=15)
def test_any_rows_have_the_values_and_the_silence_of_memory(both, start, rows):
    memory, stored = both
    stop = min(start + rows, STEPS)
    values, since = stored.series.rows(start, stop)
    torch.testing.assert_close(values, memory.series.values[:, start:stop], equal_nan=True)
    torch.testing.assert_close(since, memory.series.since[:, start:stop])


def test_the_order_follows_from_seed_and_epoch_alone(both):
    _, stored = both

    def origins(epoch, seed=0, numbers=None):
        windows = stored._windows("train")
        windows.seed = seed
        return [windows[(epoch, n)]["origin"].tolist() for n in (range(len(windows)) if numbers is None else numbers)]

    first = origins(0)
    assert origins(0) == first and origins(1) != first and origins(0, seed=1) != first
    assert origins(0, numbers=[5, 2, 9]) == [first[5], first[2], first[9]]  # as a resumed epoch asks for them
    rows = [row for batch in first for _, row in batch]
    assert rows != sorted(rows)
    loader = stored.train_dataloader()
    loader.sampler.set_epoch(1)
    assert [b["origin"].tolist() for b in loader] == origins(1)


def test_training_windows_of_a_store_can_be_shorter_than_a_forecast(tmp_path):
    path = make(tmp_path / "p.zarr")
    stored, memory = (WindowData(path, **OPTIONS, train_horizon=1, max_memory=m) for m in (0.02, None))
    leads, origins = [], []
    for data in (stored, memory):
        batches = list(data.train_dataloader())
        leads.append({b["target"].shape[1] for b in batches})
        origins.append(sorted(o for b in batches for o in b["origin"].tolist()))
    assert isinstance(stored._windows("train"), StoredWindows)
    assert leads == [{1}, {1}] and origins[0] == origins[1]
    assert next(iter(stored.part_dataloader("test")))["target"].shape[1] == stored.spec.horizon > 1
    with pytest.raises(RequestError, match="streams: not possible while the panel is read in blocks"):
        WindowData(path, **OPTIONS, streams=True, max_memory=0.02).train_dataloader()


def test_evaluation_is_in_the_order_of_time(both):
    _, stored = both
    rows = torch.cat([b["origin"][:, 1] for b in stored.part_dataloader("test")])
    assert (rows.diff() >= 0).all()


@pytest.mark.parametrize("members", [None, 2])
def test_a_forecaster_fits_calibrates_and_forecasts_from_a_store_as_from_memory(tmp_path, members):
    path, few = make(tmp_path / "p.zarr", members=members), 0.05
    data = WindowData(path, **OPTIONS, max_memory=few)
    model = stgate.models.GatedRNN(hidden=4)
    trainer().fit(model, data)
    stgate.calibrate(model, data, levels=[0.5])
    panel = stgate.open_panel(path)
    for start, end in ((None, None), ("2020-01-25", "2020-01-28")):
        stored, memory = (
            stgate.backtest(model, p, start=start, end=end, every=20, levels=[0.5], max_memory=few)
            for p in (path, panel)
        )
        xr.testing.assert_allclose(stored, memory, rtol=0, atol=1e-6)  # batches of other sizes
        assert float(stgate.evaluate(stored)["count"]) > 20
    for start in ("2020-01-20T03", "2020-01-29T23"):
        stored, memory = (stgate.forecast(model, p, start=start, levels=[0.5], max_memory=few) for p in (path, panel))
        xr.testing.assert_allclose(stored, memory, rtol=0, atol=1e-6)  # batches of other sizes
    with pytest.raises(ForecastError, match="`v`: a future covariate, missing at 2020-01-30T04"):
        stgate.forecast(model, path, levels=[0.5], max_memory=few)


def test_a_hindcast_that_memory_cannot_hold_is_refused_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("stgate.forecasting._forecast.free_memory", lambda: 10_000)
    path = make(tmp_path / "p.zarr")
    model = stgate.models.Persistence()
    model.adopt(WindowData(path, **OPTIONS))
    with pytest.raises(RequestError, match=r"691 forecasts take 310 kB.*every=24"):
        stgate.backtest(model, path)


def test_what_wants_all_at_once_says_so(tmp_path):
    path = make(tmp_path / "p.zarr")
    data = WindowData(path, **OPTIONS, max_memory=0.02)
    with pytest.raises(PanelError, match="read from its store in blocks"):
        trainer().fit(stgate.models.Climatology(), data)


def test_memory_that_holds_no_window_is_refused_with_what_is_needed(tmp_path):
    path = make(tmp_path / "p.zarr")
    with pytest.raises(RequestError, match=r"max_memory 1 kB: a window of 9 and a horizon of 4 .* need \d"):
        WindowData(path, **OPTIONS, max_memory=0.001).train_dataloader()
    with pytest.raises(RequestError, match="a positive number"):
        WindowData(path, **OPTIONS, max_memory=0)


def test_what_is_wrong_with_the_values_is_found_in_a_store_too(tmp_path):
    for name, where, value, message in (
        ("inf", (500, 2), np.inf, "`y`: infinite at time 2020-01-21T20:00, node n2"),
        ("silent", (slice(None), 3), np.nan, "never observed at node 'n3'"),
    ):
        panel = xr.open_zarr(make(tmp_path / f"{name}0.zarr"), consolidated=False).load()
        panel["y"].values[where] = value
        stgate.write(panel, tmp_path / f"{name}.zarr")
        with pytest.raises(PanelError, match=message):
            WindowData(tmp_path / f"{name}.zarr", **OPTIONS, max_memory=0.02).setup()


def test_a_memory_map_has_the_batches_of_memory(both, tmp_path):
    memory, stored = both
    data = WindowData(stored._given, **OPTIONS, max_memory=stored.max_memory, memory_map=tmp_path / "map")
    for ours, theirs in zip(memory.train_dataloader(), data.train_dataloader(), strict=True):
        for key in KEYS:
            torch.testing.assert_close(theirs[key], ours[key], rtol=0, atol=0, equal_nan=True)
    assert sorted(p.name for p in (tmp_path / "map").iterdir()) == ["since.npy", "values.npy"]


@pytest.mark.parametrize("name", ["y", "v"])
def test_digits_are_those_of_the_whole_store(tmp_path, name):
    path, chunk = make(tmp_path / "p.zarr"), 97
    panel = xr.open_zarr(path, consolidated=False).load().drop_encoding()
    moved = panel.assign({name: panel[name].astype("float64") + 1e8})
    stuck = panel.assign(
        {name: panel[name].astype("float64").where(np.arange(STEPS)[:, None] < 650, 271.35 + 1e-9 * panel.v)}
    )
    for held, refused in ((moved, True), (stuck, False)):
        with quiet_zarr():
            held.to_zarr(tmp_path / "q.zarr", mode="w", encoding={name: {"chunks": (chunk, NODES)}}, consolidated=False)
        for memory in (None, 0.02):
            data = WindowData(tmp_path / "q.zarr", **OPTIONS, max_memory=memory)
            if refused:
                with pytest.raises(PanelError, match=f"`{name}`: values near .* float32"):
                    data.setup()
            else:
                data.setup()


MARKS = {
    "a mark of another type": (np.float32(-9999.0), {"missing_value": np.float64(-9999.0)}, {}),
    "a mark as text": (-99.0, {"missing_value": "-99"}, {}),
    "an integer mark": (-999.0, {"missing_value": np.int16(-999)}, {}),
    "a valid range": (500.0, {"valid_range": [0.0, 100.0]}, {}),
    "a packed range": (500.0, {"valid_max": np.int16(1000)}, {"dtype": "int16", "scale_factor": 0.1}),
}


def marked(path, value, attrs, encoding):
    times = pd.date_range("2020-01-01", periods=300, freq="h")
    y = np.tile(np.arange(30.0, dtype="float32"), 10)[:, None] * np.ones(2, "float32")
    y[70, 1] = value
    panel = xr.Dataset({"y": (("time", "node"), y, attrs)}, {"time": times, "node": ["a", "b"]})
    with quiet_zarr():
        warnings.filterwarnings("ignore", category=xr.SerializationWarning)
        panel.to_zarr(path, encoding={"y": {"chunks": [50, 2], **encoding}}, consolidated=False)
    return path


@pytest.mark.filterwarnings("ignore::stgate.errors.PanelWarning")
@pytest.mark.parametrize("kind", MARKS)
def test_marks_and_ranges_of_a_store_are_missing_in_blocks_as_in_memory(kind, tmp_path):
    path = marked(tmp_path / "p.zarr", *MARKS[kind])
    whole, blocks = (WindowData(path, targets=["y"], window=4, horizon=2, max_memory=m) for m in (100, 0.001))
    a, b = (data.series.read(0, 300) for data in (whole, blocks))
    assert torch.isnan(a[0, 70, 1, 0]) and torch.isnan(a).sum() == 1
    torch.testing.assert_close(a, b, equal_nan=True)


def test_limits_of_packed_integers_are_refused_in_blocks_where_they_seem_to_be_missing(tmp_path):
    packed = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": None}
    path = marked(tmp_path / "p.zarr", -327.68, {}, packed)
    with pytest.raises(PanelError, match=r"`y`: -327.68, a limit of packed int16 .*max_memory"):
        WindowData(path, targets=["y"], window=4, horizon=2, max_memory=0.001).series  # noqa: B018
    path = marked(tmp_path / "kept.zarr", 12.0, {}, packed)
    assert WindowData(path, targets=["y"], window=4, horizon=2, max_memory=0.001).series.seen.all()


def test_flags_of_a_store_are_refused_in_blocks(tmp_path):
    path = marked(tmp_path / "p.zarr", 1.0, {"flag_values": [0, 1]}, {})
    with pytest.raises(PanelError, match="`y`: holds flags"):
        WindowData(path, targets=["y"], window=4, horizon=2, max_memory=0.001).series  # noqa: B018
