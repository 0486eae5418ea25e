"""Fits of the package's forecasters by the command `stgate fit`, with its defaults alone.

What is given is what any user has to give: panel, targets and horizon; the times of the split; node variables such as
population where the record has them; and the seed. The window is given only where the default of 24 leaves a part of
the split without a window.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np

import stgate
from benchmarks.defaults.scores import QUANTILES, Made
from benchmarks.defaults.sets import Task
from benchmarks.registry import BenchmarkError
from stgate.__main__ import main as command
from stgate.errors import RequestError
from stgate.forecasting.online_intervals import Mode

FORECASTERS = ("Persistence", "Climatology", "Ridge", "GradientBoosting", "GatedRNN", "STHSepNet", "auto")
"""Window forecasters that are measured unless others are asked for; `auto` fits, compares and stacks several."""
DETERMINISTIC = ("Persistence", "Climatology", "Ridge", "GradientBoosting")
"""Forecasters without random numbers: one seed is enough."""
LEVELS = (0.98, 0.95, *(round(0.1 * n, 1) for n in range(9, 0, -1)))
"""Central intervals whose ends, with the median, are the 23 quantiles."""


def stgate_command(*arguments: object) -> str:
    """Run a command of the package in this process; return what it wrote to stderr.

    Args:
        arguments: Words of the command line.
    """
    log = io.StringIO()
    with contextlib.redirect_stderr(log), contextlib.redirect_stdout(io.StringIO()):
        code = command([str(a) for a in arguments])
    if code != 0:
        raise BenchmarkError(f"stgate {' '.join(map(str, arguments))}: {log.getvalue().strip().splitlines()[-1]}")
    return log.getvalue()


def fit(task: Task, name: str, seed: int, out: Path, *more: object) -> Path:
    """Fit a forecaster with its defaults; return its checkpoint.

    Args:
        task: Record and scored part.
        name: Class of the forecaster.
        seed: Seed of weights and shuffles.
        out: Folder of the run.
        more: Further words of the command line.
    """
    record = task.record
    split = ",".join(task.time_of(row) for row in task.split)
    given = ["--model", name, "--data.panel", task.path, "--data.targets", record.target]
    given += ["--data.horizon", max(record.horizons), "--data.split", f"[{split}]"]
    given += ["--data.static_covariates", f"[{','.join(record.static)}]"] if record.static else []
    given += ["--seed_everything", seed, "--data.seed", seed, "--out", out, "--overwrite", *more]
    log = stgate_command("fit", *given)
    (out.parent / f"{out.name}.log").write_text(log)
    return out / "best.ckpt"


def forecasts(task: Task, name: str, seed: int, out: Path) -> Made:
    """Fit a forecaster with its defaults, and forecast the scored part.

    Args:
        task: Record and scored part.
        name: Class of the forecaster.
        seed: Seed of weights and shuffles.
        out: Folder of the run.
    """
    return backtest(task, fit(task, name, seed, out))


def backtest(task: Task, checkpoint: Path, calibration: Mode = "stored") -> Made:
    """Forecast the scored part from every origin.

    Args:
        task: Record and scored part.
        checkpoint: Checkpoint of the forecaster.
        calibration: Source of the intervals.
    """
    start, end = task.time_of(task.start), task.time_of(-1)
    levels = list(LEVELS)
    while True:
        try:
            made = stgate.backtest(checkpoint, task.panel, start=start, end=end, levels=levels, calibration=calibration)
            break
        except RequestError as error:  # too few cases to calibrate the widest intervals: the next one stands for them
            if len(levels) < 9 or "level" not in str(error):
                raise
            print(f"{task.record.name}: {error}; the {100 * levels[1]:g} % interval is taken", file=sys.stderr)
            levels = levels[1:]
    made = made.isel(member=0, drop=True) if "member" in made.dims else made
    target, horizons = task.record.target, np.array(task.record.horizons)
    held = made[target].transpose("init_time", "lead_time", "node", "quantile")
    mean = made[f"{target}_mean"].transpose("init_time", "lead_time", "node")
    near = np.abs(held["quantile"].values[None] - QUANTILES[:, None]).argmin(1)
    origins = np.searchsorted(task.panel["time"].values, made["init_time"].values)
    shape = (len(horizons), *task.truth.shape)
    quantiles, means = np.full((*shape, len(QUANTILES)), np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for index, lead in enumerate(horizons):
        rows = origins + lead - task.start
        there = (rows >= 0) & (rows < shape[1])
        quantiles[index, rows[there]] = held.values[there, lead - 1][..., near]
        means[index, rows[there]] = mean.values[there, lead - 1]
    return Made(quantiles, means)
