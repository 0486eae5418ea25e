"""The automatic fit of a record whose times follow no step: one field, which takes any times."""

from __future__ import annotations

import inspect
import os
import time
from typing import Any

import numpy as np
import xarray as xr

from stgate.data.field_data import FieldData
from stgate.data.window_data import WindowData
from stgate.errors import RequestError
from stgate.fitting.crossfit import Tell
from stgate.fitting.one_fit import fit_forecaster
from stgate.fitting.scoreboard import Row, scored
from stgate.io import store
from stgate.io.readers import open_panel
from stgate.models.cglubnf import CGLUBNF

ODD = 0.1
"""Share of the gaps between times that may be no multiple of the smallest gap where times follow a step."""

MONTH = 27 * 86_400_000.0
"""Milliseconds, fewer than any month has."""


def follow_no_step(panel: str | os.PathLike[str] | xr.Dataset) -> bool:
    """Return True if times are scattered; a step of which rows are absent is one still.

    Args:
        panel: A panel, or the path of one.
    """
    if not isinstance(panel, xr.Dataset):
        panel = store.open_dataset(panel) if str(panel).endswith((".nc", ".zarr")) else open_panel(panel)
    times = panel["time"].values if "time" in panel.coords else np.zeros(0)
    if times.dtype.kind not in "Mfiu" or len(times) < 4:
        return False
    dates = times.dtype.kind == "M"
    gaps = np.diff(times.astype("datetime64[ms]").astype("int64") if dates else times).astype(float)
    if not (np.isfinite(gaps).all() and (gaps > 0).all()):
        return False
    if dates and gaps.min() > MONTH:
        return False  # months, quarters or years, whose lengths differ
    ratio = gaps / gaps.min()
    return bool((np.abs(ratio - np.round(ratio)) > 0.01).mean() > ODD)


def field_data(
    panel: str | os.PathLike[str] | xr.Dataset,
    options: dict[str, Any],
    *,
    budget: float | None,
    calibration: str,
    seed: int,
) -> FieldData:
    """Return the checked data of a field from the options of an automatic fit.

    Args:
        panel: A panel, or the path of one.
        options: Options of `WindowData`; those that a field's data do not take have to be the defaults.
        budget: Minutes; None, since a field has no budget.
        calibration: The way to calibrate: `auto` or `split`.
        seed: Seed of weights and shuffles.

    Raises:
        RequestError: An option is not one of a field.
        PanelError: The panel breaks the schema, or lacks a variable.
    """
    if budget is not None or calibration not in ("auto", "split"):
        name = "budget" if budget is not None else "calibration"
        raise RequestError(
            f"{name}: times follow no step, so a field is fitted, for which it does not hold; leave it out"
        )
    taken, defaults = (inspect.signature(kind).parameters for kind in (FieldData, WindowData))
    for name, value in options.items():
        if name not in taken and name in defaults and value not in (defaults[name].default, []):
            raise RequestError(f"{name}: times follow no step, so a field is fitted, which takes none; leave it out")
    own = {name for name in taken if name not in defaults or name == "horizon"}  # of other options a field has defaults
    kept = {n: v for n, v in options.items() if n in taken and (n in own or v != defaults[n].default)}
    if not kept.get("static_covariates", True):
        del kept["static_covariates"]
    data = FieldData(panel, **{**kept, "seed": seed})
    data.setup()
    return data


def fit_field(data: FieldData, *, seed: int, tell: Tell) -> tuple[CGLUBNF, Row]:
    """Fit and calibrate a field.

    Args:
        data: Its data.
        seed: Seed of weights and shuffles.
        tell: Function that is called with lines of progress.

    Returns:
        The field, and its line of the table.
    """
    tell("times follow no step: a field (CGLUBNF) is fitted alone")
    started = time.monotonic()
    field = CGLUBNF()
    made = fit_forecaster(field, data, seed=seed, tell=tell)
    crps, mae = scored(field.predictor, data)
    return field, Row("CGLUBNF", crps, mae, time.monotonic() - started, made.length.done, weight=1.0)
