"""Start of a field that corrects a kriging: transforms, climatology of places, covariance, and stations kept aside."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stgate.data.field_data import FieldData
from stgate.distributions.anomaly import Anomaly
from stgate.distributions.transforms import Power, Transform
from stgate.errors import PanelError
from stgate.inference.base import PointEstimate
from stgate.models.training.adoption import take_scales
from stgate.models.training.geometry import take_geometry
from stgate.models.training.transform_choice import TransformChoice, name_of
from stgate.nn.field.context_masking import MaskPattern
from stgate.prediction.field.kriged import KrigedFieldPredictor
from stgate.schema.batch import Batch

if TYPE_CHECKING:
    from stgate.data.window_data import WindowData

STEPS, TRIAL = 150, 50
"""Numbers of steps in which the covariance is fitted, for good and to compare transforms."""
ROWS = 512
"""Number of entries in a step."""
RATE = 0.1
"""Learning rate of the first step; it falls to a fiftieth."""
WITHHELD, FEWEST = 8, 8
"""One station in so many is kept aside to choose the best epoch, from so many stations on."""
LEVELS = torch.arange(1, 20, dtype=torch.float64) / 20
"""Quantile levels of the CRPS that compares transforms."""
SEED = 20_240_101


def withhold(predictor: KrigedFieldPredictor, data: WindowData) -> None:
    """Keep some stations aside: training does not fit their entries, and the best epoch is chosen by them.

    Args:
        predictor: A configured predictor.
        data: The data of the fit.
    """
    seen = torch.nonzero(_observed(data)).squeeze(-1)
    predictor.withheld.zero_()
    if len(seen) >= FEWEST:
        order = torch.randperm(len(seen), generator=torch.Generator().manual_seed(SEED))
        predictor.withheld[seen[order[: max(len(seen) // WITHHELD, 1)]]] = True


def start_kriging(predictor: KrigedFieldPredictor, data: WindowData, steps: int = STEPS) -> None:
    """Learn the climatology of places and the covariance from the training part.

    Args:
        predictor: A predictor with scales and geometry.
        data: The data of the fit.
        steps: Number of steps of the fit of the covariance.
    """
    predictor.forget_places()
    if predictor.anomaly is not None:
        sites = predictor.sites(predictor.ground.static)
        predictor.climate.fit(predictor.transform.state(predictor.anomaly), sites, _observed(data))
    parameters = list(predictor.kriging.parameters())
    was_training = predictor.training
    predictor.train()
    predictor.kriging.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for step, batch in enumerate(itertools.islice(_batches(data), steps)):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - step / steps) + RATE / 50
            found = _estimates(predictor, batch)
            if found is None:
                continue
            _, truth, mean, deviation = found
            loss = _crps(truth, mean, deviation)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if all(p.grad is None or torch.isfinite(p.grad).all() for p in parameters):
                optimizer.step()
    predictor.kriging.requires_grad_(False)
    predictor.train(was_training)


def choose_field_transforms(data: WindowData, patterns: Sequence[MaskPattern]) -> TransformChoice:
    """Choose transforms by the CRPS of the kriging of hidden entries with each of them, in the targets' units.

    The candidates are no transform, and anomalies of the values, of their square root and of their fourth root. A
    logarithm is not among them: the exponential of a Student t has no mean.

    Args:
        data: The data of the fit.
        patterns: Patterns by which entries are hidden.
    """
    scores: dict[str, float] = {}
    best: tuple[tuple[Transform, ...], float] = ((), math.inf)
    reference = math.inf
    chains: list[tuple[Transform, ...]] = [(), (Anomaly(),), (Power(0.5), Anomaly()), (Power(0.25), Anomaly())]
    for chain in chains:
        trial = KrigedFieldPredictor(
            width=4, depth=1, heads=1, inference=PointEstimate(), transforms=chain, context_masking=patterns
        )
        try:
            take_scales(trial, data)
        except PanelError:  # values that the transform does not take
            continue
        take_geometry(trial, data)
        withhold(trial, data)
        start_kriging(trial, data, TRIAL)
        found = _score(trial, data)
        if not chain:
            reference = found
        scores[name_of(chain)] = found / reference
        if found < best[1] * (1.0 if best[0] else 0.99):
            best = chain, found
    return TransformChoice(best[0], scores)


def _observed(data: WindowData) -> Tensor:
    """Return True for nodes that training observes, (node,)."""
    seen = torch.zeros(len(data.spec.nodes), dtype=torch.bool)
    for first, last in data.series.blocks(*data.parts.train):
        values = data.series.read(first, last)[..., : len(data.spec.targets)]
        seen |= (~torch.isnan(values)).any(-1).flatten(0, 1).any(0)
    return seen


def _batches(data: WindowData) -> Iterator[Batch]:
    """Yield training batches without end, in the order of the first epoch."""
    assert isinstance(data, FieldData)
    while True:
        yield from data.train_dataloader()


def _estimates(
    predictor: KrigedFieldPredictor, batch: Batch, most: int = ROWS
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Return rows of a batch, their encoded and standardised truth, and the kriging of these, (row, target) each."""
    encoded = predictor.encode(batch)
    rows = predictor.entries_of(encoded)
    if not len(rows):
        return None
    rows = rows[torch.randperm(len(rows))[:most]]
    found, *_, entries = predictor.around(encoded, 0, rows)
    made = [kriging(around) for kriging, around in zip(predictor.kriging, found, strict=True)]
    mean, deviation = (torch.stack(parts, -1) for parts in zip(*made, strict=True))
    if predictor.anomaly is not None:
        new = encoded["new"][entries.which].unsqueeze(-1)  # type: ignore[typeddict-item]
        error = predictor.climate.error[entries.place] / predictor.scaler.target_scale
        deviation = (deviation.square() + torch.where(new, error, 0.0).square()).sqrt()
    truth = predictor.now(encoded).flatten(0, 1)[rows]
    return rows, (truth - predictor.scaler.target_center) / predictor.scaler.target_scale, mean, deviation


