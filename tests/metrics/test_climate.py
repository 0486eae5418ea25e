"""Scores of the long-run climate: scipy, closed forms, and that they tell systems apart better than chance."""

import numpy as np
import pytest
import xarray as xr
from scipy import signal, stats

import stgate
from stgate.errors import RequestError
from stgate.metrics import (
    correlation_length,
    histogram_distance,
    power_spectrum,
    spectrum_error,
    wasserstein_distance,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("segment", [64, 65])
def test_the_spectrum_is_that_of_scipys_welch(segment):
    values = RNG.standard_normal((1000, 3)).cumsum(0)
    frequency, density = power_spectrum(values, step=0.25, segment=segment)
    expected = signal.welch(values, 4.0, nperseg=segment, noverlap=segment - segment // 2, axis=0, detrend="constant")
    np.testing.assert_allclose(frequency, expected[0])
    np.testing.assert_allclose(density, expected[1].mean(1), rtol=1e-6, atol=1e-12)


def test_the_power_of_all_frequencies_is_the_variance():
    values = RNG.standard_normal((20_000, 2)) * 3
    frequency, density = power_spectrum(values, step=0.1)
    assert (density * frequency[1]).sum() == pytest.approx(9, rel=0.03)


def test_segments_with_a_gap_are_left_out_and_none_that_is_whole_gives_nan():
    values = RNG.standard_normal((640, 2))
    holed = values.copy()
    holed[200] = np.nan
    first, second = (power_spectrum(holed[part], segment=64)[1] for part in (slice(192), slice(224, 640)))
    whole = power_spectrum(holed, segment=64)[1]  # segments start at each multiple of 32: 5 before the gap, 12 after
    np.testing.assert_allclose(whole, (5 * first + 12 * second) / 17)
    assert np.isnan(power_spectrum(np.full((100, 2), np.nan), segment=64)[1]).all()


def test_twice_the_amplitude_is_six_decibels():
    values = RNG.standard_normal((5000, 2))
    assert spectrum_error(values, 2 * values) == pytest.approx(20 * np.log10(2))
    assert spectrum_error(values, values) == 0


def test_the_distances_of_two_normals_are_those_of_their_formulas():
    a, b = RNG.standard_normal(400_000), 0.5 + RNG.standard_normal(400_000)
    assert wasserstein_distance(a, b) == pytest.approx(0.5, abs=0.01)
    assert histogram_distance(a, b) == pytest.approx(np.sqrt(1 - np.exp(-(0.5**2) / 8)), abs=0.01)
    assert histogram_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert histogram_distance(a, a + 100) == pytest.approx(1)


def test_missing_values_are_left_out_and_nothing_at_all_is_refused():
    a, b = RNG.standard_normal((2, 500, 4))
    holed = np.where(RNG.random(a.shape) < 0.2, np.nan, a)
    seen = ~np.isnan(holed)
    assert wasserstein_distance(holed, b) == stats.wasserstein_distance(a[seen], b.ravel()) / a[seen].std()
    for distance in (wasserstein_distance, histogram_distance):
        with pytest.raises(RequestError, match="no value"):
            distance(np.full(3, np.nan), b)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_an_exponential_correlation_has_its_length(boundary):
    nodes, length = 60, 4.0
    apart = np.abs(np.arange(nodes)[:, None] - np.arange(nodes))
    apart = np.minimum(apart, nodes - apart) if boundary == "periodic" else apart
    root = np.linalg.cholesky(np.exp(-apart / length) + 1e-9 * np.eye(nodes))
    values = RNG.standard_normal((20_000, nodes)) @ root.T
    assert correlation_length(values, spacing=0.5, boundary=boundary) == pytest.approx(2.0, abs=0.05)
    named = xr.DataArray(values.T, dims=("node", "time"))
    assert correlation_length(named, spacing=0.5, boundary=boundary) == pytest.approx(2.0, abs=0.05)
    assert np.isnan(correlation_length(np.repeat(values[:, :1], 10, 1)))


def test_another_forcing_lies_farther_than_another_seed():
    def run(forcing, seed):
        options = {"duration": 250, "step": 0.01, "every": 5, "seed": seed, "verify": False}
        return stgate.simulate.lorenz96(nodes=20, forcing=forcing, **options)["x"]

    truth, floor, other = run(8.0, 0), run(8.0, 1), run(10.0, 2)
    for score in (
        histogram_distance,
        wasserstein_distance,
        lambda a, b: spectrum_error(a, b, step=0.05),
    ):
        assert 3 * score(truth, floor) < score(truth, other)
