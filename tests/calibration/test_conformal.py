"""Split conformal prediction: the order statistic, by brute force, by another package, and by what it covers."""

from fractions import Fraction

import crepes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stgate.calibration import conformal_quantile, split_conformal
from stgate.calibration.conformal import rank
from stgate.errors import RequestError

scores = st.integers(1, 60).flatmap(
    lambda n: arrays("float64", n, elements=st.floats(0, 1e6) | st.just(float("nan")), fill=st.nothing())
)
thousandths = st.integers(1, 999)


def by_brute_force(values, thousandth: int) -> float:
    """The smallest score at or below which at least ceil((n + 1) level) of the scores lie."""
    seen = sorted(v for v in values if v == v)
    wanted = (len(seen) + 1) * Fraction(thousandth, 1000)
    enough = [v for i, v in enumerate(seen, 1) if i >= wanted]
    return enough[0] if enough else float("inf")


@given(values=scores, thousandth=thousandths)
@settings(deadline=None)
def test_the_quantile_is_the_order_statistic_of_rank_ceil_n_plus_1_level(values, thousandth):
    assert conformal_quantile(values, thousandth / 1000) == by_brute_force(values, thousandth)


@given(count=st.integers(0, 10_000), thousandth=thousandths)
def test_the_rank_is_exact_where_floats_are_not(count, thousandth):
    exact = (count + 1) * Fraction(thousandth, 1000)
    assert rank(count, thousandth / 1000) == -(-exact.numerator // exact.denominator)


@pytest.mark.parametrize("count", [9, 99, 199, 999])
def test_a_rank_that_is_whole_is_not_pushed_up_by_round_off(count):
    """100 × 0.07 is 7.000000000000001 in floats."""
    ordered = np.arange(1.0, count + 1)
    for thousandth in range(1, 1000):
        wanted, rest = divmod((count + 1) * thousandth, 1000)
        if not rest:
            assert conformal_quantile(ordered, thousandth / 1000) == wanted == rank(count, thousandth / 1000)


@given(values=scores, thousandth=thousandths)
@settings(deadline=None)
def test_missing_scores_are_left_out(values, thousandth):
    level = thousandth / 1000
    assert conformal_quantile(values, level) == conformal_quantile(values[~np.isnan(values)], level)


@given(values=scores, one=st.floats(1e-12, 1 - 1e-12), other=st.floats(1e-12, 1 - 1e-12))
@settings(deadline=None)
def test_a_higher_level_never_gives_a_narrower_interval(values, one, other):
    narrow, wide = split_conformal(values, sorted([one, other]))
    assert narrow <= wide


@pytest.mark.parametrize("level", [0.5, 0.75, 0.875, 0.9375])  # exact in binary: crepes floors in floats
@pytest.mark.parametrize("count", [15, 16, 63, 100, 200])
def test_crepes_gives_the_same_half_width(level, count):
    residuals = np.random.default_rng(count).standard_normal(count)
    regressor = crepes.ConformalRegressor().fit(residuals)
    bounds = regressor.predict_int(y_hat=np.zeros(1), confidence=level)
    assert conformal_quantile(np.abs(residuals), level) == bounds[0, 1] == -bounds[0, 0]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_too_few_scores_give_an_infinite_interval_and_one_more_a_finite_one(level):
    fewest = next(n for n in range(1, 200) if (n + 1) * Fraction(str(level)) <= n)
    assert np.isinf(conformal_quantile(np.ones(fewest - 1), level))
    assert conformal_quantile(np.ones(fewest), level) == 1


def test_no_score_at_all_gives_an_infinite_interval():
    assert np.isinf(conformal_quantile(np.full(50, np.nan), 0.5))
    assert np.isinf(conformal_quantile([], 0.5))


def test_each_cell_is_calibrated_on_its_own_scores():
    values = np.random.default_rng(0).standard_normal((40, 3, 5))
    values[np.random.default_rng(1).random(values.shape) < 0.4] = np.nan
    values[:, 2, 4] = np.nan
    widths = split_conformal(values, [0.5, 0.9])
    assert widths.shape == (2, 3, 5) and np.isinf(widths[:, 2, 4]).all()
    for i, j in np.ndindex(3, 5):
        assert widths[0, i, j] == by_brute_force(values[:, i, j], 500)
        assert widths[1, i, j] == by_brute_force(values[:, i, j], 900)
    np.testing.assert_array_equal(conformal_quantile(values.transpose(1, 0, 2), 0.9, axis=1), widths[1])


@pytest.mark.parametrize("level", [0, 1, -0.5, 1.5, float("nan")])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(RequestError, match="level"):
        conformal_quantile([1.0, 2.0], level)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("count", [24, 60])
def test_exchangeable_data_are_covered_as_promised(level, count):
    trials = 20_000
    draws = np.random.default_rng(count).standard_exponential((count + 1, trials))
    covered = (draws[-1] <= conformal_quantile(draws[:-1], level)).mean()
    promised = rank(count, level) / (count + 1)  # the exact coverage of continuous scores
    assert level <= promised <= level + 1 / (count + 1)
    assert covered == pytest.approx(promised, abs=4 * np.sqrt(promised * (1 - promised) / trials))
