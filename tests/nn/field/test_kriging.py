"""Local kriging: the same numbers as a Gaussian process that is written out, and never the entry itself."""

import math

import numpy as np
import pytest
import torch

from stgate.nn.field.hiding import hide
from stgate.nn.field.kriging import BESIDE, NEIGHBOURS, Entries, LocalKriging, around_entries, nearest_observed


@pytest.fixture
def scene():
    """Values of five places at seven steps, with gaps; the neighbours of each place, and where it lies."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    values[torch.rand(values.shape, generator=generator) < 0.2] = math.nan
    position = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    near = torch.cdist(position, position).fill_diagonal_(math.inf).argsort(1)[:, :4]
    trend = torch.randn(5, 1, generator=generator, dtype=torch.float64)
    return values, near, position, trend


def gathered(values, near, position, trend, *, now=3):
    mine = torch.zeros_like(values, dtype=torch.bool)
    mine[:, now] = True
    entries = Entries(now, torch.arange(10) // 5, torch.arange(10) % 5)
    return around_entries(values, mine, entries, nearest_observed(values, entries, near), position, trend)


def test_an_estimate_is_that_of_the_gaussian_process_written_out(scene):
    around = gathered(*scene)
    kriging = LocalKriging(2, 1)
    mean, deviation = kriging(around)
    own = {name: p.detach().double().numpy() for name, p in kriging.named_parameters()}
    common, process, alone, noise = np.exp(own["variance"])
    relief = np.log1p(np.exp(own["relief"]))

    def covariance(a, b):
        apart = np.sqrt(((a["x"] - b["x"]) ** 2).sum() + (relief * (a["z"] - b["z"])) ** 2) / np.exp(own["length"])
        decay = np.exp(-abs(a["t"] - b["t"]) / np.exp(own["decay"]))
        mix = 1 / (1 + np.exp(-own["smooth"]))
        root = math.sqrt(3) * apart
        shape = mix * np.exp(-apart) + (1 - mix) * (1 + root) * np.exp(-root)
        trend = np.exp(own["slope"]) * a["z"] * b["z"]
        made = (common + trend) * decay[0] + process * shape * decay[1] + alone * (a["p"] == b["p"]) * decay[2]
        return float(np.squeeze(made))

    row = 6
    kept = torch.nonzero(around.there[row]).squeeze(1).tolist()
    points = [
        {
            "x": around.gap[row, i].numpy(),
            "z": around.trend[row, i].numpy(),
            "t": float(around.lag[row, i]),
            "p": int(around.place[row, i]),
        }
        for i in kept
    ]
    entry = {"x": np.zeros(2), "z": np.zeros(1), "t": 0.0, "p": row % 5}
    total = common + process + alone + noise
    inner = np.array([[covariance(a, b) for b in points] for a in points])
    inner += (noise + 1e-4 * total) * np.eye(len(points))
    cross = np.array([covariance(a, entry) for a in points])
    weight = np.linalg.solve(inner, cross)
    assert mean[row].item() == pytest.approx(weight @ around.values[row, kept].numpy(), abs=1e-4)
    assert deviation[row].item() == pytest.approx(math.sqrt(total - weight @ cross), abs=1e-4)


def test_an_entry_is_never_among_its_own_observations(scene):
    values, near, position, trend = scene
    kriging = LocalKriging(2, 1)
    before = kriging(gathered(values, near, position, trend))[0]
    values = values.clone()
    values[0, 3, 2] += 100
    after = kriging(gathered(values, near, position, trend))[0]
    changed = (before - after).abs() > 1e-6
    assert not changed[2] and changed[:5].sum() == 4 and not changed[5:].any()


def test_no_observation_is_counted_twice(scene):
    values, near, position, trend = scene
    around = gathered(values, near, position, trend)
    for row in range(10):
        kept = around.there[row]
        pairs = list(zip(around.place[row, kept].tolist(), around.lag[row, kept].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
    assert around.there.shape[1] <= NEIGHBOURS + 2 * (2 * BESIDE) + 2


def test_hiding_takes_whole_places_or_runs_around_the_entry():
    torch.manual_seed(0)
    values = torch.zeros(400, 9, 6, 1)
    own = hide(values, 4, 1, ["own"])
    assert own.new.all() and own.mine.all() and not own.values.isnan().any()
    gaps = hide(values, 4, 1, ["gaps"])
    assert not gaps.new.any() and gaps.mine[:, 4].all()
    lengths = gaps.mine.sum(1).float()
    assert lengths.min() == 1 and lengths.max() == 9
    assert 0 < gaps.values.isnan().float().mean() < 0.5
    late = hide(values, 4, 1, ["late"])
    assert late.values[:, 4:].isnan().all() and not late.values[:, :4].isnan().any()
