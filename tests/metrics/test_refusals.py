"""Arguments of scores that do not fit are refused in one line that names them, whatever the score."""

import inspect

import numpy as np
import pytest
import xarray as xr

from stgate import metrics
from stgate.errors import RequestError

SIZES = {"time": 6, "node": 4, "sample": 5, "quantile": 3, "other": 2}


def named(*dims):
    shape = [SIZES[d] for d in dims]
    values = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    coords = {d: np.linspace(0.1, 0.9, SIZES[d]) if d == "quantile" else np.arange(SIZES[d]) for d in dims}
    return xr.DataArray(values, coords, dims)


ODD = [
    named("other"),
    named("time", "node", "sample"),
    named("quantile"),
    xr.DataArray(1.0),
    np.ones(4),
    np.ones((6, 4)),
]
ODD += [np.array([]), "text", None, 3]
TRUTH = named("time", "node")
WEIGHTS = [
    "text",
    ["a"] * 4,
    np.ones(3),
    np.ones((6, 3)),
    [1, np.nan, 1, 1],
    [-1, 1, 1, 1],
    named("other"),
    [[[1]]],
    None,
]
WEIGHTS[-1] = TRUTH[:, :3]


def raw_errors(call, cases):
    """Return the errors of other kinds than ours, and those of several lines."""
    found = []
    for case in cases:
        try:
            call(case)
        except RequestError as error:
            found += [str(error)] * ("\n" in str(error))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", metrics.__all__)
def test_arguments_that_do_not_fit_raise_none_but_request_errors(name):
    score = getattr(metrics, name)
    needed = [p for p in inspect.signature(score).parameters.values() if p.default is p.empty]
    free = [p.name for p in needed if p.kind == p.KEYWORD_ONLY]
    rng = np.random.default_rng(0)
    cases = [[ODD[rng.integers(len(ODD))] for _ in needed] for _ in range(60)]
    split = len(needed) - len(free)
    assert not raw_errors(lambda c: score(*c[:split], **dict(zip(free, c[split:], strict=True))), cases)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: metrics.crps(TRUTH, TRUTH), "forecast: lacks the dim `sample`"),
        (lambda: metrics.pit(TRUTH, TRUTH, dim="member"), "forecast: lacks the dim `member`"),
        (lambda: metrics.crps_quantiles(TRUTH, TRUTH), "forecast: lacks the dim `quantile`"),
        (lambda: metrics.energy_score(named("time"), named("time", "sample")), "observation: lacks the dim `node`"),
        (lambda: metrics.naive_scale(named("node")), "history: lacks the dim `time`"),
        (lambda: metrics.power_spectrum(named("node")), "values: lacks the dim `time`"),
        (lambda: metrics.correlation_length(named("time")), "values: lacks the dim `node`"),
        (lambda: metrics.bootstrap(TRUTH), "values: lacks the dim `init_time`"),
        (lambda: metrics.nrmse(TRUTH, TRUTH, np.ones(4)), "sigma: no DataArray"),
        (lambda: metrics.nrmse(TRUTH, TRUTH, named("node")[:3]), "labels differ"),
        (lambda: metrics.valid_prediction_time(TRUTH, TRUTH, named("node")), "observation: lacks the dim `lead_time`"),
        (lambda: metrics.crps(named("time", "sample"), named("time", "sample")), "observation: has the dim `sample`"),
        (lambda: metrics.average(np.ones((2, 3)), by=5), "by 5: not an axis"),
        (lambda: metrics.pinball(TRUTH, TRUTH, "high"), "quantile: must be one number"),
    ],
)
def test_messages_name_the_argument_and_the_fix(call, words):
    with pytest.raises(RequestError, match=words):
        call()


@pytest.mark.parametrize("values", [TRUTH, TRUTH.values], ids=["named", "array"])
@pytest.mark.parametrize("weights", WEIGHTS, ids=range(len(WEIGHTS)))
def test_wrong_weights_are_refused(values, weights):
    for call in (lambda: metrics.average(values, (), weights), lambda: metrics.mae(values, values, weights=weights)):
        with pytest.raises(RequestError, match=r"^[^\n]*weights[^\n]*$"):
            call()


def test_weights_of_the_last_dim_hold_for_named_and_plain_values():
    each = [1.0, 0.0, 2.0, 1.0]
    plain = metrics.average(TRUTH.values, (), each)
    assert plain == metrics.average(TRUTH, (), each) == metrics.average(TRUTH, (), xr.DataArray(each, dims="node"))


def test_spectra_of_runs_of_other_lengths_are_compared_at_the_same_frequencies():
    run = np.random.default_rng(0).normal(size=(60, 2))
    assert np.isfinite(metrics.spectrum_error(run, run[:37]))
