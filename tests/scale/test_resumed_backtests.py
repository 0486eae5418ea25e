"""Backtests and reconstructions in blocks: the bytes of one go, after a kill at any moment, and refusals."""

import json
import os
import shutil
import signal
import sys
import warnings

import numpy as np
import pytest
import xarray as xr
from helpers import built, field_data, field_panel, make_model, make_panel, model_time_panel, refusal

import stgate
from stgate.errors import ForecastWarning, RequestError, StoreError
from stgate.forecasting import _forecast, in_blocks
from stgate.io.safe.blocks import BlockStore

ONLINE = {"calibration_window": 20, "start": "2020-01-04"}
WAYS = {
    "stored": {"every": 1},
    "rolling": {"calibration": "rolling", **ONLINE},
    "adaptive": {"calibration": "adaptive", **ONLINE},
}
pytestmark = pytest.mark.filterwarnings("ignore::stgate.errors.ForecastWarning")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(in_blocks, "MOST", 1)


@pytest.fixture(scope="module")
def forecaster():
    panel = make_panel(steps=240)
    return make_model(panel, ["y", "u"])[0], panel


def files(folder):
    """The bytes of each file; the line of history holds the time of day."""
    held = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            held[str(path.relative_to(folder))] = path.read_bytes()
    for name in [name for name in held if name == "zarr.json"]:
        plain = json.loads(held[name])
        plain["attributes"].pop("history")
        held[name] = json.dumps(plain)
    return held


def whole(result):
    return result.load().drop_attrs(deep=False).assign_attrs({k: v for k, v in result.attrs.items() if k != "history"})


@pytest.mark.parametrize("way", WAYS)
def test_a_store_in_blocks_holds_what_a_backtest_in_memory_gives(forecaster, tmp_path, way):
    model, panel = forecaster
    stored = stgate.backtest(model, panel, out=tmp_path / "h.zarr", **WAYS[way])
    in_memory = whole(stgate.backtest(model, panel, **WAYS[way]))
    assert whole(stored).identical(in_memory)
    assert whole(stgate.open_forecast(tmp_path / "h.zarr")).identical(in_memory)
    assert [path.name for path in tmp_path.iterdir()] == ["h.zarr"]


@pytest.mark.parametrize("calibration", ["stored", "adaptive"])
def test_members_in_blocks_are_those_of_the_batches_in_memory(tmp_path, calibration):
    """Batches go on from member to member, and a rollout draws its samples by batch."""
    panel = model_time_panel()
    model = built(stgate.models.GatedRNN(hidden=8), stgate.data.WindowData(panel, targets="x", window=6, horizon=3))
    options = {"calibration": calibration, "calibration_window": 10}
    stored = stgate.backtest(model, panel, out=tmp_path / "h.zarr", **options)
    assert whole(stored).identical(whole(stgate.backtest(model, panel, **options)))


def test_rows_larger_than_a_block_of_a_batch_go_by_fewer(forecaster, tmp_path, monkeypatch):
    monkeypatch.setattr(in_blocks, "BLOCK", 9 * 4 * 3 * 3 * 2 * 7)
    model, panel = forecaster
    stored = stgate.backtest(model, panel, end="2020-01-04", out=tmp_path / "h.zarr").load()
    assert (
        json.loads((tmp_path / "h.zarr/y/zarr.json").read_text())["chunk_grid"]["configuration"]["chunk_shape"][0] == 8
    )
    xr.testing.assert_allclose(stored, stgate.backtest(model, panel, end="2020-01-04"), rtol=1e-5)


def test_a_reconstruction_in_blocks_is_that_in_memory(tmp_path):
    panel = field_panel()
    from helpers import small_field

    model = built(small_field(), field_data(panel))
    stored = stgate.reconstruct(model, panel, out=tmp_path / "r.zarr")
    assert whole(stored).identical(whole(stgate.reconstruct(model, panel)))


