"""Adoption of a panel by a new fit: the forecaster takes spec and scales from a data module."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import torch
from torch import Tensor

from stgate.data.bounds import CovariateBounds, watched
from stgate.data.climatology import cell_means
from stgate.data.encoded import EncodedSeries
from stgate.data.scaling import Moments, Statistics
from stgate.data.support import check_support
from stgate.data.window_data import WindowData
from stgate.distributions.anomaly import Anomaly
from stgate.distributions.difference import Difference
from stgate.distributions.likelihoods import Quantiles
from stgate.distributions.transforms import Transform
from stgate.errors import FitWarning, RequestError
from stgate.models.closed_form.regression import ROWS, fit_linear, fit_spread, tail_ratio, thinned
from stgate.models.training.targets import TrainingTargets
from stgate.models.training.transform_choice import choose_transforms
from stgate.nn.imputation import Climatology
from stgate.nn.linear import LinearTable
from stgate.panels.graph import Graph
from stgate.panels.own_graph import find_graph, graph_of
from stgate.prediction.checkpoint import difference
from stgate.prediction.predictor import Predictor

if TYPE_CHECKING:
    from stgate.models.forecaster import Forecaster


def check_data(forecaster: Forecaster, data: L.LightningDataModule | None) -> WindowData:
    """Refuse data that a forecaster cannot be fitted on.

    Args:
        forecaster: A forecaster.
        data: A data module, or None where the trainer has none.

    Raises:
        RequestError: The data module is of another kind.
    """
    name, wanted = type(forecaster).__name__, forecaster.data_class
    if not isinstance(data, wanted) or not isinstance(data, WindowData):
        raise RequestError(f"{name} takes its panel from a {wanted.__name__}: pass datamodule={wanted.__name__}(…)")
    if forecaster.spec is not None:
        data.follow(forecaster.spec)
    if data.spec.places and wanted is WindowData:
        raise RequestError(f"{name} forecasts from windows, not from a {type(data).__name__}: pass a WindowData")
    return data


def take_scales(predictor: Predictor, data: WindowData) -> None:
    """Give a new predictor the spec and the scales of the training part.

    Args:
        predictor: A predictor that has not seen a panel.
        data: The data that it is to be fitted on.

    Raises:
        RequestError: The likelihood does not allow values of the data.
    """
    raw = statistics = data.statistics()
    if predictor.transforms_option == "auto" and not predictor.transforms_report:
        predictor.transforms, predictor.transforms_report = automatic_transforms(predictor, data)
    if predictor.has_linear:
        check_leads(data)
    graph = neighbours_of(predictor, data)
    directed = graph is not None and "edge_source" in data.panel and not is_symmetric(graph)
    predictor.directions = 0 if graph is None else 2 if directed else 1  # nearest nodes have no direction
    predictor.adapt(raw.observed, len(data.spec.nodes))
    predictor.configure(data.spec)
    if graph is not None and predictor.node_inputs.edges is not None:
        predictor.node_inputs.edges.fill(graph)
    series = predictor.encoded_series(data.series)
    if isinstance(series, EncodedSeries):
        predictor.transform.learn(TrainingTargets(data))
        statistics = Statistics.of_blocks(series, data.spec, data.parts.train)
        statistics = dataclasses.replace(statistics, node_scale=raw.node_scale)  # the unit of scores
    predictor.likelihood.check(data.spec.targets, statistics.least, statistics.whole)
    check_later_parts(predictor, data)
    if predictor.knows_nodes:
        predictor.node_inputs.statistics.copy_(node_statistics(predictor, data))
    predictor.n_observations = statistics.observed
    predictor.range = [(low, high) for low, high in zip(raw.least.tolist(), raw.most.tolist(), strict=True)]
    predictor.bounds = CovariateBounds.of(data.spec, statistics, data.series.static)
    warn_of_constants(predictor.bounds, data)
    scaler = predictor.scaler
    for name in ("center", "scale", "static_center", "static_scale", "node_scale"):
        getattr(scaler, name).copy_(getattr(statistics, name))
    if predictor.transform.of_window:
        scale_windows(predictor, data)
    if isinstance(scaler.imputation, Climatology):
        means = cell_means(series, data.spec, data.parts.train)
        scaler.imputation.means.copy_((means - statistics.center) / statistics.scale)
    if predictor.linear is not None:
        fit_linear(predictor.linear.linear, predictor, data, rows=ROWS)
        fit_spread(predictor.linear, predictor, data, None, rows=ROWS)
        if predictor.chooses_likelihood:
            choose_likelihood(predictor, predictor.linear, data)


def warn_of_constants(bounds: CovariateBounds, data: WindowData) -> None:
    """Warn of covariates that never change in the training part but do later.

    Args:
        bounds: The ranges of the covariates in the training part.
        data: The data of the fit.
    """
    series, channels = data.series, data.spec.channels
    constant = {place for place, name in enumerate(channels) if _is_constant(bounds.ranges.get(name))}
    for first, last in series.blocks(data.parts.train[1], len(series.clock.time)):
        if not constant:
            return
        values = series.read(first, last)
        for place in sorted(constant):
            low, _ = bounds.ranges[channels[place]]
            if bool(((values[..., place] < low) | (values[..., place] > low)).any()):
                constant.remove(place)
                warnings.warn(
                    f"`{channels[place]}`: is {low:g} throughout the training part and changes later: its effect is "
                    "not learned; give a training part in which it varies, or leave it out",
                    FitWarning,
                    stacklevel=2,
                )


def _is_constant(ends: tuple[float, float] | None) -> bool:
    return ends is not None and ends[0] == ends[1]


def check_again(predictor: Predictor, data: WindowData) -> None:
    """Refuse data that are not those of a predictor's fit, or that its likelihood does not suit.

    Args:
        predictor: A fitted predictor.
        data: The data of a validation, a test or a fit that goes on.

    Raises:
        RequestError: The spec differs, or a value has no density.
    """
    if predictor.fitted_spec != data.spec:
        raise RequestError(difference(predictor.fitted_spec, data.spec))
    check_later_parts(predictor, data)


def check_later_parts(predictor: Predictor, data: WindowData) -> None:
    """Refuse values after the training part to which the likelihood gives no density; warn where a transform has none.

    Args:
        predictor: A predictor that has learned its transforms.
        data: The data of a fit, a validation or a test.

    Raises:
        RequestError: There is such a value; the message names its target, time, node and part.
    """
    series, times = predictor.encoded_series(data.series), data.panel["time"].values
    for part, rows in data.parts._asdict().items():
        if part != "train":
            check_support(predictor.likelihood, series, data.spec, times, rows, f"{part} part")
    if predictor.transform.limited:
        with watched(predictor.transform):
            for first, last in series.blocks(data.parts.train[1], len(times)):
                series.read(first, last)


@torch.no_grad()
def scale_windows(predictor: Predictor, data: WindowData) -> None:
    """Scale the targets by their differences in the training windows: those of rows are from the training mean.

    Args:
        predictor: A predictor with scales and transforms.
        data: The data of the fit.
    """
    moments, targets = Moments(), len(data.spec.targets)
    for batch in thinned(data, ROWS):
        encoded = predictor.encode(batch)
        moments.add(torch.cat([encoded["past"][..., :targets], encoded["target"]], 1).flatten(0, 2))
    stddev = (moments.squares / moments.count.clamp(min=1)).sqrt()
    predictor.scaler.center[:targets] = moments.mean
    predictor.scaler.scale[:targets] = torch.where(stddev > 0, stddev, 1.0)


LONG_TAILS = 0.72
"""Mean absolute error in standard deviations below which errors have long tails; it is 0.798 for normal ones."""
LEVELS = (0.5, 0.8, 0.95)
"""Central intervals whose bounds are fitted where tails are long, beside the median."""


ATOM = 0.1
"""Share of the observed values that are the least one, such as zero, from which on quantiles are not taken."""


def choose_likelihood(predictor: Predictor, linear: LinearTable, data: WindowData) -> None:
    """Give a network quantiles where the errors of its linear part have long tails, as those of speeds in a jam have.

    The few large errors would rule a normal likelihood. Elsewhere it learns more from the same data than quantiles do,
    also where tails are long because many values are zero.

    Args:
        predictor: A predictor whose linear part is fitted; its network may be built anew.
        linear: The linear part.
        data: The data of the fit.
    """
    ratio = tail_ratio(linear, predictor, data, ROWS)
    if ratio < LONG_TAILS and share_of_least(data) < ATOM:
        predictor.take_likelihood(Quantiles(LEVELS))
        predictor.likelihood_report = (
            f"likelihood: Quantiles (the errors of the linear part have long tails: mean absolute error {ratio:.2f} "
            "standard deviations, 0.80 for normal ones); another one by --model.likelihood"
        )


def share_of_least(data: WindowData) -> float:
    """Return the share of the observed training values that are the least one; the largest share of any target.

    Args:
        data: The data of the fit.
    """
    least = data.statistics().least
    equal = count = torch.zeros(len(least))
    for values, _ in TrainingTargets(data).blocks():
        equal = equal + (values == least).sum((0, 1, 2))
        count = count + (~values.isnan()).sum((0, 1, 2))
    return float((equal / count.clamp(min=1)).max())


def automatic_transforms(predictor: Predictor, data: WindowData) -> tuple[tuple[Transform, ...], str]:
    """Choose the transforms of `transforms="auto"`, with the choice in one line.

    Args:
        predictor: A predictor that has not seen a panel.
        data: The data that it is to be fitted on.
    """
    if predictor.rolls_out:
        return (), ""
    if predictor.likelihood.support != "real":
        kind = type(predictor.likelihood).__name__
        return (), f"transforms: none (the likelihood {kind} describes the targets as they are)"
    choice = choose_transforms(data)
    return choice.transforms, choice.report


NEAREST = 8
"""Number of nearest nodes that are neighbours where a panel has no edges."""
SHRINK = 20
"""Number of observations that the mean over nodes counts in the statistics of each node."""


def neighbours_of(predictor: Predictor, data: WindowData) -> Graph | None:
    """Return the graph over which neighbours are averaged; None for no means over neighbours.

    Args:
        predictor: A predictor.
        data: The data that it is to be fitted on.

    Raises:
        RequestError: The graph is required, and the panel has neither edges nor coordinates.
    """
    if predictor.neighbour_means == "none" or predictor.rolls_out:
        return None
    if predictor.neighbour_means == "graph":
        return graph_of(data.panel, NEAREST, "neighbour_means graph")
    return find_graph(data.panel, NEAREST)


def is_symmetric(graph: Graph) -> bool:
    """Return True if each edge has one in the other direction, of the same weight."""
    forth = {(s, t): w for s, t, w in zip(graph.source.tolist(), graph.target.tolist(), graph.weight, strict=True)}
    return all(abs(forth.get((t, s), np.inf) - w) <= 1e-6 * abs(w) for (s, t), w in forth.items())


def node_statistics(predictor: Predictor, data: WindowData) -> Tensor:
    """Return each target's mean and standard deviation at each node, standardised over nodes: (node, 2 * target).

    They are those of the transformed targets, before anomalies or differences, which have the same at all nodes.

    Args:
        predictor: A predictor that has learned its transforms.
        data: The data of the fit.
    """
    count = next((i for i, t in enumerate(predictor.transforms) if isinstance(t, Anomaly | Difference)), None)
    moments = Moments()
    for values, time in TrainingTargets(data).blocks():
        moments.add(predictor.transform.encode_rows(values, time, count).flatten(0, 1))
    known = moments.count.clamp(min=1)
    pooled = (moments.mean * moments.count).sum(0) / moments.count.sum(0)
    mean = (moments.mean * moments.count + SHRINK * pooled) / (known + SHRINK)
    variance = (moments.squares + SHRINK * moments.squares.sum(0) / moments.count.sum(0)) / (known + SHRINK)
    both = torch.stack([mean, variance.sqrt()], -1).flatten(1)
    spread = both.std(0, unbiased=False)
    return ((both - both.mean(0)) / torch.where(spread > 0, spread, 1.0)).float()


def check_leads(data: WindowData) -> None:
    """Refuse training windows of fewer leads than the horizon, for a forecaster that forecasts all leads at once.

    Args:
        data: The data that the forecaster is to be fitted on.

    Raises:
        RequestError: The leads are fewer.
    """
    if data.train_horizon < data.horizon:
        raise RequestError(
            f"train_horizon {data.train_horizon}: all {data.horizon} leads are forecast at once; leave it out"
        )
