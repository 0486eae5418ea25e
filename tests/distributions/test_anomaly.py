"""Anomalies: the climatology is found where it is there, shared where nodes are alike, and not made of noise."""

import numpy as np
import pytest
import torch
from helpers import TrainingRows, transform_spec

from stgate.distributions import Anomaly

DAY = 86_400.0


def climatology(values, step=DAY, transform=None, nodes=None):
    """The climatology (time, node) and the scale (node,) that are learned from values (time, node)."""
    names = tuple(map(str, range(values.shape[1])))
    part = TrainingRows(torch.from_numpy(values).float()[None, :, :, None], transform_spec(step, nodes=names))
    transform = transform or Anomaly()
    given = transform.bind(transform.learn(part), part.time[None])[0, :, :, 0]
    return given[..., 0].numpy(), given[0, :, 1].numpy()


def yearly(times, amplitude, phase):
    return amplitude * np.sin(2 * np.pi * times[:, None] / 365.2425 + phase)


def test_levels_and_seasons_of_different_nodes_are_found():
    rng, times = np.random.default_rng(0), np.arange(1500.0)
    truth = np.array([0.0, 5.0, -3.0]) + yearly(times, np.array([1.0, 4.0, 2.0]), np.array([0.0, 1.0, 2.0]))
    values = truth + rng.standard_normal(truth.shape) * np.array([0.5, 1.0, 2.0])
    values[rng.random(values.shape) < 0.3] = np.nan
    found, scale = climatology(values)
    assert np.abs(found - truth).mean() < 0.15
    np.testing.assert_allclose(scale, [0.5, 1.0, 2.0], rtol=0.08)


def test_a_season_that_all_nodes_share_is_found_at_a_node_of_few_observations():
    rng, times = np.random.default_rng(1), np.arange(1500.0)
    truth = np.linspace(-2, 2, 12) + yearly(times, 3.0, 0.5)
    values = truth + rng.standard_normal(truth.shape)
    values[60:, 0] = np.nan
    found, _ = climatology(values)
    assert np.abs(found[:, 0] - truth[:, 0]).mean() < 0.5


def test_of_many_nodes_some_choose_how_far_all_are_shrunk(monkeypatch):
    rng, times = np.random.default_rng(4), np.arange(1500.0)
    truth = np.linspace(-2, 2, 12) + yearly(times, np.linspace(1, 3, 12), 0.5)
    values = truth + rng.standard_normal(truth.shape)
    values[rng.random(values.shape) < 0.2] = np.nan
    whole, scales = climatology(values)
    monkeypatch.setattr("stgate.distributions.anomaly.MOST", 4 * 41**2 * 4)  # four nodes
    monkeypatch.setattr("stgate.distributions.anomaly.TOGETHER", 5 * 17**2)  # they are solved in pieces
    found, scale = climatology(values)
    np.testing.assert_allclose(found, whole, atol=0.02)
    np.testing.assert_allclose(scale, scales, atol=0.002)
    assert np.abs(found - truth).mean() < 0.15


def test_a_node_without_any_observation_takes_the_mean_over_nodes():
    values = np.random.default_rng(2).standard_normal((800, 4)) + 7
    values[:, 3] = np.nan
    found, scale = climatology(values)
    assert found[:, 3] == pytest.approx(7, abs=0.2) and scale[3] == pytest.approx(1, abs=0.1)
    assert np.isfinite(found).all()


def test_noise_makes_no_climatology():
    values = np.random.default_rng(3).standard_normal((900, 10))
    found, scale = climatology(values)
    assert found.std() < 0.1
    np.testing.assert_allclose(scale, 1, atol=0.1)


def test_a_season_is_left_out_unless_the_training_part_holds_it_twice():
    times = np.arange(500.0)
    values = yearly(times, 3.0, 0.0) + np.random.default_rng(4).standard_normal((500, 3)) * 0.1
    found, _ = climatology(values)
    assert np.abs(np.diff(found, axis=0)).max() < 0.1  # no year: the level and the week only
    asked, _ = climatology(values, transform=Anomaly(by=["yearday"]))
    assert np.abs(asked - yearly(times, 3.0, 0.0)).mean() < 0.2


def test_the_daily_cycle_changes_with_the_season():
    times = np.arange(3 * 366 * 8) / 8.0
    day, year = np.sin(2 * np.pi * times), np.sin(2 * np.pi * times / 365.2425)
    truth = (2 * day * (1 + 0.5 * year))[:, None] * np.ones(2)
    values = truth + np.random.default_rng(5).standard_normal(truth.shape)
    found, _ = climatology(values, step=DAY / 8)
    assert np.abs(found - truth).mean() < 0.1


def test_by_an_empty_list_and_in_model_time_there_are_levels_only():
    values = np.random.default_rng(6).standard_normal((300, 2)) + np.array([0.0, 9.0])
    found, _ = climatology(values, transform=Anomaly(by=[]))
    assert (np.diff(found, axis=0) == 0).all()
    np.testing.assert_allclose(found[0], [0, 9], atol=0.25)
