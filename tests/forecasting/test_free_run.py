"""Free runs: the roll-out itself, beyond its horizon; what cannot run freely."""

import numpy as np
import pytest
from helpers import built, make_data, ring_panel

import stgate
from stgate.errors import ForecastError, RequestError
from stgate.inference import Ensemble
from stgate.models import GatedRNN, GatedTransformer, Persistence
from stgate.nn import RollOut


@pytest.fixture(scope="module")
def ring():
    return ring_panel(duration=20, members=3)


def make(panel, model):
    return built(model, make_data(panel, targets=["x"], window=3, horizon=6))


@pytest.mark.parametrize(
    "model",
    [
        GatedRNN(cell="none", halo=2, rollout=RollOut(unit="bilinear", scheme="rk4")),
        GatedRNN(hidden=8, cell="lstm", attention=2, halo=2, rollout=RollOut()),
        GatedTransformer(hidden=8, span=4, recurrence=True, rollout=RollOut()),
    ],
    ids=["memoryless", "lstm", "transformer"],
)
def test_a_free_run_begins_as_the_forecast_and_goes_on(ring, model):
    model = make(ring, model)
    forecast = stgate.forecast(model, ring)["x_mean"].isel(init_time=0)
    run = stgate.free_run(model, ring, steps=25)
    stgate.check_panel(run)
    assert run.sizes == {"member": 3, "time": 25, "node": 8}
    np.testing.assert_allclose(run["x"][:, :6], forecast.transpose("member", "lead_time", "node"), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run["time"][:6], forecast["valid_time"])
    assert run.attrs["boundary"] == "periodic" and run["x"].attrs["units"] == ring["x"].attrs["units"]


def test_a_free_run_can_start_within_the_panel(ring):
    model = make(ring, GatedRNN(hidden=8, rollout=RollOut()))
    early = stgate.free_run(model, ring, steps=5, start=10.0)
    assert float(early["time"][0]) == pytest.approx(10.0)
    whole = stgate.free_run(model, ring.sel(time=slice(None, 9.96)), steps=5)
    np.testing.assert_array_equal(early["x"], whole["x"])


def test_a_free_run_begins_after_the_last_observation(ring):
    model = make(ring, GatedRNN(hidden=8, rollout=RollOut()))
    cut = ring.where(ring["time"] < ring["time"][-5])
    run = stgate.free_run(model, cut, steps=3)
    assert float(run["time"][0]) == pytest.approx(float(ring["time"][-5]))
    with pytest.raises(ForecastError, match="never observed"):
        stgate.free_run(model, ring.where(False), steps=3)


def test_a_free_run_of_one_trajectory_has_no_members(ring):
    model = make(ring, GatedRNN(hidden=8, rollout=RollOut()))
    assert stgate.free_run(model, ring.isel(member=0, drop=True), steps=2)["x"].dims == ("time", "node")


def test_a_run_that_leaves_all_bounds_says_where(ring):
    model = make(ring, GatedRNN(cell="none", rollout=RollOut(unit="bilinear", scheme="rk4")))
    model.predictor.built.transition.tendency.weight.data.fill_(1e3)
    with pytest.raises(ForecastError, match=r"diverged at step \d+"):
        stgate.free_run(model, ring, steps=300)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (GatedRNN(hidden=8), "GatedRNN: forecasts all leads at once"),
        (Persistence(), "Persistence: forecasts all leads at once"),
        (GatedRNN(hidden=8, rollout=RollOut(), inference=Ensemble(2)), "inference Ensemble"),
    ],
)
def test_what_cannot_run_freely_is_refused(ring, model, said):
    with pytest.raises(RequestError, match=said):
        stgate.free_run(make(ring, model), ring, steps=3)


def test_a_run_of_no_step_or_before_the_window_is_refused(ring):
    model = make(ring, GatedRNN(hidden=8, rollout=RollOut()))
    with pytest.raises(RequestError, match="steps 0"):
        stgate.free_run(model, ring, steps=0)
    with pytest.raises(ForecastError, match="the window needs 3"):
        stgate.free_run(model, ring, steps=3, start=0.05)
    with pytest.raises(RequestError, match="steps 1000000000000: need"):
        stgate.free_run(model, ring, steps=10**12)
