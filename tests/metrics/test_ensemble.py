"""Scores of ensembles: other packages, the slow way, and what a fair score is for."""

import numpy as np
import pytest
import scoringrules
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstest
from scores.probability import crps_for_ensemble
from scores.probability import rank_histogram as scores_rank_histogram

from stgate.errors import RequestError
from stgate.metrics import average, crps, energy_score, pit, rank_histogram

RNG = np.random.default_rng(0)
TRUTH, MEMBERS = RNG.standard_normal((30, 8)), RNG.standard_normal((30, 8, 20))
GAPS = np.where(RNG.random(TRUTH.shape) < 0.1, np.nan, TRUTH)


def named(truth=GAPS, members=MEMBERS):
    return xr.DataArray(truth, dims=("time", "node")), xr.DataArray(members, dims=("time", "node", "sample"))


def test_scoringrules_gives_the_same_crps_fair_and_not():
    for fair, estimator in ((True, "fair"), (False, "nrg")):
        expected = scoringrules.crps_ensemble(TRUTH, MEMBERS, estimator=estimator, backend="numpy")
        np.testing.assert_allclose(crps(TRUTH, MEMBERS, fair=fair), expected, atol=1e-6)


def test_scores_gives_the_same_means_with_a_tenth_missing():
    truth, members = named()
    for fair, method in ((True, "fair"), (False, "ecdf")):
        for by in ([], ["node"]):
            expected = crps_for_ensemble(members, truth, "sample", method=method, preserve_dims=by)
            xr.testing.assert_allclose(crps(truth, members, fair=fair, by=by), expected, rtol=1e-6)


@given(
    truth=st.floats(-1e3, 1e3),
    members=arrays("float64", st.integers(2, 9), elements=st.floats(-1e3, 1e3)),
    fair=st.booleans(),
)
@settings(deadline=None)
def test_the_crps_is_that_of_all_pairs(truth, members, fair):
    pairs = np.abs(members[:, None] - members).sum() / (len(members) * (len(members) - fair))
    expected = np.abs(members - truth).mean() - pairs / 2
    assert crps(np.array(truth), members, fair=fair) == pytest.approx(expected, abs=1e-9)


def test_the_order_of_the_members_does_not_matter_and_the_callers_array_is_left_alone():
    before = MEMBERS.copy()
    np.testing.assert_allclose(crps(TRUTH, MEMBERS), crps(TRUTH, MEMBERS[..., ::-1]), atol=1e-12)
    np.testing.assert_array_equal(MEMBERS, before)


def test_a_missing_truth_or_member_gives_nan_and_changes_nothing_else():
    np.testing.assert_array_equal(crps(GAPS, MEMBERS), np.where(np.isnan(GAPS), np.nan, crps(TRUTH, MEMBERS)))
    holed = MEMBERS.copy()
    holed[3, 4, 5] = np.nan
    assert np.isnan(crps(TRUTH, holed)[3, 4]) and np.isnan(crps(TRUTH, holed)).sum() == 1
    assert np.isnan(crps(np.full(3, np.nan), np.zeros((3, 2)), by=()))


def test_one_member_scores_its_absolute_error_and_has_no_fair_score():
    np.testing.assert_allclose(crps(TRUTH, MEMBERS[..., :1], fair=False), np.abs(TRUTH - MEMBERS[..., 0]))
    for score in (crps, energy_score):
        with pytest.raises(RequestError, match="fair"):
            score(TRUTH, MEMBERS[..., :1] if score is crps else MEMBERS.swapaxes(1, 2)[:, :1])


def test_a_fair_score_prefers_the_true_spread_and_the_other_one_a_spread_too_small():
    """Trap 4: with few members the biased score rewards overconfidence."""
    rng = np.random.default_rng(1)
    truth, members = rng.standard_normal(200_000), rng.standard_normal((200_000, 5))
    fair = {s: crps(truth, s * members, by=()) for s in (0.9, 1.0)}
    biased = {s: crps(truth, s * members, fair=False, by=()) for s in (0.9, 1.0)}
    assert fair[1.0] < fair[0.9] and biased[0.9] < biased[1.0]
    assert fair[1.0] == pytest.approx(1 / np.sqrt(np.pi), abs=4e-3)


def test_an_ensemble_has_its_crps_with_any_broadcast_and_dtype():
    np.testing.assert_allclose(crps(np.float32(TRUTH), np.float32(MEMBERS)), crps(TRUTH, MEMBERS), atol=1e-5)
    np.testing.assert_allclose(crps(TRUTH, MEMBERS[0, 0]), crps(TRUTH, np.broadcast_to(MEMBERS[0, 0], MEMBERS.shape)))
    truth, members = named()
    found = crps(truth, members.transpose("sample", "node", "time"))
    np.testing.assert_allclose(found.transpose("time", "node"), crps(GAPS, MEMBERS))


def test_scoringrules_gives_the_same_energy_score():
    vectors = MEMBERS.swapaxes(1, 2)  # (time, member, node)
    for fair, estimator in ((True, "fair"), (False, "nrg")):
        expected = scoringrules.es_ensemble(TRUTH, vectors, estimator=estimator, backend="numpy")
        np.testing.assert_allclose(energy_score(TRUTH, vectors, fair=fair), expected, atol=1e-6)
    truth, members = named(TRUTH)
    np.testing.assert_allclose(energy_score(truth, members), energy_score(TRUTH, vectors))


def test_the_energy_score_of_one_quantity_is_the_crps():
    truth, members = TRUTH[:, :1], MEMBERS[:, 0, :, None]
    np.testing.assert_allclose(energy_score(truth, members), crps(TRUTH[:, 0], MEMBERS[:, 0]), atol=1e-12)


def test_a_missing_quantity_leaves_the_norms_and_none_at_all_gives_nan():
    vectors = MEMBERS.swapaxes(1, 2)
    holed = TRUTH.copy()
    holed[0, 2], holed[1] = np.nan, np.nan
    found = energy_score(holed, vectors)
    assert found[0] == pytest.approx(energy_score(np.delete(TRUTH, 2, 1), np.delete(vectors, 2, 2))[0])
    assert np.isnan(found[1]) and average(found, ()) == pytest.approx(np.nanmean(found))


def test_the_pit_of_a_calibrated_ensemble_is_uniform_also_where_members_are_tied():
    rng = np.random.default_rng(2)
    for draw in (rng.standard_normal, lambda shape: rng.poisson(1.0, shape).astype(float)):
        everything = draw((20_000, 10))
        values = pit(everything[:, 0], everything[:, 1:])
        assert kstest(values, "uniform").pvalue > 0.01
    assert kstest(pit(everything[:, 0] + 1, everything[:, 1:]), "uniform").pvalue < 1e-6


def test_the_rank_histogram_counts_what_scores_counts():
    truth, members = named()
    expected = scores_rank_histogram(members, truth, "sample")
    found = rank_histogram(truth, members)
    np.testing.assert_allclose(found / found.sum(), expected)
    assert found.sum() == np.isfinite(GAPS).sum() and len(found) == 21


def test_ties_take_each_rank_at_random():
    found = rank_histogram(np.zeros(30_000), np.zeros((30_000, 2)))
    np.testing.assert_allclose(found / 30_000, 1 / 3, atol=0.01)
    assert (found == rank_histogram(np.zeros(30_000), np.zeros((30_000, 2)))).all()
