"""Every system: orders, references, streams of random numbers, streaming and resuming."""

import threading
import warnings

import numpy as np
import pytest
import xarray as xr

from stgate.errors import RequestError, SimulationError, SimulationWarning
from stgate.panel import check_panel
from stgate.simulate import (
    fast,
    integrate,
    kuramoto_sivashinsky,
    lorenz96,
    lorenz96_three_scale,
    lorenz96_two_scale,
    sensor_network,
)
from stgate.simulate.counting import member_stream
from stgate.simulate.engine import Engine
from stgate.simulate.fast import FastLorenz96
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
    with pytest.raises(RequestError, match="parameters: numbers, text"):
        integrate(decay, [1.0], duration=1.0, step=0.01, parameters={"a": np.ones(2)})
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
    ],
)
def test_what_is_no_number_is_named(options, message):
    with pytest.raises(RequestError, match=message):
        lorenz96(**options)


def test_a_numba_that_does_not_work_is_told_and_done_without(monkeypatch):
    def broken(name):
        raise ImportError("Numba needs NumPy 2.3 or less")

    fast.kernels.cache_clear()
    monkeypatch.setattr(fast, "import_module", broken)
    with pytest.warns(SimulationWarning, match=r"not compiled: Numba needs NumPy 2\.3 or less"):
        stepper = Lorenz96().stepper(np.ones((1, 40)), step=0.01, place=Place(planned=10**9))
    assert not isinstance(stepper, FastLorenz96)
    fast.kernels.cache_clear()
