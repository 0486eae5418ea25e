"""Every system: orders, references, streams of random numbers, streaming and resuming."""

import sys
import threading
import warnings

import numpy as np
import pytest
import xarray as xr

from stgate.errors import RequestError, SimulationError, SimulationWarning, StoreError
from stgate.schema.panel import check_panel
from stgate.simulate import (
    integrate,
    kuramoto_sivashinsky,
    lorenz96,
    lorenz96_three_scale,
    lorenz96_two_scale,
    sensor_network,
)
from stgate.simulate.counting import member_stream
from stgate.simulate.engine import Engine
from stgate.simulate.integrators import fast
from stgate.simulate.integrators.fast import FastLorenz96
from stgate.simulate.run import simulate
from stgate.simulate.system import Place
from stgate.simulate.systems.lorenz96 import Lorenz96

SHORT = {
    lorenz96: {"duration": 1.0, "spinup": 1.0},
    lorenz96_two_scale: {"duration": 0.2, "spinup": 0.1, "every": 20, "scales": ("x", "y")},
    lorenz96_three_scale: {"duration": 0.2, "spinup": 0.1, "every": 20, "scales": ("x", "z")},
    kuramoto_sivashinsky: {"duration": 5.0, "spinup": 10.0},
    sensor_network: {"duration": 48.0, "spinup": 24.0, "stations": 4, "places": 1},
}


def starts(system, members):
    return np.stack([system.initial(member_stream(system.name, 0, i)) for i in range(members)])


def test_a_symmetric_start_is_warned_about():
    x = 22 * np.arange(64) / 64
    field = np.cos(2 * np.pi * x / 22) + 0.3 * np.sin(4 * np.pi * x / 22)
    with pytest.warns(SimulationWarning, match="is odd about a point"):
        kuramoto_sivashinsky(nodes=64, duration=1.0, initial=field, verify=False)
    with pytest.warns(SimulationWarning, match="repeats itself"):
        lorenz96(nodes=8, duration=1.0, initial=np.tile([1.0, 2.0], 4), verify=False)


@pytest.mark.parametrize("function", SHORT, ids=lambda f: f.__name__)
def test_a_member_does_not_depend_on_its_company_its_block_or_the_threads(function, monkeypatch):
    options = {**SHORT[function], "verify": False, "dtype": "float64"}
    many = function(members=7, workers=2, **options)
    check_panel(many.drop_vars("pm25", errors="ignore"))
    for name in ("Lorenz96", "Lorenz96TwoScale", "Lorenz96ThreeScale", "KuramotoSivashinsky", "SensorNetwork"):
        from stgate.simulate import registry

        monkeypatch.setattr(next(k for k in registry.SYSTEMS.values() if k.__name__ == name), "block", 1)
    alone = function(members=3, workers=1, **options)
    xr.testing.assert_equal(many.isel(member=slice(0, 3)), alone)


