"""Intervals group by group: another package, what a small group takes, and coverage within each group."""

import crepes
import numpy as np
import pytest

from stgate.calibration import conformal_quantile, grouped_conformal, missing_groups
from stgate.calibration.conformal import needed
from stgate.calibration.groups import missing_names

LEVELS = [0.5, 0.75, 0.9375]  # exact in binary: crepes floors in floats


def draws(sizes, seed=0):
    """Scores of groups, the k-th k + 1 times as wide as the first; NaN here and there."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    scores = np.abs(rng.standard_normal(len(group))) * (1 + group)
    return np.where(rng.random(len(group)) < 0.1, np.nan, scores), group


def test_crepes_gives_the_same_mondrian_half_widths():
    scores, group = draws([200, 63, 100])
    seen = ~np.isnan(scores)
    regressor = crepes.ConformalRegressor().fit(scores[seen], bins=group[seen])
    factors, source = grouped_conformal(scores[None], group, [], LEVELS, minimum=0)
    assert (source == 0).all()
    for i, level in enumerate(LEVELS):
        bounds = regressor.predict_int(np.zeros(3), bins=np.arange(3), confidence=level)
        np.testing.assert_allclose(factors[:, i], bounds[:, 1])


def test_a_group_that_is_too_small_takes_the_next_wider_one():
    scores, group = draws([300, 200, 10, 0, 40])
    chain = [np.array([0, 1, 1, 1, 2])]
    factors, source = grouped_conformal(scores[None], group, chain, [0.5, 0.9], minimum=50)
    assert source[:, 0].tolist() == [0, 0, 1, 1, 2]
    middle = np.isin(group, [1, 2, 3])
    for narrow, chosen in ((0, group == 0), (1, group == 1), (2, middle), (3, middle), (4, group >= 0)):
        np.testing.assert_array_equal(factors[narrow], [conformal_quantile(scores[chosen], p) for p in (0.5, 0.9)])


def test_what_a_level_needs_is_asked_of_each_group_too():
    scores, group = draws([500, 60])
    factors, source = grouped_conformal(scores[None], group, [], [0.5, 0.99], minimum=10)
    assert source[1].tolist() == [0, 1]  # 54 cases or so are enough for one half, not for 99 %
    assert np.isfinite(factors).all() and (np.diff(factors, axis=1) >= 0).all()
    assert [needed(p) for p in (0.5, 0.9, 0.95, 0.99)] == [1, 9, 19, 99]


def test_further_axes_and_levels_of_their_own_are_kept_apart():
    scores, group = draws([80, 90])
    wide = np.stack([scores, 2 * scores], -1)  # (case, lead)
    factors, _ = grouped_conformal(wide[None], group, [], LEVELS, minimum=0)
    np.testing.assert_allclose(factors[..., 1], 2 * factors[..., 0])
    own, _ = grouped_conformal(np.stack([scores, scores + 1, scores + 2]), group, [], LEVELS, minimum=0)
    np.testing.assert_allclose(own, factors[..., 0] + np.arange(3))


def test_coverage_holds_in_each_group_where_pooled_intervals_fail():
    """Trap 7: calibration that holds on average fails where a sensor is down."""
    factors, pooled, covered, naive = [], [], [], []
    for seed in range(200):
        scores, group = draws([400, 60], seed)
        factors, _ = grouped_conformal(scores[None], group, [], [0.9])
        pooled = conformal_quantile(scores, 0.9)
        new, of = draws([400, 60], 10_000 + seed)
        covered.append([(new[(of == g) & ~np.isnan(new)] <= factors[g, 0]).mean() for g in (0, 1)])
        naive.append([(new[(of == g) & ~np.isnan(new)] <= pooled).mean() for g in (0, 1)])
    np.testing.assert_allclose(np.mean(covered, 0), 0.9, atol=0.01)
    assert np.mean(naive, 0)[1] < 0.75


def test_groups_of_missingness_begin_at_their_edges_and_are_named():
    assert missing_groups([[0, 1], [4, 99]], (1, 4)).tolist() == [[0, 1], [2, 2]]
    assert missing_groups([0, 5], ()).tolist() == [0, 0]
    assert len(missing_names((1, 4))) == 3 and missing_names(()) == ["all"]


@pytest.mark.parametrize("minimum", [0, 50])
def test_nothing_observed_gives_infinite_factors(minimum):
    factors, _ = grouped_conformal(np.full((1, 30), np.nan), np.zeros(30, int), [], [0.9], minimum)
    assert np.isinf(factors).all()


def test_levels_with_scores_of_their_own_are_not_forced_to_ascend():
    """Offsets of quantiles may fall with the level; shared scores cannot."""
    own = np.stack([np.full(40, 5.0), np.full(40, 1.0)])
    factors, _ = grouped_conformal(own, np.zeros(40, int), [], [0.5, 0.9])
    assert factors[0].tolist() == [5.0, 1.0]