@pytest.fixture(scope="module")
def undisturbed(forecaster, tmp_path_factory):
    """The bytes of runs that nobody kills."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
        patch.setattr(in_blocks, "MOST", 1)
        for way, options in WAYS.items():
            stgate.backtest(*forecaster, out=folder / f"{way}.zarr", **options)
    return {way: files(folder / f"{way}.zarr") for way in WAYS}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def before_it_begins(patch):
    patch.setattr(
        BlockStore, "put", lambda self, name, content: die() if name == "begun" else usual(self, name, content)
    )


usual = BlockStore.put


def after(name, count):
    """Die at the n-th call of a function, before it does anything."""

    def use(patch):
        called, before = [], getattr(in_blocks, name)

        def stop(*arguments):
            called.append(name)
            if len(called) == count:
                die()
            return before(*arguments)

        patch.setattr(in_blocks, name, stop)

    return use


def within_rows(patch):
    before, called = in_blocks.write_rows, []

    def stop(partial, rows, names, dim, first):
        called.append(first)
        if len(called) == 2:
            before(partial, rows, names[:2], dim, first)
            die()
        before(partial, rows, names, dim, first)

    patch.setattr(in_blocks, "write_rows", stop)


def at_the_end(patch):
    patch.setattr(os, "rename", lambda *names: die())


MOMENTS = {
    "beginning": before_it_begins,
    "rows": within_rows,
    "note": after("write_note", 3),
    "later note": after("write_note", 4),
    "end": at_the_end,
}


def kill(moment, act):
    """Do something in a fork of this process, which ends by SIGKILL at a moment."""
    with warnings.catch_warnings(action="ignore"):  # of the threads of a process that forks
        child = os.fork()
    if child == 0:
        try:
            MOMENTS[moment](pytest.MonkeyPatch())
            act()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", ["stored", "adaptive"])
def test_a_killed_backtest_ends_in_the_same_bytes(forecaster, undisturbed, tmp_path, way, moment):
    model, panel = forecaster
    out, options = tmp_path / "h.zarr", WAYS[way]
    kill(moment, lambda: stgate.backtest(model, panel, out=out, **options))
    assert not out.exists()
    assert "continue it with --resume" in refusal(StoreError, stgate.open_forecast, out)
    shutil.copytree(tmp_path / "h.zarr.partial/data", tmp_path / "copy.zarr")
    if moment not in ("beginning", "end"):
        assert "not all of it is written" in refusal(StoreError, stgate.open_forecast, tmp_path / "copy.zarr")
    assert "continue it with --resume" in refusal(StoreError, stgate.backtest, model, panel, out=out, **options)
    forecasts, noted = [], {int(path.stem) for path in tmp_path.glob("h.zarr.partial/*.npz")}
    with pytest.MonkeyPatch.context() as patch:
        usual = in_blocks.Run.work
        patch.setattr(in_blocks.Run, "work", lambda self, number: (forecasts.append(number), usual(self, number))[1])
        stgate.backtest(model, panel, out=out, resume=True, **options)
    assert files(out) == undisturbed[way]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.zarr", "h.zarr"]
    assert noted.isdisjoint(forecasts) and (noted or moment == "beginning")


@pytest.fixture
def stopped(forecaster, tmp_path):
    model, panel = forecaster
    kill("later note", lambda: stgate.backtest(model, panel, out=tmp_path / "h.zarr", levels=[0.5, 0.9]))
    return tmp_path / "h.zarr"


def changed(model):
    import copy

    other = copy.deepcopy(model)
    next(other.parameters()).data += 1
    return other


def calibrated(model, panel):
    import copy

    other = copy.deepcopy(model)
    stgate.recalibrate(other, panel)
    return other


DIFFERENT = {
    "weights": lambda m, p: ((changed(m), p), {}),
    "checkpoint": lambda m, p: ((calibrated(m, p), p), {}),
    "panel": lambda m, p: ((m, p.assign(y=p["y"].where(p["y"] != p["y"].max()))), {}),
    "from": lambda m, p: ((m, p), {"start": "2020-01-02"}),
    "to": lambda m, p: ((m, p), {"end": "2020-01-06"}),
    "every": lambda m, p: ((m, p), {"every": 2}),
    "levels": lambda m, p: ((m, p), {"levels": [0.5, 0.8]}),
    "calibration": lambda m, p: ((m, p), {"calibration": "rolling"}),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_a_resume_with_anything_else_is_refused(forecaster, stopped):
    for name, other in DIFFERENT.items():
        given, options = other(*forecaster)
        message = refusal(RequestError, stgate.backtest, *given, out=stopped, resume=True, **options)
        assert message.startswith(f"--resume: the run in {stopped}.partial has {name} "), (name, message)
    stgate.backtest(*forecaster, out=stopped, resume=True)
    before = files(stopped)
    stgate.backtest(*forecaster, out=stopped, resume=True)  # whole: nothing is done
    assert files(stopped) == before
    assert "has every 1, this one 3" in refusal(
        RequestError, stgate.backtest, *forecaster, out=stopped, resume=True, every=3
    )


def test_a_store_takes_what_does_not_fit_into_memory(forecaster, tmp_path, monkeypatch):
    model, panel = forecaster
    monkeypatch.setattr(_forecast, "free_memory", lambda: 10_000)
    assert "--out FILE.zarr" in refusal(RequestError, stgate.backtest, model, panel)
    stgate.backtest(model, panel, out=tmp_path / "h.zarr")


@pytest.mark.parametrize("option", [{"overwrite": True}, {"resume": True}, {"dask": "local:2"}])
def test_options_of_a_store_need_one(forecaster, option):
    assert "only used with out" in refusal(RequestError, stgate.backtest, *forecaster, **option)


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("h.nc", {}, "must be a .zarr store"),
        ("none/h.zarr", {}, "does not exist"),
        ("h.zarr", {"overwrite": True, "resume": True}, "give one"),
    ],
)
def test_a_store_that_cannot_be_written_is_refused(forecaster, tmp_path, out, options, words):
    with pytest.raises((StoreError, RequestError), match=words):
        stgate.backtest(*forecaster, out=tmp_path / out, **options)


def test_a_resume_of_nothing_begins_and_says_so(forecaster, tmp_path):
    with pytest.warns(ForecastWarning, match="has no stopped run"):
        stgate.backtest(*forecaster, out=tmp_path / "h.zarr", resume=True)
    assert np.isfinite(xr.open_zarr(tmp_path / "h.zarr")["y_mean"]).any()
