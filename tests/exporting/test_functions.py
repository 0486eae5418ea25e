"""What ONNX lacks, by what it has: the same numbers as torch, scipy and numpy."""

import numpy as np
import pytest
import scipy.special
import torch

from stgate.data.windows import Clock
from stgate.exporting import decompositions, special
from stgate.exporting.clock import calendar_of, times_of
from stgate.schema.spec import PanelSpec
from stgate.schema.steps import extended

RANDOM = np.random.default_rng(0)
REAL = np.concatenate([np.linspace(-12, 12, 4001), [0.0, 1.0, -1.0, 8.0, -8.0, np.nan]])
LEVEL = np.concatenate([np.linspace(0, 1, 2001), 10.0 ** -np.arange(1, 16), [np.nan]])


@pytest.mark.parametrize(
    "name, oracle, given",
    [
        ("erf", scipy.special.erf, REAL),
        ("erfc", scipy.special.erfc, REAL),
        ("ndtr", scipy.special.ndtr, REAL),
        ("erfinv", scipy.special.erfinv, 2 * LEVEL - 1),
        ("ndtri", scipy.special.ndtri, LEVEL),
        ("lgamma", scipy.special.gammaln, 10.0 ** np.linspace(-6, 6, 2001)),
    ],
)
@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-10), ("float32", 2e-6)])
def test_special_functions(name, oracle, given, dtype, rtol):
    x = given.astype(dtype)
    made = getattr(special, name)(torch.from_numpy(x))
    assert made.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(made.numpy(), oracle(x.astype("float64")).astype(dtype), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 5, 8, 24])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_running_maximum(length, dim):
    values = torch.from_numpy(RANDOM.integers(-3, 3, (length, length, length)))
    for one, other in zip(decompositions.cummax(values, dim), torch.cummax(values, dim), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("length", [1, 2, 5, 8, 24])
@pytest.mark.parametrize("missing", [False, True])
def test_median(length, missing):
    values = torch.from_numpy(RANDOM.standard_normal((4, length, 3)))
    if missing:
        values[0, 0, 0] = torch.nan
    torch.testing.assert_close(
        decompositions.median(values, 1)[0], values.median(1).values, rtol=0, atol=0, equal_nan=True
    )
    assert decompositions.median(values, 1, True)[0].shape == (4, 1, 3)


@pytest.mark.parametrize("right", [False, True])
def test_places_among_edges(right):
    edges, values = torch.tensor([0.0, 1.0, 1.0, 3.0]), torch.tensor([[-1.0, 0.0, 1.0], [2.0, 3.0, torch.nan]])
    wanted = torch.searchsorted(edges, values, right=right)
    assert torch.equal(decompositions.searchsorted(edges, values, right=right), wanted)
    assert torch.equal(decompositions.bucketize(values, edges, right=right), wanted)
    rows = torch.stack([edges, edges + 1])
    assert torch.equal(
        decompositions.searchsorted(rows, values, right=right), torch.searchsorted(rows, values, right=right)
    )


@pytest.mark.parametrize("size", [1, 2, 7, 34])
def test_factors_and_triangular_systems(size):
    root = torch.from_numpy(RANDOM.standard_normal((5, size, size)))
    matrix = root @ root.mT + size * torch.eye(size)
    factor, failed = decompositions.cholesky(matrix)
    torch.testing.assert_close(factor, torch.linalg.cholesky(matrix))
    assert not failed.any() and failed.dtype == torch.int32
    given = torch.from_numpy(RANDOM.standard_normal((5, size, 2)))
    wanted = torch.linalg.solve_triangular(factor, given, upper=False)
    torch.testing.assert_close(decompositions.solve_triangular(factor, given, upper=False), wanted)
    matrix[2] = -matrix[2]
    assert decompositions.cholesky(matrix)[1].tolist() == [0, 0, 1, 0, 0]


# Dates


@pytest.mark.parametrize("step", ["10m", "1h", "6h", "1D", "7D"])
def test_times_and_features_of_a_window_are_those_of_the_panel(step):
    length = np.timedelta64(int(step[:-1]), step[-1])
    times = np.datetime64("2019-11-20T00:00:00", "us") + np.arange(9) * length.astype("timedelta64[us]")
    calendar = ("hour", "weekday", "yearday", "month/2")
    seconds = length / np.timedelta64(1, "s")
    spec = PanelSpec(("y",), ("a",), seconds, "calendar", 5, 4, calendar=calendar)
    same_clock(spec, times)


@pytest.mark.parametrize("last, months", [("2023-11-01", 1), ("2023-11-30", 1), ("2024-01-31", 3), ("2020-05-15", 12)])
def test_times_of_months_are_those_of_the_panel(last, months):
    spec = PanelSpec(("y",), ("a",), months * 2629746.0, "calendar", 1, 6, calendar=("month",), months=months)
    same_clock(spec, extended(np.array([last], "datetime64[us]"), np.timedelta64(months, "M"), 6))


def same_clock(spec, times):
    clock = Clock.of(times, spec)
    made = times_of(clock.time[spec.window - 1 : spec.window], spec)
    features, cells = calendar_of(made, spec)
    np.testing.assert_array_equal(made[0], clock.time)
    np.testing.assert_array_equal(cells[0], clock.cell)
    np.testing.assert_allclose(features[0], clock.calendar, atol=1e-6)


def test_model_time_has_no_calendar():
    spec = PanelSpec(("x",), (0,), 0.05, "model", 3, 2)
    time = times_of(torch.tensor([1.0, 2.0], dtype=torch.float64), spec)
    np.testing.assert_allclose(time[0], 1 + 0.05 * np.arange(-2, 3))
    features, cells = calendar_of(time, spec)
    assert features.shape == (2, 5, 0) and not cells.any()
