"""Intervals over time: what is known when, what they cover, and how they come back after a shift."""

import numpy as np
import pytest
import torch

from stgate.calibration import OnlineConformal, conformal_quantile
from stgate.errors import RequestError, StoreError

LEVELS = [0.5, 0.8, 0.9, 0.95]


def run(scores, since=None, stop=None, **options):
    """Factors (origin, level, lead, cell) of scores (origin, lead, cell), each lead's truth known that much later."""
    origins, leads, cells = scores.shape
    online = OnlineConformal(LEVELS, leads, cells, **options)
    factors = []
    for now in range(origins if stop is None else stop):
        learn_until(online, scores, now)
        factors.append(online.predict(np.zeros(cells) if since is None else since[now]))
    return np.stack(factors), online


def learn_until(online, scores, now):
    for before in range(max(now - scores.shape[1], 0), now):
        online.update(before, now - before - 1, scores[before, now - before - 1])


def covered(scores, factors):
    """(level, lead), over what is observed."""
    hits = np.where(np.isnan(scores)[:, None], np.nan, scores[:, None] <= factors)
    return np.nanmean(hits, axis=(0, 3))


def test_a_rolling_factor_is_the_conformal_quantile_of_the_last_scores_known():
    scores = np.abs(np.random.default_rng(0).standard_normal((90, 3, 1))).astype("float32")
    factors, _ = run(scores, window=40, refresh=1, minimum=5)
    for now in (60, 89):
        for lead in range(3):
            known = scores[now - 40 : now - lead, lead, 0]  # of the last 40 origins, those whose truth is out
            expected = [conformal_quantile(known, level) for level in LEVELS[:3]]
            np.testing.assert_allclose(factors[now, :3, lead, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_no_factor_depends_on_a_truth_that_was_not_known(rate):
    scores = np.abs(np.random.default_rng(1).standard_normal((80, 4, 3)))
    altered = scores.copy()
    for origin in range(80):
        for lead in range(4):
            if origin + lead + 1 > 60:
                altered[origin, lead] = 1e6
    one, other = (run(s, window=30, rate=rate, refresh=1, minimum=5)[0] for s in (scores, altered))
    np.testing.assert_array_equal(one[:61], other[:61])
    assert (one[61:] != other[61:]).any()


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_coverage_is_nominal_for_autocorrelated_scores_of_unequal_nodes_with_gaps(rate):
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((2250, 2, 16))
    for t in range(1, len(noise)):
        noise[t] = 0.8 * noise[t - 1] + 0.6 * noise[t]
    scores = np.abs(noise) * np.linspace(0.5, 3, 16)
    scores[rng.random(scores.shape) < 0.2] = np.nan
    factors, _ = run(scores, window=400, rate=rate, refresh=20)
    np.testing.assert_allclose(
        covered(scores[500:], factors[500:]), np.repeat(np.array(LEVELS)[:, None], 2, 1), atol=0.015
    )
    by_node = np.nanmean(np.where(np.isnan(scores), np.nan, scores <= factors[:, 2])[500:], axis=(0, 1))
    np.testing.assert_allclose(by_node, 0.9, atol=0.02)


@pytest.fixture(scope="module")
def outages():
    """Steps since nodes were observed, and scores that grow with them."""
    rng = np.random.default_rng(3)
    since = np.where(rng.random((1750, 12)) < 0.3, rng.integers(1, 30, (1750, 12)), 0)
    return since, np.abs(rng.standard_normal((1750, 2, 12))) * (1 + 2 * np.sqrt(since))[:, None]


def covered_where(down, since, scores, factors):
    """The coverage at level 0.9 where the node was (not) observed."""
    hit = scores[500:] <= factors[500:, 2]
    return hit[np.broadcast_to((since[500:] > 0)[:, None] == down, hit.shape)].mean()


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_coverage_holds_where_the_node_was_not_observed(outages, rate):
    since, scores = outages
    factors, _ = run(scores, since, window=400, rate=rate, refresh=20)
    for down in (False, True):
        assert covered_where(down, since, scores, factors) == pytest.approx(0.9, abs=0.02)


def test_without_groups_coverage_is_lost_where_the_node_was_not_observed(outages):
    since, scores = outages
    pooled, _ = run(scores, since, window=400, edges=(), refresh=20)
    assert covered_where(True, since, scores, pooled) < 0.82  # the trap


def test_after_a_shift_adaptive_intervals_come_back_and_none_is_infinite():
    rng = np.random.default_rng(4)
    scores = np.abs(rng.standard_normal((1600, 2, 10)))
    scores[800:] += 6
    adaptive, online = run(scores, window=500, rate=0.05, refresh=12)
    fixed = np.stack([conformal_quantile(scores[:800], p) for p in LEVELS])[None, :, :, :]
    rolling, _ = run(scores, window=500, refresh=12)
    back, late = slice(1000, 1200), slice(1200, 1600)
    for i, level in enumerate(LEVELS):
        for part in (back, late):
            assert abs((scores[part] <= adaptive[part, i]).mean() - level) < 0.02, level
            assert (scores[part] <= fixed[:, i]).mean() < level - 0.3
        assert (scores[back] <= rolling[back, i]).mean() < level - 0.03
    assert np.isfinite(adaptive).all() and np.isfinite(online.missed).all()


def test_after_a_shift_that_ends_adaptive_intervals_are_soon_no_wider_than_before():
    """What adaptation learned of the shift is forgotten: without that, intervals stay too wide for long."""
    rng = np.random.default_rng(5)
    scores = np.abs(rng.standard_normal((1500, 1, 20)))
    scores[700:900] *= 4
    adaptive, _ = run(scores, window=300, rate=0.07, refresh=12)
    calm, after = slice(400, 700), slice(1200, 1500)
    for i, level in enumerate(LEVELS):
        assert abs((scores[after] <= adaptive[after, i]).mean() - level) < 0.02, level
        assert adaptive[after, i].mean() < 1.1 * adaptive[calm, i].mean()


def test_levels_never_cross_and_the_first_factors_are_those_given():
    initial = np.array([[0.7], [1.3], [1.6], [2.0]])
    scores = np.abs(np.random.default_rng(5).standard_normal((300, 1, 4)))
    factors, _ = run(scores, rate=0.5, window=50, initial=initial)
    np.testing.assert_allclose(factors[0], np.repeat(initial[:, :, None], 4, 2))
    assert (np.diff(factors, axis=1) >= 0).all()


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_a_state_that_was_saved_goes_on_as_if_it_had_not_been(tmp_path, rate):
    rng = np.random.default_rng(6)
    scores, since = np.abs(rng.standard_normal((200, 3, 5))), rng.integers(0, 5, (200, 5))
    whole, _ = run(scores, since, window=60, rate=rate, refresh=7, minimum=10)
    _, online = run(scores, since, stop=120, window=60, rate=rate, refresh=7, minimum=10)
    online.save(tmp_path / "state.npz")
    again = OnlineConformal.load(tmp_path / "state.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]
    for now in range(120, 200):
        learn_until(again, scores, now)
        np.testing.assert_array_equal(again.predict(since[now]), whole[now])


def test_a_truth_that_comes_when_its_forecast_is_forgotten_is_ignored():
    online = OnlineConformal(LEVELS, 1, 2, window=3)
    for _ in range(13):
        online.predict([0, 0])
    online.update(0, 0, [1.0, 1.0])
    assert np.isnan(online.scores).all()


def test_the_first_factors_are_a_normals_unless_others_are_given():
    np.testing.assert_allclose(OnlineConformal([0.5, 0.9], 1, 1).predict([0])[:, 0, 0], [0.67449, 1.64485], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"levels": [1.5]}, "levels"),
        ({"levels": [0.9, 0.5]}, "must be increasing"),
        ({"levels": []}, "give a list of at least one"),
        ({"levels": [[0.5, 0.9]]}, "give a list"),
        ({"levels": [np.nan]}, "between 0 and 1"),
        *[({"levels": levels}, "levels: must hold numbers") for levels in ("ab", [0.5, None], [[0.5], [0.6, 0.7]])],
        ({"rate": -1.0}, "rate"),
        *[({"rate": rate}, "rate .*must be a number") for rate in ("a", None, np.nan, True)],
        ({"window": 0}, "window 0"),
        ({"window": 1.5}, "window 1.5"),
        ({"window": 10**11}, "of memory are free; choose a shorter window"),
        ({"minimum": 0}, "minimum 0"),
        ({"refresh": "a"}, "refresh 'a'"),
        *[
            ({"edges": edges}, "edges")
            for edges in ((5, 1), (1, 1), (-1,), (0, 2), (1.5,), (np.nan,), "ab", 3, (True,))
        ],
        ({"edges": range(1, 300)}, "edges: 299 are too many"),
        *[({"initial": [[bad]]}, "initial: must hold numbers from 0") for bad in (np.nan, np.inf, -1.0)],
        ({"levels": [0.5, 0.9], "initial": [[2.0], [1.0]]}, "no lower than for the one before"),
        ({"initial": [[1.0, 2.0, 3.0]]}, r"initial: has the shape \(1, 3\)"),
        ({"initial": "wide"}, "initial: must hold numbers, not 'wide'"),
    ],
)
def test_an_option_out_of_range_is_refused(options, said):
    with pytest.raises(RequestError, match=said):
        OnlineConformal(**{"levels": [0.5], "leads": 1, "cells": 2, **options})


