"""Climate of an autoregressive rollout against that of the truth: spectra, histograms, correlation in space.

Finite runs never score zero. Print a floor beside each score: that of the same system from another initial state.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from stgate.errors import RequestError, check_counts, check_positive, did_you_mean
from stgate.metrics.arrays import as_floats, length
from stgate.metrics.reduce import Values

Boundary = Literal["periodic", "open"]


def power_spectrum(
    values: Values, *, step: float = 1.0, segment: int = 256
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Power spectral density in time by Welch's method: half-overlapping Hann windows, each without its mean.

    Args:
        values: Values over `time`, `node` and perhaps `member`; the first axis of an array is time. Segments with a
            gap are left out.
        step: Time between two values.
        segment: Number of values in a segment; a shorter series is one segment.

    Returns:
        Frequencies (segment // 2 + 1,), and density averaged over segments, nodes and members; NaN where no segment is
        whole.

    References:
        Welch (1967), The use of fast Fourier transform for the estimation of power spectra.
        doi:10.1109/TAU.1967.1161901
    """
    check_positive("step", step)
    check_counts(segment=(segment, 1))
    series = _series(values)
    segment = min(segment, series.shape[1])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(segment) / segment)
    total, count = np.zeros(segment // 2 + 1), 0
    for one in series:
        pieces = np.lib.stride_tricks.sliding_window_view(one, segment)[:: max(segment // 2, 1)]
        pieces = pieces[~np.isnan(pieces).any(-1)]
        power = np.abs(np.fft.rfft((pieces - pieces.mean(-1, keepdims=True)) * window)) ** 2
        total, count = total + power.sum(0), count + len(power)
    density = 2 * step * total / (window**2).sum()
    density[0] /= 2
    if segment % 2 == 0:
        density[-1] /= 2
    frequency = np.asarray(np.fft.rfftfreq(segment, step), "float64")
    return frequency, density / count if count else np.full_like(density, np.nan)


def spectrum_error(observation: Values, forecast: Values, *, step: float = 1.0, segment: int = 256) -> float:
    """Mean distance of two power spectra over all frequencies but zero, in decibels.

    mean_f |10 log10(S_forecast(f) / S_observation(f))|

    Args:
        observation: Truth over `time`, `node` and perhaps `member`; the first axis of an array is time.
        forecast: Forecast over the same dims; the numbers of times may differ.
        step: Time between two values.
        segment: Number of values in a segment of Welch's method; a shorter series is one segment.

    Returns:
        The distance in dB; 0 is best.
    """
    check_positive("step", step)
    check_counts(segment=(segment, 1))
    segment = min(segment, *(_series(v).shape[1] for v in (observation, forecast)))
    (_, truth), (_, ours) = (power_spectrum(v, step=step, segment=segment) for v in (observation, forecast))
    with np.errstate(divide="ignore"):
        return float(np.abs(10 * np.log10(ours[1:] / truth[1:])).mean())


def histogram_distance(observation: Values, forecast: Values, *, bins: int = 50) -> float:
    """Hellinger distance of two marginal distributions: 0 where they are the same, 1 where they do not overlap.

    √(1 - Σ √(p q)) of histograms over the range of both, all nodes and times pooled, missing values left out.

    Args:
        observation: Truth, any shape.
        forecast: Forecast, any shape.
        bins: Number of bins of the histograms.

    Returns:
        The distance, from 0 to 1.

    Raises:
        RequestError: No value is observed.

    References:
        Mikhaeil, Monfared, Durstewitz (2022), On the difficulty of learning chaotic dynamics with RNNs. NeurIPS.
    """
    check_counts(bins=(bins, 1))
    truth, ours = _pooled(observation), _pooled(forecast)
    low, high = min(truth.min(), ours.min()), max(truth.max(), ours.max())
    p, q = (np.histogram(v - low, bins, (0, high - low))[0] / len(v) for v in (truth, ours))
    return float(np.sqrt(max(1 - np.sqrt(p * q).sum(), 0.0)))


def wasserstein_distance(observation: Values, forecast: Values) -> float:
    """Distance of two marginal distributions, ∫ |F - G|, in standard deviations of the truth.

    All nodes and times are pooled, missing values left out.

    Args:
        observation: Truth, any shape.
        forecast: Forecast, any shape.

    Returns:
        The distance; 0 is best.

    Raises:
        RequestError: No value is observed.

    References:
        Villani (2009), Optimal transport. doi:10.1007/978-3-540-71050-9
    """
    truth = _pooled(observation)
    if truth.min() == truth.max():
        raise RequestError("observation: does not vary, so there is no standard deviation to measure in; give more")
    return float(stats.wasserstein_distance(truth, _pooled(forecast)) / truth.std())


def correlation_length(values: Values, *, spacing: float = 1.0, boundary: Boundary = "periodic") -> float:
    """Correlation length: the distance at which correlation between nodes first falls below 1/e.

    Distances between nodes are interpolated linearly.

    Args:
        values: Values over `time` and `node`, nodes in a row; time is the first axis of an array, node the last.
        spacing: Distance between neighbouring nodes.
        boundary: `periodic` for a ring of nodes, `open` for a row.

    Returns:
        The length, in units of the spacing; NaN where the correlation stays above 1/e.
    """
    check_positive("spacing", spacing)
    if boundary not in get_args(Boundary):
        raise RequestError(f"boundary {boundary!r}: {did_you_mean(boundary, get_args(Boundary))}")
    given = as_floats(values, "values")
    length(given, "node", -1, "values")
    length(given, "time", -max(np.ndim(given), 2), "values")
    named = given.transpose("time", ..., "node").values if isinstance(given, xr.DataArray) else given
    anomalies = named - np.nanmean(named, axis=0)
    nodes = anomalies.shape[-1]
    farthest = nodes // 2 if boundary == "periodic" else nodes - 1
    before = 1.0
    for lag in range(1, farthest + 1):
        if boundary == "periodic":
            one, other = anomalies, np.roll(anomalies, -lag, axis=-1)
        else:
            one, other = anomalies[..., :-lag], anomalies[..., lag:]
        known = ~(np.isnan(one) | np.isnan(other))
        a, b = one[known], other[known]
        now = float((a * b).mean() / np.sqrt((a**2).mean() * (b**2).mean()))
        if now < np.exp(-1):
            return float(spacing * (lag - 1 + (before - np.exp(-1)) / (before - now)))
        before = now
    return float("nan")


def _series(values: Values) -> NDArray[np.float64]:
    """Arrange values as (series, time)."""
    given = as_floats(values, "values")
    if not length(given, "time", -max(np.ndim(given), 1), "values") or not given.size:
        raise RequestError("values: no values, so there is no spectrum; give at least one")
    array: Any = given.transpose("time", ...).values if isinstance(given, xr.DataArray) else given
    return np.asarray(array).reshape(len(array), -1).T


def _pooled(values: Values) -> NDArray[np.float64]:
    """Pool all values that are not missing.

    Raises:
        RequestError: No value is observed, or one is infinite.
    """
    flat: NDArray[np.float64] = np.asarray(as_floats(values, "values")).ravel()
    flat = flat[~np.isnan(flat)]
    if flat.size == 0:
        raise RequestError("values: no value is observed, so there is no climate to compare; give at least one")
    if np.isinf(flat).any():
        raise RequestError(
            "values: some are infinite, so there is no climate to compare; give the run before it diverged"
        )
    return flat
