"""Let a roll-out run on by itself: the climate of what it has learned."""

from __future__ import annotations

import os

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate._memory import free_memory, size_text
from stgate._version import __version__
from stgate.data.history import History
from stgate.data.windows import to_device
from stgate.errors import ForecastError, RequestError
from stgate.inference.base import PointEstimate
from stgate.io import store
from stgate.prediction.gated import GatedPredictor
from stgate.prediction.predictor import Predictor, evaluation_mode
from stgate.prediction.registry import Model, predictor_of

PIECE = 1000
"""Steps that are run at once."""


def free_run(
    model: Model,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    steps: int,
    start: float | None = None,
) -> xr.Dataset:
    """Run a roll-out freely for as long as is wished, each step fed back into the next.

    A forecast ends with its horizon; this does not, and gives the location only. It shows whether the forecaster stays
    on the attractor: compare its mean, spread, spectrum and histogram with those of the system (`stgate.metrics`).

    Args:
        model: A fitted forecaster with a roll-out, or a checkpoint's path.
        panel: A panel in model time, or the path of one, whose last window the run starts from.
        steps: How many.
        start: The first time of the run; after the panel's last observation when None.

    Returns:
        A panel of the targets over (member?, time, node).

    Raises:
        RequestError: No roll-out, calendar time, future covariates, or more than memory holds.
        PanelError: The panel does not fit the forecaster.
        ForecastError: Too little history, or the run is not finite any more.
    """
    predictor = predictor_of(model)
    spec = predictor.fitted_spec
    if not isinstance(predictor, GatedPredictor) or not predictor.rollout:
        raise RequestError(f"{predictor.name}: forecasts all leads at once; fit it with rollout to let it run on")
    if not isinstance(predictor.inference, PointEstimate):
        raise RequestError(f"inference {type(predictor.inference).__name__}: a free run needs one set of weights")
    if spec.time != "model" or spec.future_covariates:
        raise RequestError("a free run needs model time and no future covariates: what they would be is not known")
    if steps < 1:
        raise RequestError(f"steps {steps}: at least 1")
    history = History.of(panel, spec, None)
    last = history.last
    if start is None and last is None:
        raise ForecastError(f"`{spec.targets[0]}`: never observed in this panel; there is nothing to run on from")
    origin = int(last or 0) if start is None else history.row(start, "start") - 1
    if origin < spec.window - 1:
        raise ForecastError(f"the run has {origin + 1} steps of history, the window needs {spec.window}")
    members = history.frame.sizes.get("member", 1)
    size, free = 4.0 * members * steps * len(spec.nodes) * len(spec.targets), free_memory()
    if free is not None and 2 * size > free:
        raise RequestError(f"steps {steps}: take {size_text(size)}, {size_text(free)} are free; run fewer")
    made = np.empty((members, steps, len(spec.nodes), len(spec.targets)), np.float32)
    with evaluation_mode(predictor):
        row = 0
        for batch in history.batches(np.array([origin])):
            count = len(batch["origin"])
            for at, piece in predictor.run(to_device(batch, predictor.device), steps, PIECE):
                made[row : row + count, at : at + piece.shape[1]] = piece.cpu().numpy()
            row += count
    if not np.isfinite(made).all():
        bad = int(np.argmin(np.isfinite(made).all((0, 2, 3))))
        raise ForecastError(f"the run left all bounds at step {bad}: the forecaster does not stay on the attractor")
    return _panel(made, predictor, history, origin)


def _panel(made: NDArray[np.float32], predictor: Predictor, history: History, origin: int) -> xr.Dataset:
    spec = predictor.fitted_spec
    times = history.times[origin] + np.arange(1, made.shape[1] + 1) * spec.step
    single = "member" not in history.frame.dims
    dims = ("time", "node") if single else ("member", "time", "node")
    coords = {n: c for n, c in history.frame.coords.items() if "time" not in c.dims}
    variables = {
        name: (dims, made[0, ..., i] if single else made[..., i], {"units": spec.units.get(name, "")})
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
