"""Estimates at held-out places and in gaps: tasks, the package's field by its documented commands, and rivals.

Two tasks a record. `places`: every seventh node by name is held out altogether, and estimated from all others at the
same and other times. `gaps`: 30 % of all entries are masked in runs, and estimated from all others. Only entries of the
scored part count, but everything that is not masked may be seen, at any time, as a user who fills gaps sees it.
Rivals work on anomalies by hand: of each node's own climatology, or at a held-out place of one that is kriged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

import stgate
from benchmarks.defaults import ours
from benchmarks.defaults.choices import HAND
from benchmarks.defaults.hand import Scale
from benchmarks.defaults.kriging import Kriging, inverse_distance
from benchmarks.defaults.learned import MOST, sized
from benchmarks.defaults.rivals import WEIGHTS
from benchmarks.defaults.scores import QUANTILES, Made
from benchmarks.defaults.sets import Task
from benchmarks.defaults.spread import Spread
from stgate.panels.geometry import Places

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
KINDS = ("places", "gaps")
FIELDS = ("CGLUBNF", "BayesNF")
"""Forecasters that are fields, and estimate places and gaps."""
RATE, AGAIN, LENGTH = 0.3, 0.08, {"hour": 24, "day": 7}
"""Shares of the entries that are masked, and masked once more for rivals to learn from; length of a gap in steps."""
NEAR = 8


@dataclasses.dataclass(frozen=True)
class Masked:
    """A panel with entries masked.

    Attributes:
        task: Record and scored part.
        kind: `places` or `gaps`.
        values: What may be seen, NaN where missing or masked, (time, node).
        asked: True for the entries that count, (time, node).
    """

    task: Task
    kind: str
    values: Floats
    asked: Mask

    @classmethod
    def of(cls, task: Task, kind: str) -> Masked:
        """Mask held-out places or gaps.

        Args:
            task: Record and scored part.
            kind: `places` or `gaps`.
        """
        hidden = np.zeros(task.values.shape, bool)
        if kind == "places":
            hidden[:, task.held_out] = True
        else:
            hidden = masked(task, task.values, seed=1)
        asked = hidden & np.isfinite(task.values)
        asked[: task.start] = False
        return cls(task, kind, np.where(hidden, np.nan, task.values), asked)

    def panel(self) -> xr.Dataset:
        """Return the panel with what may be seen."""
        target = self.task.record.target
        held = self.task.panel[target].transpose("time", "node")
        return self.task.panel.assign({target: held.copy(data=self.values.astype(held.dtype))})

    @property
    def truth(self) -> Floats:
        """What is asked, in the scored part, NaN elsewhere, (time, node)."""
        return np.where(self.asked, self.task.values, np.nan)[self.task.start :]

    def filled(self, quantiles: Floats, mean: Floats) -> Made:
        """Return estimates as forecasts of one lead.

        Args:
            quantiles: Quantiles of the asked entries, in the order of `np.nonzero(asked)`, (case, quantile).
            mean: Means of the asked entries, (case,).
        """
        whole = np.full((*self.asked.shape, len(QUANTILES)), np.nan, np.float32)
        centre = np.full(self.asked.shape, np.nan, np.float32)
        whole[self.asked], centre[self.asked] = quantiles, mean
        return Made(whole[None, self.task.start :], centre[None, self.task.start :])


def masked(task: Task, values: Floats, seed: int, rate: float = RATE) -> Mask:
    """Return True where runs of entries are masked, (time, node).

    Args:
        task: Record and scored part.
        values: What is observed, (time, node).
        seed: Seed of the mask.
        rate: Share of the observed entries.
    """
    target = task.record.target
    panel = task.panel.assign({target: (("time", "node"), values)})
    length = LENGTH[task.record.step]
    _, hidden = stgate.panels.missing.mask(panel, target, pattern="block", rate=rate, seed=seed, length=length)
    return hidden.transpose("time", "node").values


def field(case: Masked, name: str, seed: int, out: Path) -> Made:
    """Fit a field as docs/fields.md says, with panel and target alone, and reconstruct.

    Args:
        case: Panel with entries masked.
        name: Class of the field.
        seed: Seed of weights and shuffles.
        out: Folder of the run.
    """
    panel, target = case.panel(), case.task.record.target
    known = np.flatnonzero(np.isfinite(case.values).any(0))
    file = out.parent / f"{out.name}-panel.nc"
    file.parent.mkdir(parents=True, exist_ok=True)
    panel.isel(node=known).to_netcdf(file)
    given = ("--data.panel", file, "--data.targets", target, "--seed_everything", seed, "--data.seed", seed)
    log = ours.stgate_command("fit", "--model", name, *given, "--out", out, "--overwrite")
    (out.parent / f"{out.name}.log").write_text(log)
    start, end = case.task.time_of(case.task.start), case.task.time_of(-1)
    made = stgate.reconstruct(out / "best.ckpt", panel, levels=ours.LEVELS, start=start, end=end)
    made = made.isel(member=0, drop=True) if "member" in made.dims else made
    made = made.reindex(time=panel["time"].values[case.task.start :])
    near = np.abs(made["quantile"].values[None] - QUANTILES[:, None]).argmin(1)
    quantiles = made[target].transpose("time", "node", "quantile").values[..., near]
    return Made(quantiles[None], made[f"{target}_mean"].transpose("time", "node").values[None])


@dataclasses.dataclass(frozen=True)
class View:
    """Estimates of every entry from what else may be seen; an observed entry never sees itself.

    Attributes:
        anomalies: What may be seen, NaN elsewhere, (time, node).
        usual: Climatology that a held-out place has: kriged without its own record; else its own, (time, node).
        spatial: Kriged anomaly, (time, node).
        width: Relative deviation of the kriging, (time, node).
        inverse: Anomaly by inverse distance, (time, node).
        before: Own last value less the spatial estimate there, and steps since then, (time, node) each; NaN at places.
        after: Own next value less the spatial estimate there, and steps until then, (time, node) each; NaN at places.
    """

    anomalies: Floats
    usual: Floats
    spatial: Floats
    width: Floats
    inverse: Floats
    before: tuple[Floats, Floats]
    after: tuple[Floats, Floats]

    @classmethod
    def of(cls, case: Masked, values: Floats, scale: Scale) -> View:
        """Estimate all entries.

        Args:
            case: Panel with entries masked.
            values: What may be seen, (time, node).
            scale: The way to anomalies and back; deviations are set to one.
        """
        a, usual = scale.anomalies(values), scale.usual
        process = Kriging.of(case.task.panel, a)
        spatial, width = process.estimates(a)
        powers = {power: inverse_distance(case.task.panel, a, power) for power in (1.0, 2.0, 3.0)}
        inverse = min(powers.values(), key=lambda made: np.nanmean((made - a) ** 2))
        if case.kind == "places":
            known = np.where(np.isfinite(values).any(0), usual, np.nan)
            usual = Kriging.of(case.task.panel, known).estimates(known)[0]
            empty = np.full_like(a, np.nan)
            return cls(a, usual, spatial, width, inverse, (empty, empty), (empty, empty))
        rest = a - spatial
        return cls(a, usual, spatial, width, inverse, carried(rest), tuple(x[::-1] for x in carried(rest[::-1])))

    def in_time(self) -> Floats:
        """Return the spatial estimate plus its error interpolated between the node's own values, (time, node)."""
        (last, age), (following, wait) = self.before, self.after
        share = np.nan_to_num(np.where(np.isfinite(last) & np.isfinite(following), wait / (age + wait), 0.5))
        both = share * np.nan_to_num(last) + (1 - share) * np.nan_to_num(following)
        one = np.where(np.isfinite(last), np.nan_to_num(last), np.nan_to_num(following))
        return self.spatial + np.where(np.isfinite(last) & np.isfinite(following), both, one)


