"""Statistics of single steps: over the whole of the training part, in whatever blocks it is read."""

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import make_data

from stgate.data import windows
from stgate.models.training.step_statistics import typical_change, whitening
from stgate.nn.patches import Patches

STEPS, NODES = 400, 6


def data_of(values):
    panel = xr.Dataset(
        {"u": (("time", "node"), values.astype("float32"))},
        {"time": np.arange(STEPS) * 0.5, "node": np.arange(NODES)},
        {"boundary": "periodic"},
    )
    return make_data(panel, targets=["u"], window=2, horizon=1, split=(1.0, 0.0, 0.0, 0.0))


def change(data, scale):
    return typical_change(data.series, data.parts.train, scale)


def gappy():
    values = np.random.default_rng(0).standard_normal((STEPS, NODES)).cumsum(0)
    values[np.random.default_rng(1).random(values.shape) < 0.1] = np.nan
    return values


@pytest.mark.parametrize("piece", [NODES, 7 * NODES, 10**6])
def test_the_usual_change_counts_every_pair_of_steps(piece, monkeypatch):
    monkeypatch.setattr(windows, "PIECE", piece)
    values = gappy()
    expected = np.sqrt(np.nanmean(np.diff(values, axis=0) ** 2)) / 2
    assert float(change(data_of(values), torch.tensor([2.0]))) == pytest.approx(expected, rel=1e-5)


def test_the_change_of_a_panel_that_never_shows_two_steps_on_end_is_one():
    values = gappy()
    values[::2] = np.nan
    assert float(change(data_of(values), torch.ones(1))) == 1.0


def whitened(data, every=1):
    patches = Patches(data.spec, 1, 1)
    seen = patches.surround(data.series.values[:, ::every]).flatten(0, 2).double()
    seen = seen[~seen.isnan().any(-1)]
    return whitening(data.series, data.parts.train, patches, torch.zeros(1), torch.ones(1), 0.0), seen


@pytest.mark.parametrize("piece", [NODES, 7 * NODES, 10**6])
def test_whitening_looks_at_the_whole_of_the_training_part(piece, monkeypatch):
    """Of a field whose spread doubles half way, evenly spread steps say what all of them together do."""
    monkeypatch.setattr(windows, "PIECE", piece)
    monkeypatch.setattr("stgate.models.training.step_statistics.ENOUGH", 1000)  # every second step
    values = np.random.default_rng(0).standard_normal((STEPS, NODES))
    values[STEPS // 2 :] *= 2
    whiten, seen = whitened(data_of(values), every=2)
    made = seen @ whiten.double()
    torch.testing.assert_close(made.T @ made / len(made), torch.eye(3, dtype=torch.float64), atol=1e-4, rtol=0.0)


def test_whitening_leaves_patches_with_a_gap_out():
    whiten, seen = whitened(data_of(gappy()))
    made = seen @ whiten.double()
    torch.testing.assert_close(made.T @ made / len(made), torch.eye(3, dtype=torch.float64), atol=1e-4, rtol=0.0)


def test_of_too_few_patches_whitening_is_the_identity():
    values = gappy()
    values[1:, [0, 3]] = np.nan  # one of them in every patch of three
    values[0, 1] = np.nan  # and at the first step, in three of six
    whiten, _ = whitened(data_of(values))
    assert torch.equal(whiten, torch.eye(3))