def _crps(truth: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return the mean CRPS of normal distributions over the observed entries."""
    seen = ~torch.isnan(truth)
    z = torch.where(seen, truth - mean, 0.0) / deviation
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    loss = deviation * (z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return torch.where(seen, loss, 0.0).sum() / seen.sum().clamp(min=1)


def _score(predictor: KrigedFieldPredictor, data: WindowData, batches: int = 8) -> float:
    """Return the mean CRPS of the kriging of hidden entries in the targets' units, over the targets' scales."""
    total, count = 0.0, 0
    targets, unit = len(data.spec.targets), data.statistics().scale[: len(data.spec.targets)]
    predictor.train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED + 1)
        for batch in itertools.islice(_batches(data), 200, 200 + batches):
            state = torch.get_rng_state()
            found = _estimates(predictor, batch, 4 * ROWS)
            if found is None:
                continue
            rows, _, mean, deviation = found
            torch.set_rng_state(state)
            encoded = predictor.encode(batch)  # the same entries are hidden
            last = data.spec.window
            bound = predictor.bound(batch, batch["time"][:, last - 1 : last], encoded["new"])  # type: ignore
            truth = batch["past"][:, last - 1 : last, :, :targets]
            seen = ~torch.isnan(truth.flatten(0, 2)[rows])
            for level in LEVELS:
                made = torch.zeros_like(truth).flatten(0, 2)
                z = (mean + deviation * torch.special.ndtri(level)).to(made)
                made[rows] = z * predictor.scaler.target_scale + predictor.scaler.target_center
                quantile = bound.decode(made.view_as(truth)).flatten(0, 2)[rows]
                miss = (truth.flatten(0, 2)[rows] - quantile) / unit
                loss = 2 * torch.maximum(level * miss, (level - 1) * miss)
                total += float(loss[seen].sum()) / len(LEVELS)
            count += int(seen.sum())
    return total / max(count, 1)