def test_the_compiled_steps_have_the_bits_of_the_plain_ones():
    for nodes, members, forcing in ((40, 1, 8.0), (40, 37, 8.0), (5, 3, (6.0, 7.0, 8.0, 9.0, 10.0))):
        system = Lorenz96(nodes=nodes, forcing=forcing)
        plain = system.stepper(starts(system, members), step=0.01)
        feed = np.broadcast_to(np.asarray(forcing, float), nodes)
        fast = FastLorenz96(starts(system, members), feed, 0.01)
        rows = [np.empty((20, members, 1, nodes)) for _ in range(2)]
        plain.record(rows[0], 7)
        fast.record(rows[1], 7)
        np.testing.assert_array_equal(rows[0], rows[1])
        np.testing.assert_array_equal(plain.state, fast.state)
    assert isinstance(system.stepper(plain.state, step=0.01, place=Place(planned=10**9)), FastLorenz96)


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("stgate.simulate.plan.CHUNK", 2**10)
    for function, short in SHORT.items():
        options = {**short, "members": 2, "verify": False}
        whole = function(**options)
        out = tmp_path / f"{function.__name__}.zarr"
        usual = Engine._check
        calls = []

        def stop(self, *args, usual=usual, calls=calls):
            calls.extend([1] * (self.clock > self.plan.discarded))
            if len(calls) == 6:
                raise KeyboardInterrupt
            usual(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(Engine, "_check", stop)
            patch.setattr("stgate.simulate.engine.SLICE_SECONDS", 1e-9)
            with pytest.raises(KeyboardInterrupt):
                function(out=out, **options)
        assert not out.exists()
        if (tmp_path / f"{out.name}.partial" / "restart.npz").exists():
            with pytest.raises(RequestError, match="seed 0, this one 1"):
                function(out=out, resume=True, seed=1, **options)
        resumed = function(out=out, resume=True, **options)
        xr.testing.assert_equal(resumed.load(), whole)
        assert not (tmp_path / f"{out.name}.partial").exists()


def test_a_long_chunk_is_saved_on_the_way(tmp_path, monkeypatch):
    options = {"nodes": 8, "duration": 20.0, "spinup": 1.0, "members": 2, "verify": False}
    whole = lorenz96(**options)
    out, seen = tmp_path / "l96.zarr", []

    def stop(done, total):
        saved = tmp_path / "l96.zarr.partial" / "restart.npz"
        if saved.exists():
            with np.load(saved) as files:
                seen.append((int(files["done"]), len(files["held"])))
        if done > 1500:
            raise KeyboardInterrupt

    monkeypatch.setattr("stgate.simulate.engine.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("stgate.simulate.engine.SLICE_SECONDS", 1e-3)
    for _ in range(2):  # the second goes on where the first stopped
        with pytest.raises(KeyboardInterrupt):
            lorenz96(out=out, resume=bool(seen), progress=stop, **options)
        assert seen[-1][0] == 0 and 0 < seen[-1][1] < 401  # one chunk: all is held
    resumed = lorenz96(out=out, resume=True, **options)
    xr.testing.assert_equal(resumed.load(), whole)


def test_options_are_compared_from_the_start_and_what_is_refused_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    run = {"nodes": 8, "duration": 1.0, "out": tmp_path / "l96.zarr"}
    with pytest.raises(KeyboardInterrupt):  # in the spin-up: nothing is saved yet
        lorenz96(**run, progress=stop)
    with pytest.raises(RequestError, match="seed 0, this one 1"):
        lorenz96(**run, seed=1, resume=True)
    assert lorenz96(**run, resume=True).sizes["time"] == 21
    with pytest.raises(RequestError, match="whole seconds"):
        sensor_network(duration=1.0, step=0.0001, every=10, out=tmp_path / "s.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["l96.zarr"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
def test_two_runs_do_not_write_one_store(tmp_path):
    run = {"nodes": 8, "duration": 1.0, "out": tmp_path / "l96.zarr", "verify": False}
    tried = []

    def meanwhile(done, total):
        if not tried:
            for options in ({}, {"resume": True}, {"overwrite": True}):
                with pytest.raises(StoreError, match=r"another process is writing it|holds a stopped run"):
                    lorenz96(**run, **options)
                tried.append(options)

    lorenz96(**run, progress=meanwhile)
    assert len(tried) == 3
    xr.testing.assert_equal(xr.open_zarr(run["out"])[["x"]].load(), lorenz96(nodes=8, duration=1.0)[["x"]])


def test_a_blow_up_names_member_time_and_a_step_that_holds():
    with (
        pytest.warns(SimulationWarning, match="may blow up"),
        pytest.raises(SimulationError, match=r"member \d+ blew up .*with step 0.1; try --step 0.025"),
    ):
        lorenz96(forcing=16.0, step=0.1, every=1, duration=50.0, members=8, force=True, verify=False)


def test_a_grid_that_is_too_coarse_is_warned_about():
    with pytest.warns(SimulationWarning, match=r"spectral tail .*--nodes \d+ would"):
        kuramoto_sivashinsky(nodes=32, duration=10.0, spinup=100.0, verify=False)


def test_ones_own_equation_runs_like_the_others():
    def decay(time, state):
        return -state + np.cos(time)

    panel = integrate(decay, [[1.0], [2.0]], duration=2.0, step=0.01, dtype="float64", verify=False)
    t = panel["time"].values
    exact = 0.5 * (np.cos(t) + np.sin(t)) + 0.5 * np.exp(-t)
    np.testing.assert_allclose(panel["x"].values[0, :, 0], exact, atol=1e-9)
    with pytest.raises(RequestError, match="duration and step"):
        integrate(decay, [1.0])
    with pytest.raises(RequestError, match="parameters: must hold only numbers, text"):
        integrate(decay, [1.0], duration=1.0, step=0.01, parameters={"a": np.ones(2)})
    short = {"duration": 1.0, "step": 0.01}
    for options, message in (
        ({"initial": [2.0]}, "starts from state"),
        ({"variable": "node"}, "not the name of a dimension"),
        ({"resume": True}, "only used with out"),
    ):
        with pytest.raises(RequestError, match=message):
            integrate(decay, [1.0], **short, **options)
    for rhs, state, message in (
        ("decay", [1.0], "must be a function"),
        (decay, [], "at least one"),
        (decay, [1j], "real numbers"),
        (decay, [np.nan], "state: not all values are finite"),
        (lambda time, x: 1j * x, [1.0], "returns complex128"),
    ):
        with pytest.raises(RequestError, match=message):
            integrate(rhs, state, **short)
    with pytest.raises(RequestError, match=r"shape \(1,\) for states \(1, 1\)"):
        integrate(lambda time, state: [0.0], [1.0], duration=1.0, step=0.01)


def test_ones_own_function_sees_all_members_together_and_is_never_called_from_two_threads():
    shapes, threads = set(), set()

    def rhs(time, state):
        shapes.add(state.shape)
        threads.add(threading.get_ident())
        return -state

    start = np.ones((64, 512))
    integrate(rhs, start, duration=0.1, step=0.05, workers=4, verify=False)
    assert shapes == {start.shape} and len(threads) == 1


def test_the_callers_array_is_never_stepped():
    start = np.random.default_rng(0).normal(2, 3, 8)
    before = start.copy()
    lorenz96(nodes=8, duration=1.0, initial=start, verify=False)
    np.testing.assert_array_equal(start, before)


def test_a_panel_starts_where_another_ended():
    first = lorenz96(duration=1.0, dtype="float64", verify=False)
    rest = lorenz96(duration=1.0, initial=first, dtype="float64", verify=False)
    whole = lorenz96(duration=2.0, dtype="float64", verify=False)
    np.testing.assert_array_equal(rest["x"].values[:, -1], whole["x"].values[:, -1])


def test_the_valid_ground_truth_time_grows_as_the_step_shrinks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SimulationWarning)
        times = [
            lorenz96(duration=0.1, step=step, every=1, members=4).attrs["valid_ground_truth_time"]
            for step in (0.05, 0.0125)
        ]
    assert 2.5 < times[0] < 6.5 < times[1] < 11


def test_simulate_refuses_an_unknown_option():
    with pytest.raises(RequestError, match="did you mean duration"):
        simulate(Lorenz96(), durations=3)


def test_numbers_of_any_kind_are_stored_as_plain_ones():
    short = {"duration": 1, "spinup": 0, "verify": False}
    plain = kuramoto_sivashinsky(length=22.0, nodes=64, members=2, seed=1, **short)
    other = kuramoto_sivashinsky(length=np.int64(22), nodes=np.int32(64), members=np.int8(2), seed=np.uint8(1), **short)
    xr.testing.assert_identical(plain, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 8.5}, r"nodes 8\.5: must be a whole number"),
        ({"forcing": "strong"}, "forcing 'strong': must be a number"),
        ({"members": 1.0}, r"members 1\.0: must be a whole number"),
        ({"every": "5"}, "every '5': must be a whole number"),
        ({"step": "small"}, "step 'small': must be a number"),
        ({"workers": 0}, "workers 0: must be at least 1"),
        ({"members": True}, "members True: must be a whole number"),
        ({"duration": "1"}, "duration '1': must be a number"),
        ({"duration": np.inf}, "duration inf: must be a finite number"),
        ({"duration": 1.03}, r"not a whole number of kept states \(every 5 steps of 0.01\)"),
        ({"duration": 1e7 + 0.02}, "not a whole number"),
        ({"step": -0.01}, r"step -0\.01: must be positive"),
        ({"seed": 2**70}, "between 0 and 2"),
        ({"dtype": "float16"}, "dtype float16: known: float32, float64|did you mean"),
        ({"members": 10**9}, "run fewer members at once"),
        ({"initial": "start.nc"}, "open it first"),
        ({"initial": np.ones(40) * 1j}, "must be an array of numbers"),
        ({"initial": xr.Dataset(coords={"x": ("node", np.ones(40))})}, "the panel has no variable 'x'"),
    ],
)
def test_what_is_no_number_is_named(options, message):
    with pytest.raises(RequestError, match=message):
        lorenz96(**options)


def test_a_dtype_may_be_written_in_any_way_and_a_step_be_a_float32():
    short = {"nodes": 8, "duration": 1.0, "spinup": 0.0, "verify": False}
    assert lorenz96(dtype=float, **short)["x"].dtype == np.float64
    assert lorenz96(step=np.float32(0.01), **short).attrs["step"] == 0.01


def test_a_numba_that_does_not_work_is_told_and_done_without(monkeypatch):
    def broken(name):
        raise ImportError("Numba needs NumPy 2.3 or less")

    fast.kernels.cache_clear()
    monkeypatch.setattr(fast, "import_module", broken)
    with pytest.warns(SimulationWarning, match=r"not compiled: Numba needs NumPy 2\.3 or less"):
        stepper = Lorenz96().stepper(np.ones((1, 40)), step=0.01, place=Place(planned=10**9))
    assert not isinstance(stepper, FastLorenz96)
    fast.kernels.cache_clear()
