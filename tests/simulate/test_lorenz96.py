"""Lorenz-96: the integrator's order, the random streams, the climate, and what is said when it blows up."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import RequestError
from stgate.schema.panel import check_panel
from stgate.simulate import lorenz96
from stgate.simulate.counting import member_stream, steps_in


def test_more_members_change_none_of_the_first():
    few, many = (lorenz96(nodes=8, duration=2, spinup=1, members=m, seed=5) for m in (2, 4))
    assert many.isel(member=slice(2)).equals(few)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    one, again, other = (lorenz96(nodes=8, duration=2, spinup=1, seed=s) for s in (7, 7, 8))
    assert one["x"].values.tobytes() == again["x"].values.tobytes()
    assert not np.array_equal(one["x"].values, other["x"].values)


def test_members_start_apart():
    start = lorenz96(nodes=8, duration=0.05, spinup=0, members=6)["x"].isel(time=0).values
    assert len(np.unique(start, axis=0)) == 6


def test_three_tenths_are_three_tenths():
    assert int(0.3 / 0.1) == 2  # the trap
    assert steps_in(0.3, 0.1, "duration") == 3


@given(count=st.integers(0, 10**7), step=st.integers(1, 10**5).map(lambda n: n / 10**4))
@settings(deadline=None)
def test_any_whole_number_of_steps_is_counted_exactly(count, step):
    assert steps_in(count * step, step, "duration") == count


@given(count=st.integers(0, 10**5), step=st.floats(1e-3, 10), rest=st.floats(0.01, 0.99))
@settings(deadline=None)
def test_a_step_that_does_not_divide_the_span_is_refused(count, step, rest):
    with pytest.raises(RequestError, match="duration"):
        steps_in((count + rest) * step, step, "duration")


@pytest.mark.parametrize("step", [0, -0.1])
def test_a_step_is_positive(step):
    with pytest.raises(RequestError, match="positive"):
        steps_in(1.0, step, "duration")


def test_the_climate_is_that_of_the_literature():
    x = lorenz96(duration=150, step=0.02, every=2, members=16, seed=1)["x"].astype("float64")
    means, energies = x.mean(["time", "node"]), (x**2).mean(["time", "node"])
    error = float(means.std(ddof=1)) / np.sqrt(16)
    assert error < 0.01
    assert float(means.mean()) == pytest.approx(2.344, abs=4 * error)
    spread = np.sqrt(energies - means**2)
    assert float(spread.mean()) == pytest.approx(3.641, abs=4 * float(spread.std(ddof=1)) / np.sqrt(16))
    # Advection conserves energy, so d<x²/2>/dt = F<x> - <x²>, which averages out to the change from end to end.
    half = (x**2).mean("node") / 2
    change = (half.isel(time=-1) - half.isel(time=0)) / 150
    np.testing.assert_allclose(8 * means - energies, change, atol=0.005)


def test_progress_reaches_the_whole():
    told = []
    lorenz96(nodes=4, duration=3.05, spinup=0, verify=False, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (305, 305) and told == sorted(set(told))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"nodes": 3}, "nodes"),
        ({"members": 0}, "members"),
        ({"every": 0}, "every"),
        ({"step": 0.1}, "step"),
        ({"step": 0.0}, "step"),
        ({"step": 1.0, "forcing": 0.0}, "step"),
        ({"duration": 1.03}, "duration"),
        ({"duration": -1.0}, "duration"),
        ({"spinup": 0.005}, "spinup"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_request_is_named(options, word):
    with pytest.raises(RequestError, match=word):
        lorenz96(**{"nodes": 8, "duration": 1.0, "spinup": 0.1, **options})


def test_the_result_is_a_panel_that_says_how_it_was_made():
    options = {"nodes": 40, "forcing": 8.0, "duration": 1.5, "step": 0.01, "every": 5, "members": 2, "seed": 4}
    panel = lorenz96(**options, spinup=0.5)
    check_panel(panel)
    assert panel["x"].dims == ("member", "time", "node") and panel["x"].dtype == np.float32
    assert json.loads(panel.attrs["parameters"]) == {"nodes": 40, "forcing": 8.0}
    assert (panel.attrs["step"], panel.attrs["every"], panel.attrs["seed"], panel.attrs["spinup"]) == (0.01, 5, 4, 0.5)
    assert panel.attrs["system"] == "lorenz96" and panel.attrs["boundary"] == "periodic"
    assert panel.attrs["lyapunov_exponent"] == pytest.approx(1.70, abs=0.01)
    assert "units" in panel["x"].attrs and "units" in panel["time"].attrs


@pytest.mark.parametrize(("step", "every"), [(0.01, 5), (0.02, 1), (1 / 64, 3)])
def test_time_is_an_exact_count_times_the_step(step, every):
    panel = lorenz96(nodes=4, duration=200 * every * step, step=step, every=every, spinup=0, verify=False)
    assert panel["time"].dtype == np.float64
    assert panel["time"].values.tolist() == [k * every * step for k in range(201)]


def test_no_spinup_starts_at_the_seeded_noise():
    panel = lorenz96(nodes=8, duration=0.05, spinup=0, seed=9)
    start = 8 + member_stream("lorenz96", 9, 0).standard_normal(8)
    np.testing.assert_array_equal(panel["x"].values[0, 0], start.astype("float32"))