@pytest.mark.parametrize("since", ["a", [1.0], [np.nan, 1.0], [-1, 0], [None, 1], [[0, 0]], [1j, 0]])
def test_what_is_no_number_of_steps_is_refused(since):
    with pytest.raises(RequestError, match="since: must hold"):
        OnlineConformal([0.5], 1, 2).predict(since)


def test_a_cell_that_was_never_observed_is_in_the_last_group():
    online = OnlineConformal([0.5], 1, 2)
    online.predict([np.inf, 0])
    assert online.groups[0].tolist() == [len(online.edges), 0]


@pytest.mark.parametrize(
    ("number", "lead", "said"),
    [
        *[(0, lead, "lead") for lead in (-1, 2, 1.0, True, "a", None)],
        *[(number, 0, "number|forecast 1") for number in (-1, 1, 0.0, True, "a", None)],
    ],
)
def test_a_forecast_or_a_lead_that_there_is_not_is_refused_and_nothing_is_learned(number, lead, said):
    online = OnlineConformal([0.5], 2, 2)
    online.predict([0, 0])
    with pytest.raises(RequestError, match=said):
        online.update(number, lead, [1.0, 1.0])
    assert np.isnan(online.scores).all()


def test_a_truth_counts_once_and_that_of_other_cells_may_come_later():
    online = OnlineConformal([0.5], 1, 2, rate=0.05)
    online.predict([0, 0])
    online.update(0, 0, [1.0, np.nan])
    online.update(0, 0, [np.nan, 2.0])
    before = online.missed.copy()
    for scores in ([1.0, 2.0], [1.0, np.nan], [np.nan, 3.0]):
        with pytest.raises(RequestError, match="forecast 0, lead 0: scores of it are known already"):
            online.update(0, 0, scores)
    assert online.scores[0, 0].tolist() == [1.0, 2.0] and (online.missed == before).all()


