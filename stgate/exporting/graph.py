"""The graph that is exported: raw windows in, calibrated quantiles and means out."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from stgate.exporting.clock import calendar_of, times_of
from stgate.inference.members import Members
from stgate.inference.variational import Posteriors
from stgate.prediction.field.kriged import KrigedFieldPredictor
from stgate.prediction.field.predictor import FieldPredictor
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch

TRIED = 3
"""Number of windows in the batch with which a graph is traced and checked."""
YEARS = 1.6e9
"""Time of the first traced window, in seconds since 1970."""


class WindowGraph(nn.Module):
    """Quantiles and means of a predictor, from as little as a caller has; the rest of a batch is computed inside.

    Args:
        predictor: A fitted predictor; it is copied.
        quantiles: Quantile levels, ascending, 0.5 among them.
        places: The static covariates of a panel, (node, static), and which of its nodes observe anything, (node,); the
            graph then holds them. None asks the caller for the static covariates, if there are any.
    """

    def __init__(
        self, predictor: Predictor, quantiles: Sequence[float], places: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.predictor = copy.deepcopy(predictor).cpu().eval()
        self.spec, self.quantiles = predictor.fitted_spec, tuple(quantiles)
        nodes = len(self.spec.nodes) if places is None else len(places[0])
        self.shape = nodes, len(self.spec.targets)
        static, ever = places or (torch.zeros(nodes, 0), torch.ones(nodes, dtype=torch.bool))
        self.asks_static = bool(self.spec.static_covariates) and places is None
        self.static, self.ever = static, ever
        for module in self.predictor.modules():
            if isinstance(module, Members):  # one pass for all is not traced
                module.take_turns()
            if isinstance(module, Posteriors):  # always the same draws
                module.drawn = functools.partial(dict, module.drawn())  # type: ignore[method-assign]
        if isinstance(self.predictor, FieldPredictor):
            _fix_places(self.predictor, static, ever)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        future = ("future",) if self.spec.future_covariates else ()
        return ("past", "time", "since", *future, *(("static",) if self.asks_static else ()))

    def forward(self, past: Tensor, time: Tensor, since: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        """Forecast raw windows.

        Args:
            past: (batch, window, node, channel), NaN where missing; channels as in `PanelSpec.channels`.
            time: (batch,), time of the last step: seconds since 1970, or model time; float64.
            since: (batch, node, target), steps since the target was last observed, at the step before the window.
            *more: Future covariates, (batch, lead, node, future covariate), and static covariates, (node, static
                covariate), where these are inputs.

        Returns:
            Quantiles, (batch, lead, node, target, quantile), and means, (batch, lead, node, target).
        """
        made = self.predictor.predict(self.batch(past, time, since, *more), self.quantiles)
        return made["quantiles"], made["mean"]

    def batch(self, past: Tensor, time: Tensor, since: Tensor, *more: Tensor) -> Batch:
        """Return the batch of some windows, with the same arguments as `forward`."""
        spec, given = self.spec, dict(zip(self.inputs[3:], more, strict=True))
        nodes, targets = self.shape
        times = times_of(time, spec)
        features, cells = calendar_of(times, spec)
        seen, rows = past[..., :targets], torch.arange(spec.window, dtype=past.dtype).view(1, -1, 1, 1)
        last = torch.where(torch.isnan(seen), -1.0 - since.unsqueeze(1), rows).cummax(1).values
        size = past.shape[0]
        made = {
            "past": past,
            "since": rows - last,
            "past_calendar": features[:, : spec.window],
            "past_cell": cells[:, : spec.window],
            "future": given.get("future", past.new_zeros(size, spec.horizon, nodes, 0)),
            "future_calendar": features[:, spec.window :],
            "future_cell": cells[:, spec.window :],
            "time": times,
            "static": given.get("static", self.static),
            "ever": self.ever,
            "target": past.new_full((size, spec.horizon, nodes, targets), math.nan),
            "origin": torch.zeros((size, 2), dtype=torch.int64),
        }
        if spec.ahead:
            made["after"] = past.new_full((size, spec.ahead, nodes, targets), math.nan)
        return cast(Batch, made)

    def example(self, size: int = TRIED, seed: int = 0) -> tuple[Tensor, ...]:
        """Return inputs with plausible values and gaps, for tracing and for a check.

        Args:
            size: Number of windows.
            seed: Seed of the values.
        """
        spec, scaler = self.spec, self.predictor.scaler
        generator = torch.Generator().manual_seed(seed)

        def drawn(steps: int, first: int) -> Tensor:
            center, scale = scaler.center[first:], scaler.scale[first:]
            noise = torch.randn((size, steps, self.shape[0], len(center)), generator=generator)
            return center + scale * noise

        past = drawn(spec.window, 0)
        past[torch.rand(past.shape, generator=generator) < 0.2] = math.nan
        step = spec.months * 31 * 86_400 if spec.months else spec.step
        start = YEARS if spec.time == "calendar" else 0.0
        time = start + step * torch.arange(size, dtype=torch.float64)
        made = [past, time, torch.zeros(size, *self.shape)]
        if spec.future_covariates:
            made.append(drawn(spec.horizon, len(spec.channels) - len(spec.future_covariates)))
        if self.asks_static:
            noise = torch.randn((self.shape[0], len(spec.static_covariates)), generator=generator)
            made.append(scaler.static_center + scaler.static_scale * noise)
        return tuple(made)


def _fix_places(predictor: FieldPredictor, static: Tensor, ever: Tensor) -> None:
    """Let a field take the tables of these places for those of each batch: they are searched for once."""
    bounds = predictor.bounds
    if bounds is not None:
        static = static.clamp(bounds.low[-static.shape[1] :], bounds.high[-static.shape[1] :])
    tables = predictor.neighbourhoods.of(static, ever)
    predictor.neighbourhoods.of = lambda *_: tables  # type: ignore[method-assign]
    if isinstance(predictor, KrigedFieldPredictor) and predictor.kriged:
        found = predictor.places_of(static, ever)
        predictor.places_of = lambda *_: found  # type: ignore[method-assign]