def carried(values: Floats) -> tuple[Floats, Floats]:
    """Return each node's last value before each time, and the steps since then."""
    row = np.arange(len(values), dtype=float)[:, None]
    at = pd.DataFrame(np.where(np.isfinite(values), row, np.nan)).ffill().shift(1).to_numpy()
    return pd.DataFrame(values).ffill().shift(1).to_numpy(), row - at


class Spatial:
    """The rivals of a task, which share estimates.

    Args:
        case: Panel with entries masked.
    """

    def __init__(self, case: Masked) -> None:
        self.case = case
        self._ready: tuple[Any, ...] | None = None

    def makers(self) -> dict[str, Callable[[], Made]]:
        """Return the makers of the rivals, by name."""
        found: dict[str, Callable[[], Made]] = {"climatology by place": lambda: self.made("climatology")}
        found["inverse distance on anomalies"] = lambda: self.made("inverse")
        found["Gaussian process with trend"] = lambda: self.made("process")
        if self.case.kind == "gaps":
            found["interpolation in time"] = lambda: self.made("time")
            found["Gaussian process and time"] = lambda: self.made("both")
        found["boosting on neighbours"] = lambda: self.made("boosting")
        return found

    def ready(self) -> tuple[Any, ...]:
        """Return what rivals learn from: scale, views, training entries, their features and folds."""
        if self._ready is None:
            case = self.case
            hand = HAND[case.task.record.name]
            scale = Scale.of(case.values, len(case.values), hand)
            scale = dataclasses.replace(scale, deviation=np.ones_like(scale.deviation), reach=(-np.inf, np.inf))
            view = View.of(case, case.values, scale)
            if case.kind == "places":
                training, learn = view, np.isfinite(case.values)
            else:
                again = masked(case.task, case.values, seed=2, rate=AGAIN)
                training = View.of(case, np.where(again, np.nan, case.values), scale)
                learn = again & np.isfinite(case.values)
            rows, nodes = np.nonzero(learn)
            if len(rows) > MOST:
                kept = np.sort(np.random.default_rng(0).choice(len(rows), MOST, replace=False))
                rows, nodes = rows[kept], nodes[kept]
            z = scale.anomalies(case.values) + scale.usual
            self._ready = scale, view, training, rows, nodes, z[rows, nodes] - training.usual[rows, nodes]
        return self._ready

    def made(self, how: str) -> Made:
        """Return the estimates of one rival, its distribution from its errors at other nodes or in other gaps.

        Args:
            how: `climatology`, `inverse`, `process`, `time`, `both` or `boosting`.
        """
        scale, view, training, rows, nodes, target = self.ready()
        times, places = np.nonzero(self.case.asked)
        seen, asked = (features(self.case, v, r, n) for v, r, n in ((training, rows, nodes), (view, times, places)))
        folds = nodes % 4 if self.case.kind == "places" else np.minimum(rows * 4 // len(self.case.values), 3)
        if how == "boosting":
            base, asked_base = (
                location(v, "both")[r, n] for v, r, n in ((training, rows, nodes), (view, times, places))
            )
            made, final = boosted(seen, target, base, folds, asked, asked_base)
        else:
            made = location(training, how)[rows, nodes]
            final = location(view, how)[times, places]
        spread = Spread.of(seen, made, target, folds)
        own = dataclasses.replace(scale, usual=view.usual)
        quantiles = own.undo(spread.around(asked, final), times, places)
        return self.case.filled(quantiles, quantiles @ WEIGHTS)


def location(view: View, how: str) -> Floats:
    """Return the estimates of a rival without trees, as anomalies, (time, node)."""
    if how == "time":
        (last, age), (following, wait) = carried(view.anomalies), (x[::-1] for x in carried(view.anomalies[::-1]))
        share = np.where(np.isfinite(last) & np.isfinite(following), wait / (age + wait), np.isfinite(last))
        return np.nan_to_num(share * np.nan_to_num(last) + (1 - share) * np.nan_to_num(following))
    made = {"climatology": 0 * view.spatial, "inverse": view.inverse, "process": view.spatial, "both": view.in_time()}
    return made[how]


def features(case: Masked, view: View, rows: NDArray[np.int64], nodes: NDArray[np.int64]) -> Floats:
    """Return features of entries, (case, feature): estimates, neighbours, where these are, and own values around."""
    a = view.anomalies
    count = np.isfinite(a).sum(1)
    day = np.divide(np.nansum(a, 1), np.maximum(count, 1))
    width = np.nan_to_num(pd.DataFrame(a).std(axis=1).to_numpy())
    columns = [
        view.spatial[rows, nodes],
        view.width[rows, nodes],
        view.inverse[rows, nodes],
        day[rows],
        width[rows],
        count[rows],
    ]
    for shift in (-2, -1, 1, 2):
        there = np.clip(rows + shift, 0, len(a) - 1)
        columns += [view.spatial[there, nodes]]
        columns += [day[there]]
    for held in (*view.before, *view.after):
        columns.append(held[rows, nodes])
    columns.append(view.in_time()[rows, nodes])
    columns.append(view.usual[rows, nodes])
    distance = Places.of(case.task.panel).distances()
    np.fill_diagonal(distance, np.inf)
    distance[:, ~np.isfinite(case.values).any(0)] = np.inf  # a held-out place is no neighbour
    order = np.argsort(distance, 1)[:, :NEAR]
    axes = [n for n in ("lat", "lon", "x", "y", "elevation") if n in case.task.panel.coords]
    for rank in range(NEAR):
        near = order[nodes, rank]
        columns += [a[rows, near], distance[nodes, near]]
        if rank < 4:
            for name in axes:
                place = case.task.panel[name].values.astype(float)
                columns.append(place[near] - place[nodes])
    columns += [case.task.panel[name].values.astype(float)[nodes] for name in axes]
    for period, _ in HAND[case.task.record.name].cycles:
        turn = 2 * np.pi * rows / period
        columns += [np.cos(turn), np.sin(turn)]
    return np.stack(columns, 1).astype(np.float32)


def boosted(seen: Floats, target: Floats, base: Floats, folds: Any, asked: Floats, asked_base: Floats) -> Any:
    """Boost the error of the best estimate without trees; return locations out of fold, and those asked."""
    options = {**sized(len(target), 24, 1 / 1000), "objective": "l2"}
    made, rounds = np.empty(len(target)), []
    stop = lightgbm.early_stopping(20, verbose=False)
    for fold in range(4):
        fit = folds != fold
        data = lightgbm.Dataset(seen[fit], (target - base)[fit])
        held = lightgbm.Dataset(seen[~fit], (target - base)[~fit], reference=data)
        model = lightgbm.train(options, data, 400, valid_sets=[held], callbacks=[stop])
        made[~fit] = base[~fit] + model.predict(seen[~fit], num_iteration=model.best_iteration, num_threads=1)
        rounds.append(model.best_iteration)
    model = lightgbm.train(options, lightgbm.Dataset(seen, target - base), max(5, int(1.1 * np.median(rounds))))
    return made, asked_base + model.predict(asked, num_threads=1)