def test_widths_of_levels_near_one_are_finite():
    levels = [0.9, 0.999999, 1 - 2**-53]
    online = OnlineConformal(levels, 1, 1, refresh=1, minimum=1)
    for now in range(5):
        assert np.isfinite(online.predict([0])).all()
        online.update(now, 0, [1e25])


def test_what_is_no_score_and_what_was_never_predicted_are_refused():
    online = OnlineConformal([0.5], 1, 2)
    with pytest.raises(RequestError, match="forecast 0: not predicted yet"):
        online.update(0, 0, [1.0, 1.0])
    online.predict([0, 0])
    for scores in ([np.inf, 1.0], [-1.0, 1.0], [1.0], [1e300, 1.0], "a", ["1", None], [[1.0, 1.0]]):
        with pytest.raises(RequestError, match="scores: must hold"):
            online.update(0, 0, scores)


def test_a_file_that_is_no_state_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=1)
    (tmp_path / "table.csv").write_text("a,b")
    for name in ("other.npz", "table.csv", "none.npz"):
        with pytest.raises(StoreError, match=name):
            OnlineConformal.load(tmp_path / name)


BAD = {
    "another shape": lambda array: np.zeros((*array.shape, 2), array.dtype),
    "another kind": lambda array: array.astype("U8"),
    "infinite": lambda array: np.full(array.shape, np.inf),
    "missing": lambda array: np.full(array.shape, np.nan),
    "negative": lambda array: np.full(array.shape, -3, array.dtype),
    "huge": lambda array: np.full(array.shape, 2**31 - 1 if array.dtype.kind == "i" else 1e30).astype(array.dtype),
    "emptied": lambda array: array[..., :0] if array.ndim else array[None],
}


