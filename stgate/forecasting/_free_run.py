"""Autoregressive rollout beyond the horizon: the climate of a fitted forecaster."""

from __future__ import annotations

import os

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate._memory import free_memory, size_text
from stgate._version import __version__
from stgate.data.history import History
from stgate.data.windows import to_device
from stgate.errors import ForecastError, RequestError, check_counts
from stgate.inference.base import PointEstimate
from stgate.io import store
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.gated import GatedPredictor
from stgate.prediction.loading import Model, predictor_of
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import noted

PIECE = 1000
"""Number of steps that are run at once."""


def free_run(
    model: Model,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    steps: int,
    start: float | None = None,
) -> xr.Dataset:
    """Run an autoregressive rollout for any number of steps, each fed back into the next.

    A forecast ends with its horizon; this rollout does not, and it gives the location only. It shows if the forecaster
    stays on the attractor: compare its mean, variance, spectrum and histogram with those of the system
    (`stgate.metrics`).

    Args:
        model: A fitted forecaster with a rollout, or a checkpoint's path.
        panel: A panel in model time, or the path of one; the run starts from a window of it.
        steps: Number of steps.
        start: The first time of the run; None starts after the panel's last observation.

    Returns:
        A panel of the targets over (member?, time, node).

    Raises:
        RequestError: The forecaster has no rollout, several sets of weights, calendar time or future covariates, or the
            run does not fit into memory.
        PanelError: The panel does not fit the forecaster.
        ForecastError: The history is too short, or the run diverged.
    """
    predictor = predictor_of(model)
    spec = predictor.fitted_spec
    if not isinstance(predictor, GatedPredictor) or not predictor.rollout:
        raise RequestError(f"{predictor.name}: forecasts all leads at once; fit it with rollout for a free run")
    if not isinstance(predictor.inference, PointEstimate):
        raise RequestError(
            f"inference {type(predictor.inference).__name__}: needs one set of weights; fit with PointEstimate"
        )
    if spec.time != "model" or spec.future_covariates:
        raise RequestError("a free run needs model time and no future covariates, whose values are unknown")
    check_counts(steps=(steps, 1))
    history = History.of(panel, spec, None)
    last = history.last
    if start is None and last is None:
        raise ForecastError(f"`{spec.targets[0]}`: never observed in this panel; there is nothing to start from")
    origin = int(last or 0) if start is None else history.row(start, "start") - 1
    if origin < spec.window - 1:
        raise ForecastError(f"the run has {origin + 1} steps of history, the window needs {spec.window}")
    members = history.frame.sizes.get("member", 1)
    size, free = 4.0 * members * steps * len(spec.nodes) * len(spec.targets), free_memory()
    if free is not None and 2 * size > free:
        raise RequestError(f"steps {steps}: need {size_text(size)} of memory, {size_text(free)} are free; run fewer")
    values = np.empty((members, steps, len(spec.nodes), len(spec.targets)), np.float32)
    with evaluation_mode(predictor):
        row = 0
        for batch in history.batches(np.array([origin])):
            count = len(batch["origin"])
            for at, piece in predictor.run(to_device(noted(predictor, batch), predictor.device), steps, PIECE):
                values[row : row + count, at : at + piece.shape[1]] = piece.cpu().numpy()
            row += count
    if not np.isfinite(values).all():
        bad = int(np.argmin(np.isfinite(values).all((0, 2, 3))))
        raise ForecastError(
            f"the run diverged at step {bad}: it does not stay on the attractor; fit it longer or with noise"
        )
    return _panel(values, predictor, history, origin)


def _panel(values: NDArray[np.float32], predictor: Predictor, history: History, origin: int) -> xr.Dataset:
    spec = predictor.fitted_spec
    times = history.times[origin] + np.arange(1, values.shape[1] + 1) * spec.step
    single = "member" not in history.frame.dims
    dims = ("time", "node") if single else ("member", "time", "node")
    coords = {n: c for n, c in history.frame.coords.items() if "time" not in c.dims}
    variables = {
        name: (dims, values[0, ..., i] if single else values[..., i], {"units": spec.units.get(name, "")})
        for i, name in enumerate(spec.targets)
    }
    attrs = {
        "Conventions": "CF-1.11",
        "title": f"free run of {predictor.name}",
        "source": f"stgate {__version__}",
        "weights": predictor.fingerprint(),
        "history": store.history("free_run"),
    }
    kept = {k: v for k, v in history.frame.attrs.items() if k in ("boundary", "period", "system")}
    return xr.Dataset(variables, {**coords, "time": ("time", times, history.frame["time"].attrs)}, {**attrs, **kept})
