"""Blocks on dask workers: the bits of one process, workers that die, errors of workers, and addresses of no cluster."""

import os
import signal
import time
import warnings
from pathlib import Path

import pytest
import xarray as xr
from helpers import QUIET, built, field_data, field_panel, make_model, make_panel, one_line, refusal, small_field

import stgate
from stgate.errors import ClusterError, ForecastWarning, PanelError, RequestError, SimulationError, SimulationWarning
from stgate.forecasting import in_blocks
from stgate.forecasting._forecast import plan_backtest
from stgate.io import cluster

pytestmark = [
    pytest.mark.filterwarnings("ignore::stgate.errors.ForecastWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ADAPTIVE = {"calibration": "adaptive", "calibration_window": 10, "start": "2020-01-04"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A panel and a checkpoint, and a field's."""
    import lightning as L

    folder = tmp_path_factory.mktemp("files")
    panels = {"y": make_panel(steps=240), "field": field_panel()}
    models = {"y": make_model(panels["y"])[0], "field": built(small_field(), field_data(panels["field"]))}
    for name, panel in panels.items():
        stgate.write(panel, folder / f"{name}.zarr")
        trainer = L.Trainer(accelerator="cpu", **QUIET)
        trainer.strategy.connect(models[name])
        with warnings.catch_warnings(action="ignore"):
            trainer.save_checkpoint(folder / f"{name}.ckpt")
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(in_blocks, "MOST", 1)


def values(result):
    return result.load().assign_attrs(history="")


@pytest.mark.parametrize("options", [{}, {"every": 2, "end": "2020-01-08"}, ADAPTIVE])
def test_a_backtest_on_a_cluster_has_the_bits_of_one_process(files, address, tmp_path, options):
    given = files / "y.ckpt", files / "y.zarr"
    seen = []
    made = stgate.backtest(
        *given, out=tmp_path / "h.zarr", dask=address, progress=lambda *done: seen.append(done), **options
    )
    assert values(made).identical(values(stgate.backtest(*given, **options)))
    assert seen[-1][0] == seen[-1][1] and len(seen) > 1


def test_a_reconstruction_on_a_cluster_has_the_bits_of_one_process(files, address, tmp_path):
    given = files / "field.ckpt", files / "field.zarr"
    made = stgate.reconstruct(*given, out=tmp_path / "r.zarr", dask=address)
    assert values(made).identical(values(stgate.reconstruct(*given)))


def test_a_checkpoint_is_opened_once_a_worker(files, address, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(in_blocks, "_HELD", [])
    usual = stgate.prediction.loading.load
    monkeypatch.setattr("stgate.prediction.loading.load", lambda path, **o: (opened.append(path), usual(path, **o))[1])
    stgate.backtest(files / "y.ckpt", files / "y.zarr", out=tmp_path / "h.zarr", dask=address)
    assert len(opened) == 2  # here, and by the worker


def test_the_command_takes_a_cluster(files, address, tmp_path, stgate_command):
    words = ["backtest", files / "y.zarr", "--checkpoint", files / "y.ckpt", "--out"]
    code, _, err = stgate_command(*words, tmp_path / "h.zarr", "--dask", address)
    assert code == 0, err
    assert stgate_command(*words, tmp_path / "one.zarr")[0] == 0
    assert values(stgate.open_forecast(tmp_path / "h.zarr")).identical(
        values(stgate.open_forecast(tmp_path / "one.zarr"))
    )


RUN = {"nodes": 8, "duration": 10.0, "spinup": 1.0, "members": 5}


@pytest.mark.parametrize("system", ["lorenz96", "kuramoto_sivashinsky", "sensor_network"])
def test_members_on_a_cluster_have_the_bits_of_one_process(address, tmp_path, monkeypatch, system):
    monkeypatch.setattr("stgate.simulate.members.BLOCKS", 3)  # of two members, the last of one
    options = {"lorenz96": RUN, "kuramoto_sivashinsky": {**RUN, "nodes": 64}}
    options = options.get(system, {"duration": 100.0, "members": 5, "spinup": 24.0})
    run = getattr(stgate.simulate, system)
    made = run(out=tmp_path / "x.zarr", dask=address, **options)
    xr.testing.assert_identical(made.load(), run(**options))
    assert [path.name for path in tmp_path.iterdir()] == ["x.zarr"]


def test_a_member_that_blows_up_on_a_cluster_is_named(address, tmp_path):
    with pytest.warns(SimulationWarning, match="may blow up"):
        message = refusal(
            SimulationError,
            stgate.simulate.lorenz96,
            **{"forcing": 16.0, "step": 0.1, "every": 1, "duration": 50.0, "members": 4, "force": True},
            **{"verify": False, "out": tmp_path / "x.zarr", "dask": address},
        )
    assert message.startswith("member ") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["backtest", "reconstruct"])
@pytest.mark.parametrize("option", [("--dask", "local:2"), ("--resume",)])
def test_another_format_is_not_written_in_blocks(files, stgate_command, command, option):
    one_line(stgate_command(command, "p.nc", "--checkpoint", "m.ckpt", "--out", "h.nc", *option), option[0], ".zarr")


NONSENSE = [
    "local:0",
    "local:-1",
    "local",
    "local:two",
    "local:1.5",
    "local:99999",
    "nonsense",
    "http://a:1",
    "a b:1",
    "",
]


@pytest.mark.parametrize("text", NONSENSE)
def test_what_names_no_cluster_is_refused_at_once(files, stgate_command, text):
    started = time.monotonic()
    words = ["backtest", files / "y.zarr", "--checkpoint", files / "y.ckpt", "--out", files / "no.zarr"]
    one_line(stgate_command(*words, f"--dask={text}"), "--dask", "local:N")
    assert time.monotonic() - started < 5
    assert not list(files.glob("no.zarr*"))


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch, files, tmp_path):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    given = files / "y.ckpt", files / "y.zarr"
    message = refusal(RequestError, stgate.backtest, *given, out=tmp_path / "h.zarr", dask="tcp://127.0.0.1:1")
    assert message.startswith("--dask tcp://127.0.0.1:1: no scheduler answers there")
    assert not list(tmp_path.iterdir())


def test_the_error_of_a_worker_is_the_one_of_one_process(address):
    def work(number):
        raise PanelError(f"`y`: block {number}")

    assert refusal(PanelError, lambda: list(cluster.run_blocks(work, [3], address))) == "`y`: block 3"


def test_what_workers_warn_of_is_said_once(address):
    def work(number):
        warnings.warn(f"`y`: {number} values", ForecastWarning, stacklevel=1)
        warnings.warn("of a library", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert sorted(cluster.run_blocks(work, range(4), address)) == [0, 1, 2, 3]
    assert [one.category for one in caught if "values" in str(one.message) or "library" in str(one.message)] == [
        ForecastWarning
    ]


def test_objects_are_not_sent_to_workers(files, tmp_path):
    panel = stgate.open_panel(files / "y.zarr")
    for given, name in (
        ((files / "y.ckpt", panel), "panel"),
        ((stgate.load(files / "y.ckpt"), files / "y.zarr"), "model"),
    ):
        assert f"the {name} themselves" in refusal(
            RequestError, stgate.backtest, *given, out=tmp_path / "h.zarr", dask="local:2"
        )


def test_a_worker_that_sees_other_files_is_refused(files, address, tmp_path, monkeypatch):
    plan = plan_backtest(files / "y.ckpt", files / "y.zarr", max_memory=None, **usual_options())

    def other(*given, **options):
        return plan_backtest(files / "y.ckpt", make_panel(steps=240, seed=1), **options)

    job = in_blocks.Job(other, files / "y.ckpt", files / "y.zarr", usual_options())
    message = refusal(ClusterError, to_store, plan, job, tmp_path / "h.zarr", address)
    assert "another panel under the same path" in message


def usual_options():
    return {"start": None, "end": None, "every": 1, "levels": (0.5,), "calibration": "stored", "calibration_window": 5}


def to_store(plan, job, out, dask):
    options = {"overwrite": False, "resume": False, "history": "", "progress": None}
    return in_blocks.to_store(plan, job, out, dask=dask, **options)


def test_a_killed_worker_changes_nothing(files, tmp_path):
    """Two processes; one of them dies in the middle of its first block."""
    given, mark = (files / "y.ckpt", files / "y.zarr"), str(tmp_path / "died")

    def deadly(*paths, **options):
        import dataclasses

        from stgate.forecasting._forecast import plan_backtest
        from stgate.forecasting.backtests import Backtest

        class Deadly(Backtest):
            def dataset(self, predictions):
                if not os.path.exists(mark):
                    Path(mark).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().dataset(predictions)

        plan = plan_backtest(*paths, **options)
        return Deadly(**{field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)})

    options = usual_options()
    plan = plan_backtest(*given, max_memory=None, **options)
    made = to_store(plan, in_blocks.Job(deadly, *given, options), tmp_path / "h.zarr", "local:2")
    assert os.path.exists(mark)
    xr.testing.assert_equal(made.load(), stgate.backtest(*given, levels=[0.5]))
