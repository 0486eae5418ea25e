"""`stgate evaluate FORECAST ...`. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stgate._memory import memory_limit
from stgate.commands.parser import Parser, check_cluster, progress, report_written
from stgate.errors import RequestError, did_you_mean
from stgate.io import paths
from stgate.schema.levels import as_levels
from stgate.schema.words import GROUPS, check_bootstrap

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def run(command: str, arguments: Sequence[str]) -> None:
    """Score forecasts and print a table."""
    parser = Parser(
        command,
        "Score forecasts against their own truth or that of a panel; several forecasts are shown side by side.",
        "stgate evaluate hindcast.nc --by lead_time\n"
        "  stgate evaluate filled.nc --truth masked.nc --truth-variable pm25_hidden",
    )
    parser.add_argument(
        "forecast", nargs="+", metavar="FORECAST", help="from `stgate backtest`, `forecast` or `reconstruct`"
    )
    parser.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="GROUP",
        help=f"groups to score separately: {', '.join(GROUPS)}, or a node coordinate",
    )
    parser.add_argument("--target", help="the variable, when there are several")
    parser.add_argument(
        "--truth", metavar="PANEL", help="panel with observed or masked values (default: the forecast's own truth)"
    )
    parser.add_argument("--truth-variable", metavar="NAME", help="variable of that panel (default: the target's name)")
    parser.add_argument(
        "--levels", type=float, nargs="+", help="interval levels to score (default: all in the forecast)"
    )
    parser.add_argument(
        "--bootstrap",
        type=int,
        default=0,
        metavar="SAMPLES",
        help="resamples of blocks of origins, for an interval of each score",
    )
    parser.add_argument(
        "--block", type=int, metavar="ORIGINS", help="number of origins in a block (default: as many as overlap)"
    )
    parser.add_dask()
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", metavar="FILE", help="write the table too: .csv or .json")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    given = parser.parse(arguments)
    check_cluster(given.dask, given.forecast)
    if given.truth_variable and not given.truth:
        raise RequestError("--truth-variable: needs a panel; add --truth PANEL")
    out = paths.check_out(given.out, overwrite=given.overwrite, suffixes=(".csv", ".json")) if given.out else None
    if given.truth is not None:
        paths.check_panel_path(given.truth)
    for path in given.forecast:
        paths.check_stored(path)
    if given.levels is not None:
        as_levels(given.levels)
    check_bootstrap(given.bootstrap)

    import numpy as np
    import pandas as pd

    from stgate.evaluation._evaluate import prepare, score
    from stgate.io import store
    from stgate.io.readers import open_within
    from stgate.schema.forecast import in_months, lead_unit, targets_of

    forecasts = [store.open_forecast_lazily(path) for path in given.forecast]
    _check_units(given.forecast, forecasts, given.target)
    panel, names = None, [given.truth_variable or given.target or targets_of(forecasts[0])[0]]
    if given.truth is not None:
        panel, _ = open_within(given.truth, names, names, memory_limit(None))
    prepared = [
        prepare(
            forecast,
            by=given.by,
            target=given.target,
            truth=None if panel is None else _truth(panel, given.truth_variable or given.target, forecast),
            levels=given.levels,
            bootstrap=given.bootstrap,
            block=given.block,
        )
        for forecast in forecasts
    ]
    scored = [score(*parts, progress("evaluating"), given.dask) for parts in prepared]
    labels = [str(scores.attrs.get("model", "")) for scores in scored]
    if len(set(labels)) < len(labels):
        labels = [Path(path).stem for path in given.forecast]
    if len(set(labels)) < len(labels):
        labels = list(given.forecast)
    tables = []
    for scores, label in zip(scored, labels, strict=True):
        table = (
            scores.to_dataframe().reset_index()
            if given.by
            else pd.DataFrame({k: [float(v)] for k, v in scores.items()})
        )
        table.insert(0, "forecast", label)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    for column in table.select_dtypes("timedelta"):  # calendar lead times
        leads = np.asarray(table[column])
        unit, one = lead_unit(leads)
        if unit == "days":
            unit, one = "hours", np.timedelta64(1, "h")
        table[column] = leads / one
        table = table.rename(columns={column: f"lead_{unit}"})
    if any("lead_time" in scores.coords and in_months(scores["lead_time"]) for scores in scored):
        table = table.rename(columns={"lead_time": "lead_months"})
    if out is not None:
        with store.atomic(out) as temporary:
            temporary.write_text(_json(table) if out.suffix == ".json" else table.to_csv(index=False))
        report_written(out)
    if given.json:
        print(_json(table))
        return
    left_out = ("interval_score", "width_") if given.bootstrap else "interval_score"  # a screen is only so wide
    print(_text(table.drop(columns=[column for column in table if str(column).startswith(left_out)])))
    notes = [_note(scores) for scores in scored]
    for label, note in zip(labels, notes, strict=True) if len(set(notes)) > 1 else [("", notes[0])]:
        print(f"  {label}{': ' * bool(label)}{note}")


def _check_units(paths: Sequence[str], forecasts: Sequence[xr.Dataset], target: str | None) -> None:
    """Refuse forecasts of one target in several units, or over several units of model time: they share a table."""
    from stgate.schema.forecast import targets_of
    from stgate.schema.units import agree

    held: dict[str, tuple[str, str]] = {}
    for path, forecast in zip(paths, forecasts, strict=True):
        for name in {target or targets_of(forecast)[0], "lead_time"} & set(map(str, forecast.variables)):
            unit = str(forecast[name].attrs.get("units", "")) if forecast[name].dtype.kind == "f" else ""
            first, wanted = held.setdefault(name, (path, unit)) if unit else (path, "")
            if not agree(unit, wanted):
                raise RequestError(f"{path}: has `{name}` in {unit!r}, {first} in {wanted!r}; evaluate them one by one")


def _truth(panel: xr.Dataset, name: str | None, forecast: xr.Dataset) -> xr.DataArray:
    """Return the truth of the target from a panel."""
    from stgate.schema.forecast import targets_of

    name = targets_of(forecast)[0] if name is None else name
    if name not in panel:
        raise RequestError(f"--truth: the panel has no `{name}`; {did_you_mean(name, map(str, panel.data_vars))}")
    return panel[name]


def _note(scores: xr.Dataset) -> str:
    """Explain the columns whose names do not explain themselves."""
    parts = [f"{scores.attrs['target']}: mae of the median, rmse of the mean, crps {scores.attrs['crps']}"]
    if "calibration" in scores.attrs:  # forecasts of other tools may lack it
        parts.append(f"calibration: {scores.attrs['calibration']}")
    if "vpt" in scores:
        beyond = scores["vpt"].attrs.get("comment")
        parts.append("vpt: model time until the NRMSE of the mean reaches 0.5" + (f"; {beyond}" if beyond else ""))
    if "in_training" in scores.attrs:
        share, end = scores.attrs["in_training"], str(scores.attrs["trained_until"]).removesuffix(".000000000")
        parts.append(
            f"{100 * share:.3g} % of observations lie before training ended, {end}: errors on new data are larger"
        )
    return "; ".join(parts)


def _text(table: pd.DataFrame) -> str:
    import pandas as pd

    shown = table.copy()
    for column in shown:
        if column == "count":
            shown[column] = shown[column].map(lambda v: f"{int(v):,}")
        elif str(column).startswith("coverage") or column in ("vpt_censored", "no_forecast"):
            shown[column] = shown[column].map(lambda v: "" if math.isnan(v) else f"{100 * v:.1f} %")
        elif pd.api.types.is_float_dtype(shown[column]):
            shown[column] = shown[column].map(
                lambda v: "" if math.isnan(v) else f"{v:.4g}" if abs(v) < 100 else f"{v:.1f}"
            )
    return shown.to_string(index=False)


def _json(table: pd.DataFrame) -> str:
    records = json.loads(table.to_json(orient="records", date_format="iso", double_precision=10))
    return json.dumps(records, indent=2)
