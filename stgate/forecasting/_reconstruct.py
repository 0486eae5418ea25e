"""Reconstruct: what a fitted field says of a panel's own times and nodes, gaps and new places among them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate.data.history import History, Progress
from stgate.data.windows import to_device
from stgate.distributions.mixture import Mixture
from stgate.errors import ForecastError, RequestError
from stgate.forecasting.dataset import attributes_of
from stgate.io import store
from stgate.prediction.field import FieldPredictor
from stgate.prediction.intervals import quantiles_of_forecast
from stgate.prediction.predictor import Predictor, deviations, evaluation_mode
from stgate.prediction.registry import Model, predictor_of
from stgate.schema.batch import Batch
from stgate.schema.forecast import PARTS, quantiles_of


def reconstruct(
    model: Model,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    levels: Sequence[float] = (0.5, 0.9),
    start: str | float | None = None,
    end: str | float | None = None,
    progress: Progress | None = None,
    max_memory: float | None = None,
) -> xr.Dataset:
    """The distribution of every entry of a panel as a field sees it, observed or not, at old stations and new.

    A field with context sees what else was observed at the same and earlier times, never the entry itself: where the
    panel observes it, it is the truth to be scored against. Intervals are those of the field's own distribution, or
    calibrated ones, see `stgate.calibrate_reconstruction`.

    Args:
        model: A fitted `CGLUBNF` or `BayesNF`, or a checkpoint's path.
        panel: A panel, or the path of one, with the variables that it was fitted on; its nodes may be others.
        levels: Central-interval levels.
        start: The first time. None: the first that has the context.
        end: The last time; a date means its last step. None: the panel's end.
        progress: Called with (times done, times in all).
        max_memory: As in `stgate.forecast`.

    Returns:
        Over (member?, time, node): each target over `quantile`, its `_mean`, and its `_truth` where it is observed. Of
        a field with context also the coordinate `steps_since_observed`, by which `stgate.evaluate` keeps entries apart
        whose node was observed one step before: 0 where it was. Times that lack the context are left out, as the
        attribute `left_out` says.

    Raises:
        RequestError: The forecaster is no field, or its calibration lacks a level.
        PanelError: The panel does not fit it.
        ForecastError: No time has the context.
    """
    field = field_of(predictor_of(model))
    history = History.of(panel, field.fitted_spec, max_memory, regular=field.fitted_spec.window > 1)
    rows = rows_of(history, start, end)
    quantiles = quantiles_of(levels)
    made: list[dict[str, torch.Tensor]] = []
    with evaluation_mode(field):
        for batch in history.batches(rows, progress):
            made.append(_of_batch(field, to_device(batch, field.device), quantiles))
    result = _assembled(field, history, rows, made, quantiles)
    left_out = int(rows[0]) - (0 if start is None else history.row(start, "start"))
    if left_out:
        result.attrs["left_out"] = f"{left_out} steps at the start, which lack the context of {history.spec.window}"
    return result


def field_of(predictor: Predictor) -> FieldPredictor:
    """Return a predictor that is a field.

    Raises:
        RequestError: The predictor is of another kind.
    """
    if not isinstance(predictor, FieldPredictor):
        raise RequestError(f"{predictor.name}: forecasts from windows and reconstructs nothing; fit a CGLUBNF")
    return predictor


def rows_of(history: History, start: str | float | None, end: str | float | None) -> NDArray[np.int64]:
    """The rows from start to end that have the context.

    Raises:
        RequestError: A time outside the panel, or the end lies before the start.
        ForecastError: There is none.
    """
    window = history.spec.window
    first = window - 1 if start is None else max(history.row(start, "start"), window - 1)
    last = history.steps - 1 if end is None else history.row(end, "end", last=True)
    if start is not None and end is not None and last < history.row(start, "start"):
        raise RequestError(f"the end {end} lies before the start {start}; exchange them")
    rows = np.arange(first, last + 1)
    if len(rows) == 0:
        raise ForecastError(f"no time up to {history.times[last]} has {window} steps of context; give more history")
    return rows


def steps_before(batch: Batch) -> torch.Tensor:
    """Steps since each node was observed before the last one of each window (batch, node); 1 without context."""
    since = batch["since"]
    return since[:, -2].amin(-1) + 1 if since.shape[1] > 1 else torch.ones_like(since[:, -1, :, 0])


def _of_batch(model: FieldPredictor, batch: Batch, quantiles: Sequence[float]) -> dict[str, torch.Tensor]:
    made = model.reconstruction(batch)
    parts = deviations(made) if isinstance(made, Mixture) else {}
    bounds = quantiles_of_forecast(made, model.reconstruction_calibration, steps_before(batch), quantiles)
    values = {
        "quantiles": bounds.clamp(min=model.likelihood.lowest),
        "mean": made.mean,
        "truth": batch["past"][:, -1:, :, : len(model.fitted_spec.targets)],
        **parts,
    }
    made_of = {name: value[:, 0].cpu() for name, value in values.items()}
    return {**made_of, "since": steps_before(batch).cpu() - 1, "origin": batch["origin"].cpu()}


def _assembled(
    model: FieldPredictor,
    history: History,
    rows: NDArray[np.int64],
    made: Sequence[dict[str, torch.Tensor]],
    quantiles: Sequence[float],
) -> xr.Dataset:
    spec, frame = model.fitted_spec, history.frame
    joined = {name: torch.cat([part[name] for part in made]).numpy() for name in made[0]}
    members, single = frame.sizes.get("member", 1), "member" not in frame.dims
    dims = ("time", "node") if single else ("member", "time", "node")
    order = np.lexsort((joined["origin"][:, 1], joined["origin"][:, 0]))

    def shaped(values: NDArray[Any]) -> NDArray[Any]:
        values = values[order].astype("float32")
        return values if single else values.reshape(members, len(rows), *values.shape[1:])

    variables: dict[str, Any] = {}
    for i, name in enumerate(spec.targets):
        attrs = {"units": spec.units.get(name, "")}
        variables[name] = ((*dims, "quantile"), shaped(joined["quantiles"][:, :, i]), attrs)
        for part in ("mean", "truth", *(p for p in PARTS if p in joined)):
            said = {**attrs, "long_name": PARTS[part]} if part in PARTS else attrs
            variables[f"{name}_{part}"] = (dims, shaped(joined[part][:, :, i]), said)
    coords: dict[Any, Any] = {n: c for n, c in frame.coords.items() if "time" not in c.dims}
    if spec.window > 1:
        said = {"long_name": "steps since any target was observed, one step before"}
        coords["steps_since_observed"] = dims, shaped(joined["since"]).astype("int32"), said
    time = ("time", history.times[rows], frame["time"].attrs)
    attrs = {
        **attributes_of(model, "reconstruction", model.reconstruction_calibration),
        "history": store.history("reconstruct"),
    }
    return xr.Dataset(variables, {**coords, "time": time, "quantile": ("quantile", list(quantiles))}, attrs)
