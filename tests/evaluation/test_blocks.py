"""Evaluation in blocks: the scores of plain pandas, the same bits however a forecast is cut, and little in memory."""

import itertools
import pickle
import shutil

import numpy as np
import pytest
import xarray as xr
from helpers import make_forecast, one_line, truth_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stgate
from stgate import metrics
from stgate.errors import ForecastError, StoreError
from stgate.evaluation import _evaluate, blocks, plan, sums, tables
from stgate.io import store

BY = [[], ["lead_time"], ["node"], ["observed"], ["kind"], ["node", "lead_time"], ["kind", "observed", "lead_time"]]
APART = [["init_time"], ["init_time", "kind"]]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks of two or three origins, in several tiles."""
    monkeypatch.setattr(plan, "CASES", 50)
    monkeypatch.setattr(sums, "TILE", 7)


def gappy(seed=0, lost=0.2, holes=0.05, infinite=0.05, inits=11, **options):
    """A forecast with gaps in the truth, in all of its forecasts, and in single quantiles; some bounds are infinite."""
    forecast = make_forecast(inits=inits, leads=4, nodes="abcd", seed=seed, **options)
    rng = np.random.default_rng(seed)
    values = forecast["y"].values
    values[rng.random(values.shape) < holes] = np.nan
    values[..., -1][rng.random(values.shape[:-1]) < infinite] = np.inf
    values[rng.random(values.shape[:-1]) < lost] = np.nan
    return forecast.assign_coords(kind=("node", ["x", "y", "x", None]))


def to_zarr(dataset, path):
    """Write a store with the chunks of dask, or whole."""
    with store.quiet_zarr():
        dataset.drop_encoding().drop_vars("kind", errors="ignore").to_zarr(path, consolidated=False, zarr_format=3)
    return path


def by_pandas(forecast, by):
    """Scores by group, of a table with one row an observation."""
    truth, middle, mean = forecast["y_truth"], forecast["y"].sel(quantile=0.5, drop=True), forecast["y_mean"]
    scored = truth.where(middle.notnull() & mean.notnull())
    low, high = (forecast["y"].sel(quantile=q, drop=True) for q in (0.05, 0.95))
    with np.errstate(invalid="ignore"):
        entries = {
            "count": scored.notnull(),
            "mae": metrics.absolute_error(scored, middle),
            "rmse": metrics.squared_error(scored, mean),
            "crps": metrics.crps_quantiles(scored, forecast["y"]),
            "coverage_90": metrics.coverage(scored, low, high),
            "width_90": metrics.interval_width(scored, low, high),
            "interval_score_90": metrics.interval_score(scored, low, high, level=0.9),
            "no_forecast": xr.where(truth.notnull(), scored.isnull(), np.nan),
        }
    frame = xr.Dataset(entries).reset_coords(drop=True)
    frame = frame.assign(
        observed=(forecast["steps_since_observed"] == 0).variable, kind=("node", forecast["kind"].values)
    )
    rows = frame.to_dataframe().reset_index()
    rows["observed"] = rows["observed"].map({True: "at origin", False: "before origin"})
    rows["kind"] = rows["kind"].astype(object).where(rows["kind"].notna(), "none")
    grouped = rows.groupby(by) if by else rows.groupby(lambda _: 0)
    made = grouped[list(entries)].mean()
    return made.assign(count=grouped["count"].sum(), rmse=made["rmse"] ** 0.5)


def in_rows(scores, by):
    if "kind" in by:
        scores = scores.assign_coords(kind=[k if isinstance(k, str) else "none" for k in scores["kind"].values])
    return scores.to_dataframe().reset_index().set_index(by).sort_index() if by else scores.expand_dims("x").to_pandas()


def same(one, other):
    xr.testing.assert_identical(one, other)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    by=st.sampled_from(BY + APART),
    seed=st.integers(0, 99),
    gaps=st.tuples(*[st.sampled_from([0.0, 0.3])] * 4),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_scores_are_those_of_a_table_of_observations(by, seed, gaps, dtype):
    missing, lost, holes, infinite = gaps
    forecast = gappy(seed, lost, holes, infinite, missing=missing, dtype=dtype)
    scores, expected = in_rows(stgate.evaluate(forecast, by=by), by), by_pandas(forecast, by).sort_index()
    for name in expected:
        if name in scores or expected[name].any():
            np.testing.assert_allclose(scores[name].to_numpy("float64"), expected[name].to_numpy("float64"), rtol=1e-9)


@pytest.mark.parametrize("by", [*BY, ["member"]], ids=str)
def test_bootstrap_bounds_are_those_of_all_scores_at_once(by):
    forecast = gappy(members=2, holes=0, infinite=0)
    scores = stgate.evaluate(forecast, by=by, bootstrap=40, block=3)
    if {"kind", "observed"} & set(by):
        return
    middle = forecast["y"].sel(quantile=0.5, drop=True)
    errors = metrics.absolute_error(forecast["y_truth"].where(forecast["y_mean"].notnull()), middle)
    for name, bound in zip(("mae_low", "mae_high"), metrics.bootstrap(errors, by=by, block=3, samples=40), strict=True):
        np.testing.assert_allclose(scores[name].transpose(*by), bound, rtol=1e-10)


@pytest.mark.parametrize("chunk", [1, 3, 11, (4, 1, 6)])
@pytest.mark.parametrize(("by", "bootstrap"), [([], 0), (["node", "observed"], 20), (["init_time"], 0)])
def test_dask_and_stores_give_the_bits_of_memory_whatever_their_chunks(chunk, by, bootstrap, tmp_path):
    forecast = gappy()
    expected = stgate.evaluate(forecast, by=by, bootstrap=bootstrap)
    cut = forecast.chunk(init_time=chunk, node=2)
    same(stgate.evaluate(cut, by=by, bootstrap=bootstrap), expected)
    if isinstance(chunk, int):
        to_zarr(cut, tmp_path / "f.zarr")
        same(
            stgate.evaluate(
                xr.open_zarr(tmp_path / "f.zarr", consolidated=False, chunks=None), by=by, bootstrap=bootstrap
            ),
            expected,
        )


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@pytest.mark.parametrize("form", ["forecast", "members", "reconstruction"])
def test_a_path_is_evaluated_like_what_it_holds(suffix, form, tmp_path):
    forecast = gappy(members=2 if form == "members" else 0)
    if form == "reconstruction":
        forecast = forecast.isel(lead_time=0, drop=True).drop_vars("valid_time").rename(init_time="time")
    forecast = forecast.assign_coords(kind=("node", list("xyxz")))
    path = stgate.write(forecast, tmp_path / f"f{suffix}")
    for by in (["node"], ["kind", "lead_time"]):
        same(stgate.evaluate(str(path), by=by), stgate.evaluate(forecast, by=by))
        same(stgate.evaluate(path, by=by), stgate.evaluate(store.open_forecast(path), by=by))


@pytest.mark.parametrize("cuts", [(1, 2, 3), (2,), (3, 4), (5,), ()])
def test_sums_of_blocks_by_several_processes_have_the_same_bits(cuts):
    forecast = gappy()
    for by, bootstrap in (([], 0), (["node"], 20), (["init_time", "kind"], 0)):
        source, made = pickle.loads(pickle.dumps(_evaluate.prepare(forecast, by=by, bootstrap=bootstrap)))
        edges = [0, *cuts, made.blocks]
        parts = [
            pickle.loads(pickle.dumps(sums.block_sums(part, made)))
            for first, end in itertools.pairwise(edges)
            for part in source.blocks(made, first, end)
        ]
        assert len(parts) == made.blocks > 3
        found = tables.table(sum(parts, sums.Sums.none(made)), made)
        same(found, stgate.evaluate(forecast, by=by, bootstrap=bootstrap))


def test_a_plan_holds_no_values():
    _, small_plan = _evaluate.prepare(gappy(inits=8), by="node")
    _, large_plan = _evaluate.prepare(gappy(inits=800), by="node")
    assert len(pickle.dumps(large_plan)) < 50 * 800 + 2 * len(pickle.dumps(small_plan))


def test_dask_is_computed_in_blocks_each_once():
    forecast, seen = gappy(inits=40), []

    def watched(part):
        seen.append(part.sizes["init_time"])
        return part

    cut = forecast.chunk(init_time=5)
    cut["y"] = cut["y"].map_blocks(watched, template=cut["y"])
    same(stgate.evaluate(cut), stgate.evaluate(forecast))
    assert seen == [5] * 8


@pytest.mark.parametrize("limit", [1.0, 2000.0])
def test_chunks_that_memory_does_not_hold_are_read_in_parts(limit, monkeypatch, tmp_path):
    forecast = gappy(inits=40)
    path = to_zarr(forecast.chunk(init_time=40), tmp_path / "f.zarr")
    monkeypatch.setattr(blocks, "memory_limit", lambda _: limit)
    expected, most = stgate.evaluate(forecast), []
    read = blocks.Source._read
    monkeypatch.setattr(blocks.Source, "_read", lambda *a: most.append(a[-1].stop - a[-1].start) or read(*a))
    same(stgate.evaluate(path), expected)
    assert max(most) < 10 and sum(most) == 40


@pytest.mark.parametrize("change", [lambda t: t, lambda t: t.isel(time=slice(None, None, -1)), lambda t: t + 1])
def test_a_truth_is_read_by_the_times_of_blocks(change, tmp_path):
    forecast = gappy()
    truth = change(truth_of(forecast))
    to_zarr(truth, tmp_path / "t.zarr")
    lazy = xr.open_zarr(tmp_path / "t.zarr", consolidated=False, chunks=None)["y"]
    for held in (lazy, truth["y"].chunk(time=5)):
        same(stgate.evaluate(forecast, truth=held), stgate.evaluate(forecast, truth=truth["y"]))


def test_quantiles_that_cross_are_refused_also_where_nothing_is_scored():
    for at in ((0, 0), (9, 3)):
        forecast = gappy(holes=0, lost=0, missing=0.0)
        forecast["y"].values[*at, 0, :2] = forecast["y"].values[*at, 0, 1::-1]
        forecast["y_truth"].values[*at, 0] = np.nan
        with pytest.raises(ForecastError, match=r"^`y`: quantiles cross at 1 places or more; sort"):
            stgate.evaluate(forecast)


def test_a_store_that_breaks_while_it_is_read_is_an_error_of_ours(tmp_path, stgate_command):
    path = stgate.write(make_forecast(), tmp_path / "f.zarr")
    for chunk in (path / "y" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"none")
    with pytest.raises(StoreError, match=r"f\.zarr: not a readable forecast"):
        stgate.evaluate(path)
    one_line(stgate_command("evaluate", path), "f.zarr")


def test_options_of_all_forecasts_are_refused_before_one_is_read(tmp_path, stgate_command, monkeypatch):
    path = stgate.write(make_forecast(), tmp_path / "f.zarr")
    shutil.copytree(path, tmp_path / "g.zarr")
    monkeypatch.setattr(blocks.Source, "_read", None)
    for options in (("--by", "nodes"), ("--levels", "0.8"), ("--bootstrap", "1"), ("--target", "z")):
        one_line(stgate_command("evaluate", path, tmp_path / "g.zarr", *options), options[1])


def test_a_written_forecast_is_cut_into_origins_only(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 2000)
    path = stgate.write(gappy(inits=40).drop_vars("kind"), tmp_path / "f.zarr")
    chunks = xr.open_zarr(path, chunks=None)["y"].encoding["chunks"]
    assert chunks[0] < 5 and chunks[1:] == (4, 4, 5)


def test_progress_counts_blocks():
    calls = []
    stgate.evaluate(gappy(), progress=lambda *at: calls.append(at))
    assert [done for done, _ in calls] == list(range(1, 1 + calls[0][1])) and len(calls) > 3


@pytest.mark.parametrize("by", ["kind", ["kind", "init_time"]])
def test_clusters_of_nodes_have_no_valid_prediction_time(by):
    forecast = make_forecast(step=0.5, every=1.5, inits=5)
    forecast = forecast.assign_coords(y_sigma=("node", [1.0, 2.0]), kind=("node", ["a", "b"]))
    forecast["lead_time"].attrs["units"] = "MTU"
    assert "vpt" not in stgate.evaluate(forecast, by=by) and "vpt" in stgate.evaluate(forecast)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 99), missing=st.sampled_from([0.0, 0.4]), by=st.sampled_from(["init_time", "member", ()]))
def test_valid_prediction_times_are_those_of_the_metric(seed, missing, by):
    forecast = make_forecast(step=0.5, every=1.5, inits=9, leads=5, members=2, seed=seed, missing=missing, noise=1.0)
    forecast["lead_time"].attrs["units"] = "MTU"
    forecast = forecast.assign_coords(y_sigma=("node", [2.5, 0.0]))
    times, _ = metrics.valid_prediction_time(forecast["y_truth"], forecast["y_mean"], forecast["y_sigma"])
    expected = metrics.average(times, by)
    np.testing.assert_allclose(stgate.evaluate(forecast, by=by)["vpt"], expected, rtol=1e-12)
