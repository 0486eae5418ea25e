"""Lyapunov exponents: identities that must hold, what is refused, and the table of references."""

import math

import numpy as np
import pytest

from stgate.errors import RequestError, SimulationError, SimulationWarning
from stgate.simulate import kuramoto_sivashinsky, lorenz96, lorenz96_two_scale, lyapunov
from stgate.simulate.exponents import kaplan_yorke
from stgate.simulate.reference import known, table
from stgate.simulate.registry import build


def test_exponents_of_a_small_system_add_up():
    found = lyapunov("lorenz96", nodes=4, forcing=20.0, step=0.005, duration=200.0)
    assert float(found["total"]) == pytest.approx(-4, abs=1e-4)
    np.testing.assert_allclose(found["exponent"], [1.199, 0, -1.571, -3.628], atol=0.12)
    assert float(found["positive"]) == 1
    assert float(found["zero"]) < 0.02


def test_the_sum_is_the_divergence_whatever_the_scales():
    for name, sizes in (
        ("lorenz96_two_scale", {"nodes": 4, "fast": 4}),
        ("lorenz96_three_scale", {"nodes": 4, "fast": 2, "fastest": 2}),
    ):
        found = lyapunov(name, **sizes, duration=0.1, transient=0.1, members=2)
        assert float(found["total"]) == pytest.approx(float(found["total_exact"]), rel=1e-4)


def test_exponents_and_their_errors_have_the_same_bits_for_the_same_seed():
    one, again, other = (lyapunov("lorenz96", nodes=5, duration=10.0, members=2, seed=s) for s in (3, 3, 4))
    assert one.equals(again) and not one.equals(other)


def test_fewer_exponents_are_the_first_of_all():
    few, all_ = (lyapunov("lorenz96", nodes=5, duration=60.0, members=2, exponents=n) for n in (2, 5))
    np.testing.assert_allclose(few["exponent"], all_["exponent"][:2], atol=0.1)
    assert math.isnan(float(few["total"]))


def test_the_kaplan_yorke_dimension_has_its_limits():
    assert kaplan_yorke(np.array([-1.0, -2.0])) == 0.0
    assert math.isnan(kaplan_yorke(np.array([1.0, 0.5])))
    assert kaplan_yorke(np.array([1.0, -1.0, -5.0])) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"system": "lorenz97"}, "did you mean lorenz96"),
        ({"system": "sensor_network"}, "not a chaotic system"),
        ({"members": 1}, "at least 2"),
        ({"exponents": 41}, "at most 40"),
        ({"exponents": 0}, "exponents 0"),
        ({"duration": 0.05}, "at least 10 steps"),
        ({"duration": 1.005}, "not a whole number"),
        ({"seed": -1}, "seed -1"),
        ({"step": 0.2}, "--force"),
        ({"nods": 4}, "did you mean nodes"),
    ],
)
def test_a_wrong_request_is_named(options, word):
    with pytest.raises(RequestError, match=word):
        lyapunov(**{"system": "lorenz96", **options})


def test_a_blow_up_is_told_with_a_step_that_may_hold():
    with (
        pytest.warns(SimulationWarning, match="may blow up"),
        pytest.raises(SimulationError, match=r"try --step 0\.06"),
    ):
        lyapunov("lorenz96", forcing=16.0, step=0.12, duration=60.0, force=True)


def test_each_reference_is_of_a_system_as_it_is_now_and_agrees_with_itself():
    for entry in table():
        system = build(entry["system"], entry["parameters"])
        assert known(system.name, system.parameters) is entry
        spectrum = np.array(entry["spectrum"])
        assert spectrum[0] == pytest.approx(entry["exponent"], rel=1e-3)
        assert kaplan_yorke(spectrum) == pytest.approx(entry["kaplan_yorke_dimension"], abs=0.02)
        assert "members of" in entry["provenance"] and "step" in entry["provenance"]
        if system.trace is not None:
            assert entry["total"] == pytest.approx(system.trace, abs=1e-4)


def test_a_panel_carries_its_lyapunov_time_where_it_is_known_and_none_where_it_would_mislead():
    short = {"duration": 1.0, "spinup": 0.0, "verify": False}
    assert lorenz96(**short).attrs["lyapunov_time"] == pytest.approx(0.59, abs=0.01)
    assert kuramoto_sivashinsky(nodes=64, **short).attrs["lyapunov_time"] == pytest.approx(20.7, abs=0.5)
    assert "lyapunov_time" not in lorenz96(forcing=8.5, **short).attrs
    slow = lorenz96_two_scale(**short).attrs
    assert "lyapunov_time" not in slow and "model time" in slow["lyapunov_comment"]
