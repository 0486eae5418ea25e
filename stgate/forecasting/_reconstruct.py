"""Reconstruct: the distribution of every entry of a panel under a fitted field, also of gaps and new places."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate._version import __version__
from stgate.data.history import History, Progress
from stgate.data.windows import to_device
from stgate.errors import ForecastError, RequestError
from stgate.forecasting.dataset import attributes_of
from stgate.forecasting.identity import calibration_of
from stgate.forecasting.tally import Tally
from stgate.io import store
from stgate.io.cluster import check_store_options
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.field.predictor import FieldPredictor
from stgate.prediction.intervals import quantiles_of_forecast
from stgate.prediction.loading import Model, predictor_of
from stgate.prediction.prediction import deviations
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch
from stgate.schema.forecast import PARTS
from stgate.schema.levels import as_levels, levels_of, quantiles_of


def reconstruct(
    model: Model,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    levels: Sequence[float] = (0.5, 0.9),
    start: str | float | None = None,
    end: str | float | None = None,
    progress: Progress | None = None,
    max_memory: float | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dask: str | None = None,
    history: str | None = None,
) -> xr.Dataset:
    """Reconstruct every entry of a panel by a fitted field: observed entries, gaps, and new stations.

    A field with context sees the other observations at the same and earlier times, never the entry itself; an observed
    entry is returned as the truth to score against. Intervals are those of the field's own distribution, or calibrated
    ones after `stgate.calibrate_reconstruction`.

    Args:
        model: A fitted `CGLUBNF` or `BayesNF`, or a checkpoint's path.
        panel: A panel, or the path of one, with the variables that the field was fitted on; its nodes may differ.
        levels: Central-interval levels.
        start: The first time. None: the first that has the context.
        end: The last time; a date without an hour means its last step. None: the panel's end.
        progress: A function called with the number of windows done and the total.
        max_memory: Megabytes that the panel's tensors may take; half of the free memory when None. A larger .zarr store
            is read in blocks.
        out: Path of a .zarr store to write to, in blocks of times; nothing of the result is then held in memory.
        overwrite: Replace an existing `out`.
        resume: Continue the stopped run of `out`; it ends in the same bytes.
        dask: `local:N` for N processes of this machine, or the address of a dask scheduler, whose workers make the
            blocks of `out`; model and panel must then be paths.
        history: Line for the attribute `history`.

    Returns:
        A dataset over (member?, time, node): each target over `quantile`, its `_mean`, and its `_truth` where it is
        observed. A field with context adds the coordinate `steps_since_observed`, counted one step before the entry (0:
        the node was observed there), by which `stgate.evaluate` groups entries. Times without the full context are left
        out; the attribute `left_out` gives their number. Opened lazily if `out` is given.

    Raises:
        RequestError: The forecaster is not a field, or its calibration lacks a level.
        PanelError: The panel does not fit the field.
        ForecastError: No time has the context.
        StoreError: `out` cannot be written, or holds a stopped run.
    """
    check_store_options(out, overwrite=overwrite, resume=resume, dask=dask)
    given: dict[str, Any] = {"levels": tuple(as_levels(levels)), "start": start, "end": end}
    plan = plan_reconstruction(model, panel, max_memory=max_memory, **given)
    line = history or store.history("reconstruct")
    if out is not None:
        from stgate.forecasting.in_blocks import Job, to_store  # zarr takes a while to import

        job = Job(plan_reconstruction, model, panel, given)
        return to_store(plan, job, out, overwrite=overwrite, resume=resume, dask=dask, history=line, progress=progress)
    field, parts = plan.model, []
    with evaluation_mode(field):
        for batch in plan.history.batches(plan.predicted, progress):
            parts.append(_reconstruct_batch(field, to_device(batch, field.device), plan.quantiles))
    return plan.dataset(parts).assign_attrs(history=line)


def plan_reconstruction(
    model: Model,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    levels: Sequence[float],
    start: str | float | None,
    end: str | float | None,
    max_memory: float | None,
) -> Reconstruction:
    """Choose the times of a reconstruction; its options are those of `reconstruct`."""
    field = field_of(predictor_of(model))
    history = History.of(panel, field.fitted_spec, max_memory, regular=field.fitted_spec.window > 1)
    rows = rows_of(history, start, end)
    left_out = int(rows[0]) - (0 if start is None else history.row(start, "start"))
    return Reconstruction(field, history, rows, quantiles_of(levels), left_out)


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """A reconstruction whose times are chosen: any block of them can be made by itself.

    Attributes:
        model: The field.
        history: The panel.
        predicted: Rows of the times, ascending.
        quantiles: Quantile levels, ascending.
        left_out: Number of steps before the first of them that were asked for, and lack the context.
    """

    model: FieldPredictor
    history: History
    predicted: NDArray[np.int64]
    quantiles: Sequence[float]
    left_out: int

    verb = "reconstruct"
    dim = "time"
    before = 0

    @property
    def members(self) -> int:
        """Number of members of the panel."""
        return int(self.history.frame.sizes.get("member", 1))

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one time of the result."""
        spec = self.history.spec
        return 4 * self.members * len(spec.nodes) * len(spec.targets) * (len(self.quantiles) + 2)

    def intervals(self) -> None:
        """Return None: no interval depends on another time's."""

    def instead(self, first: int, stop: int) -> tuple[None, None]:
        """Return nothing: only online intervals have errors."""
        return None, None

    def identity(self) -> dict[str, Any]:
        """Return what determines the bytes of the result, by name."""
        times = self.history.times[self.predicted[[0, -1]]]
        return {
            "weights": self.model.fingerprint(),
            "checkpoint": calibration_of(self.model),
            "panel": self.history.digest(),
            "from": str(times[0]),
            "to": str(times[1]),
            "levels": ", ".join(f"{level:g}" for level in levels_of(self.quantiles)),
            "stgate_version": __version__,
        }

    def axis(self) -> dict[Any, Any]:
        """Return the times."""
        frame = self.history.frame
        return {"time": ("time", self.history.times[self.predicted], frame["time"].attrs)}

    def sample(self) -> xr.Dataset:
        """Return the result for the first time."""
        with evaluation_mode(self.model):
            batch = to_device(next(self.history.batches(self.predicted[:1])), self.model.device)
            made = _reconstruct_batch(self.model, batch, self.quantiles)
            if self.members > 1:
                made = {name: value[:1].repeat_interleave(self.members, 0) for name, value in made.items()}
                made["origin"][:, 0] = torch.arange(self.members)
        return self.dataset([made])

    def forecast(self, first: int, stop: int) -> tuple[list[Any], Tally]:
        """Reconstruct some of the times, in the batches that all of them have, so that the bits are their own."""
        wanted, made = torch.from_numpy(self.predicted[first:stop]), []
        with evaluation_mode(self.model):
            for batch in self.history.batches(self.predicted, part=(first, stop)):
                part = _reconstruct_batch(self.model, to_device(batch, self.model.device), self.quantiles)
                kept = torch.isin(part["origin"][:, 1], wanted)
                made.append({name: value[kept] for name, value in part.items()})
        return made, Tally.of(self.model, [])

    def numbers(self, predictions: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """Return nothing: only online intervals need more than the result."""
        return {}

    def dataset(self, predictions: Sequence[dict[str, torch.Tensor]]) -> xr.Dataset:
        """Return the dataset of some times.

        Args:
            predictions: Numbers of these times.
        """
        rows = np.unique(torch.cat([part["origin"][:, 1] for part in predictions]).numpy())
        result = _assemble(self.model, self.history, rows, predictions, self.quantiles)
        if self.left_out:
            window = self.history.spec.window
            text = f"{self.left_out} steps at the start, without the full context of {window}"
            result.attrs["left_out"] = text
        return result


def field_of(predictor: Predictor) -> FieldPredictor:
    """Return a predictor that is a field; refuse others.

    Args:
        predictor: A fitted predictor.

    Raises:
        RequestError: The predictor is of another kind.
    """
    if not isinstance(predictor, FieldPredictor):
        raise RequestError(f"{predictor.name}: forecasts from windows and cannot reconstruct; fit a CGLUBNF")
    return predictor


def rows_of(history: History, start: str | float | None, end: str | float | None) -> NDArray[np.int64]:
    """Return the rows from start to end that have the full context.

    Args:
        history: The panel.
        start: The first time. None: the first that has the context.
        end: The last time; a date without an hour means its last step. None: the panel's end.

    Returns:
        (row,), ascending.

    Raises:
        RequestError: A time lies outside the panel, or the end lies before the start.
        ForecastError: No row has the context.
    """
    window = history.spec.window
    first = window - 1 if start is None else max(history.row(start, "start"), window - 1)
    last = history.steps - 1 if end is None else history.row(end, "end", last=True)
    if start is not None and end is not None and last < history.row(start, "start"):
        raise RequestError(f"end {end}: lies before the start {start}; swap them")
    rows = np.arange(first, last + 1)
    if len(rows) == 0:
        raise ForecastError(f"no time up to {history.times[last]} has {window} steps of context; give more history")
    return rows


def steps_before(batch: Batch) -> torch.Tensor:
    """Count the steps since each node was observed before its window's last step, (batch, node); 1 without context."""
    since = batch["since"]
    return since[:, -2].amin(-1) + 1 if since.shape[1] > 1 else torch.ones_like(since[:, -1, :, 0])


def _reconstruct_batch(model: FieldPredictor, batch: Batch, quantiles: Sequence[float]) -> dict[str, torch.Tensor]:
    distribution = model.reconstruction(batch)
    parts = deviations(distribution)
    stored, lowest = model.reconstruction_calibration, model.likelihood.lowest
    bounds = quantiles_of_forecast(distribution, stored, steps_before(batch), quantiles, lowest)
    values = {
        "quantiles": bounds,
        "mean": distribution.mean,
        "truth": batch["past"][:, -1:, :, : len(model.fitted_spec.targets)],
        **parts,
    }
    numbers = {name: value[:, 0].cpu() for name, value in values.items()}
    return {**numbers, "since": steps_before(batch).cpu() - 1, "origin": batch["origin"].cpu()}


def _assemble(
    model: FieldPredictor,
    history: History,
    rows: NDArray[np.int64],
    parts: Sequence[dict[str, torch.Tensor]],
    quantiles: Sequence[float],
) -> xr.Dataset:
    spec, frame = model.fitted_spec, history.frame
    joined = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
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
            described = {**attrs, "long_name": PARTS[part]} if part in PARTS else attrs
            variables[f"{name}_{part}"] = (dims, shaped(joined[part][:, :, i]), described)
    coords: dict[Any, Any] = {n: c for n, c in frame.coords.items() if "time" not in c.dims}
    if spec.window > 1:
        described = {"long_name": "steps since any target was observed, one step before"}
        coords["steps_since_observed"] = dims, shaped(joined["since"]).astype("int32"), described
    time = ("time", history.times[rows], frame["time"].attrs)
    attrs = attributes_of(model, "reconstruction", model.reconstruction_calibration)
    return xr.Dataset(variables, {**coords, "time": time, "quantile": ("quantile", list(quantiles))}, attrs)