@pytest.mark.parametrize("how", BAD)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the casts that spoil the arrays
def test_an_edited_state_is_refused_or_goes_on(tmp_path, how):
    rng = np.random.default_rng(9)
    _, online = run(np.abs(rng.standard_normal((40, 2, 3))), window=8, rate=0.05, refresh=4, minimum=3, edges=(1, 4))
    online.save(tmp_path / "state.npz")
    with np.load(tmp_path / "state.npz") as file:
        held = {name: file[name] for name in file.files}
    refused = set()
    for name in held:
        np.savez(tmp_path / "edited.npz", **{**held, name: BAD[how](held[name])})
        try:
            again = OnlineConformal.load(tmp_path / "edited.npz")
        except StoreError:
            refused.add(name)
            continue
        again.predict([0, 1, 5])
        again.update(again.count - 1, 0, [1.0, 2.0, np.nan])
    assert "levels" in refused


def test_an_adapted_level_goes_back_to_nominal_where_nothing_is_observed():
    online = OnlineConformal([0.9], 1, 2, rate=0.5, window=20)
    for number in range(640):
        online.predict([0, 0])
        online.update(number, 0, [50.0, 50.0] if number < 40 else [np.nan, np.nan])
        if number == 39:
            moved = abs(float(online.missed[0, 0, 0]) - 0.1)
    assert moved > 0.02
    assert abs(float(online.missed[0, 0, 0]) - 0.1) < 0.15 * moved


@pytest.mark.parametrize("common, cells", [(0.0, 12), (1.0, 12), (0.8, 12), (0.5, 40)])
def test_adaptive_coverage_is_nominal_however_much_nodes_move_together(common, cells):
    """The step follows the effective number of nodes: a mean over nodes that move together is as noisy as one node."""
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        errors = common**0.5 * rng.standard_normal((1500, 1, 1))
        scores = np.abs(errors + (1 - common) ** 0.5 * rng.standard_normal((1500, 1, cells)))
        factors, _ = run(scores, window=300, rate=0.07, refresh=24)
        found.append(covered(scores[300:], factors[300:])[:, 0])
    np.testing.assert_allclose(np.mean(found, 0), LEVELS, atol=0.015)


@pytest.mark.parametrize("common, low, high", [(0.0, 8, 18), (1.0, 1, 1.6), (0.8, 1.2, 3.5)])
def test_the_effective_number_of_nodes_is_measured(common, low, high):
    rng = np.random.default_rng(7)
    errors = common**0.5 * rng.standard_normal((700, 1, 1))
    scores = np.abs(errors + (1 - common) ** 0.5 * rng.standard_normal((700, 1, 12)))
    _, online = run(scores, window=200, rate=0.07, refresh=24)
    assert low <= online.effective(0) <= high


def test_a_shift_is_not_taken_for_noise():
    rng = np.random.default_rng(8)
    scores = np.abs(rng.standard_normal((500, 1, 12)))
    before = run(scores[:400], window=200, rate=0.07)[1].effective(0)
    scores[400:] += 3
    after = run(scores[:420], window=200, rate=0.07)[1].effective(0)
    assert after > 0.5 * before


def test_a_masked_number_is_a_missing_one():
    online, other = (OnlineConformal([0.5], 1, 3) for _ in range(2))
    masked = np.ma.masked_array([1e9, 1.0, 2.0], [True, False, False])
    for each, scores in ((online, masked), (other, [np.nan, 1.0, 2.0])):
        each.predict(np.zeros(3))
        each.update(0, 0, scores)
    np.testing.assert_array_equal(online.scores, other.scores)
    with pytest.raises(RequestError, match="since"):
        online.predict(masked)
    with pytest.raises(RequestError, match="initial"):
        OnlineConformal([0.5], 3, 3, initial=masked)


@pytest.mark.parametrize("path", ["", ".", "/", "a\0b", "none/state.npz"])
def test_a_path_that_names_no_file_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    online = OnlineConformal([0.5], 1, 2)
    for act in (online.save, OnlineConformal.load):
        with pytest.raises(StoreError):
            act(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [(-1, 0), (2, 0), (0, 2), (0, -1), (1.5, 0), ("a", 0), (None, 0), (0, None)])
def test_effective_numbers_of_leads_that_there_are_not_are_refused(place):
    with pytest.raises(RequestError, match=r"lead|side"):
        OnlineConformal([0.5], 2, 2).effective(*place)


def test_tensors_are_scores_unless_they_hold_gradients():
    online = OnlineConformal([0.5], 1, 2)
    online.predict(torch.tensor([0, 0]))
    with pytest.raises(RequestError, match="scores: must hold numbers"):
        online.update(0, 0, torch.tensor([1.0, 2.0], requires_grad=True))
    online.update(0, 0, torch.tensor([1.0, 2.0]))
    assert online.scores[0, 0].tolist() == [1.0, 2.0]
