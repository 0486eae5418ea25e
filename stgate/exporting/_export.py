"""Export: one file that turns raw windows into calibrated quantiles, for onnxruntime or torch.export."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from stgate._version import __version__
from stgate.data.history import History
from stgate.errors import RequestError
from stgate.exporting.files import WRITERS
from stgate.exporting.graph import WindowGraph
from stgate.io import store
from stgate.prediction.field.predictor import FieldPredictor
from stgate.prediction.gated import GatedPredictor
from stgate.prediction.loading import Model, predictor_of
from stgate.prediction.predictor import Predictor
from stgate.prediction.stack import StackPredictor
from stgate.schema.forecast import quantiles_of


def export(
    model: Model,
    path: str | os.PathLike[str],
    *,
    levels: Sequence[float] = (0.5, 0.9),
    panel: xr.Dataset | str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a fitted forecaster as one graph, from raw windows with gaps to calibrated quantiles and means.

    The graph holds scaler, imputation, transforms, likelihood and the checkpoint's calibration. Its inputs are `past`
    (batch, window, node, channel), `time` (batch,), `since` (batch, node, target) and, where the forecaster has them,
    `future` and `static`; its outputs are `quantiles` and `mean`. docs/serving.md describes them.

    Args:
        model: A fitted forecaster, or a checkpoint's path.
        path: Path of the result: `.onnx` for onnxruntime and others, or `.pt2` for torch.export.
        levels: Central-interval levels, which the graph holds for ever.
        panel: A panel whose static covariates the graph holds, or the path of one; None makes them an input. A field
            needs one: it forecasts the nodes of this panel.
        overwrite: Replace an existing file.

    Returns:
        The path.

    Raises:
        RequestError: The forecaster has no form of this kind, a level is not calibrated, or a package is missing.
        StoreError: The suffix is unknown, the folder does not exist, or the file exists and `overwrite` is False.
        PanelError: The panel does not fit the forecaster.
    """
    path = store.check_out(path, overwrite=overwrite, suffixes=tuple(WRITERS))
    write, check = WRITERS[path.suffix]
    check()
    predictor, quantiles = predictor_of(model), quantiles_of(levels)
    _check(predictor, panel)
    places, nodes = None, list(predictor.fitted_spec.nodes)
    if panel is not None:
        places, nodes = _places(predictor, panel)
    with torch.no_grad():
        graph = WindowGraph(predictor, quantiles, places)
        example = graph.example()
        graph(*example)  # refuses levels that are not calibrated, and fills what is kept from one call to the next
        notes = {name: json.dumps(value) for name, value in describe(predictor, graph, levels, nodes).items()}
        with store.atomic(path) as temporary:
            write(graph, example, notes, temporary)
    return path


def describe(
    predictor: Predictor, graph: WindowGraph, levels: Sequence[float], nodes: list[str | int]
) -> dict[str, object]:
    """Return what a file says of itself, as values of JSON by name.

    Args:
        predictor: The predictor.
        graph: Its graph.
        levels: Central-interval levels.
        nodes: Labels of the nodes.
    """
    spec, calibration = predictor.fitted_spec, predictor.calibration
    made: dict[str, object] = {
        "stgate_version": __version__,
        "model": predictor.name,
        "weights": predictor.fingerprint(),
        "inputs": list(graph.inputs),
        "channels": list(spec.channels),
        "targets": list(spec.targets),
        "nodes": nodes,
        "units": dict(spec.units),
        "window": spec.window,
        "horizon": spec.horizon,
        "step": spec.step,
        "months": spec.months,
        "levels": list(levels),
        "quantiles": list(graph.quantiles),
        "spec": spec.to_dict(),
        "trained_until": predictor.seen,
        "calibration": None,
    }
    if calibration is not None:
        held = dataclasses.asdict(calibration)
        made["calibration"] = {n: v for n, v in held.items() if not isinstance(v, Tensor)}
    return made


def _check(predictor: Predictor, panel: object) -> None:
    """Refuse what has no graph, before anything is written."""
    if isinstance(predictor, GatedPredictor) and predictor.rollout and predictor.rollout.samples:
        raise RequestError(
            f"{predictor.name}: a rollout with samples draws random numbers, which a graph does not hold; "
            "fit with rollout.samples 0"
        )
    if isinstance(predictor, StackPredictor):
        raise RequestError(f"{predictor.name}: a pool of forecasters has no graph; export its members")
    if panel is None and isinstance(predictor, FieldPredictor):
        raise RequestError(f"{predictor.name}: a field forecasts the nodes of a panel; give it (panel=, --panel)")


def _places(
    predictor: Predictor, panel: xr.Dataset | str | os.PathLike[str]
) -> tuple[tuple[Tensor, Tensor], list[str | int]]:
    """Return the static covariates of a panel and which nodes observe anything, and its nodes."""
    history = History.of(panel, predictor.fitted_spec, None)
    series = history.series
    return (series.static, series.ever), list(history.spec.nodes)
