"""The end of a fit: its calibration, and with it the fit on all rows; `best.ckpt` is replaced in one step."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ProgressBar

from stgate.commands.fit.runs import EpochLines
from stgate.data.window_data import WindowData
from stgate.errors import FitWarning
from stgate.fitting.choice import FOLDS, How
from stgate.fitting.completion import complete
from stgate.fitting.share import Share, choose_share
from stgate.fitting.training import Length, quiet_trainer
from stgate.forecasting._calibrate import calibrate
from stgate.models.forecaster import Forecaster
from stgate.prediction.checkpoint import read_checkpoint, write_checkpoint
from stgate.prediction.loading import load

WORDS = {
    "split": "the calibration part is left out of the fit",
    "refit": "errors on the validation and calibration parts, then a fit on all rows before the test part",
    "cross": f"errors on each of {FOLDS} blocks by fits without it, then a fit on all rows before the test part",
}
Anew = Callable[[], tuple[Forecaster, dict[str, Any]]]
"""A function that makes the forecaster and the trainer's options of a run anew."""


def keep_last(trainer: L.Trainer, best: Path, monitor: str | None) -> None:
    """Take the last epoch as the best one, where there is nothing to choose by, no validation or no finite score.

    Args:
        trainer: The trainer.
        best: Checkpoint that is written.
        monitor: The score by which the best epoch would have been chosen; None where there is none.
    """
    if monitor in trainer.callback_metrics:
        warnings.warn(
            f"{monitor} was never finite: best.ckpt is the last epoch; lower the learning rate, or look for values far "
            "out",
            FitWarning,
            stacklevel=2,
        )
    elif monitor is not None:
        print(f"best.ckpt holds the last epoch: none could be chosen by its {monitor}", file=sys.stderr)
    trainer.save_checkpoint(best)
    if not trainer.is_global_zero:
        return
    checkpoint = read_checkpoint(best)
    checkpoint["epoch"] = max(trainer.current_epoch - 1, 0)  # Lightning counts on when a fit is done
    write_checkpoint(checkpoint, best)


def finish(best: Path, data: WindowData, choice: tuple[How, str], planned: int | None, anew: Anew) -> None:
    """Calibrate the best epoch's forecaster, or replace it by one that is fitted on all rows and calibrated.

    Args:
        best: Checkpoint of the best epoch.
        data: The data of the fit.
        choice: `split`, `cross` or `refit`, and the reason in words.
        planned: Number of epochs that were planned.
        anew: Maker of the forecaster and the trainer's options.
    """
    how, reason = choice
    start, stop = data.parts.calibration
    epoch = read_checkpoint(best).get("epoch")
    if epoch is None:  # resumed, and no later epoch was better
        print("the best epoch is the same as before: its fit on all rows stands", file=sys.stderr)
        return
    share = _keep_share(best, data)
    if how == "split" and stop <= start:
        print("not calibrated: the split leaves no calibration part", file=sys.stderr)
        return
    others = " or ".join(way for way in WORDS if way != how)
    print(f"calibration: {how} ({reason}): {WORDS[how]}; otherwise --calibration {others}", file=sys.stderr)
    if how == "split":
        covered = calibrate(best, data)
    else:
        covered = _complete(best, data, how, Length(max(planned or 0, epoch + 1), epoch + 1, share), anew)
    print(
        f"calibrated: {', '.join(f'{100 * p:g}' for p in covered)} % intervals, at each lead time",
        file=sys.stderr,
    )


def _keep_share(best: Path, data: WindowData) -> Share:
    """Choose the share of the network that is kept, and write it into the checkpoint; say so if it is not all."""
    first = load(best)
    share = choose_share(first, data)
    mean = float(first.share.mean()) if share else 1.0
    if mean < 1:
        checkpoint = read_checkpoint(best)
        checkpoint["state_dict"]["predictor.share"] = first.share
        write_checkpoint(checkpoint, best)
        print(
            f"the network's correction to its linear part counts {100 * mean:.0f} % (mean over leads): more is not "
            "clearly better on the validation part",
            file=sys.stderr,
        )
    return share


def _complete(best: Path, data: WindowData, how: How, length: Length, anew: Anew) -> dict[float, float]:
    assert how != "split"
    started, (fresh, _), first = time.monotonic(), anew(), load(best)

    def tell(line: str) -> None:
        print(f"{line} ({time.monotonic() - started:.0f} s)", file=sys.stderr)

    def make_trainer(**options: Any) -> L.Trainer:  # noqa: ANN401 (those of a trainer)
        given = anew()[1]
        held = given.get("callbacks") or []
        held = held if isinstance(held, list) else [held]
        callbacks = [c for c in held if not isinstance(c, _OF_THE_FIRST_FIT)]
        kept = {name: value for name, value in given.items() if value is not None and name not in _LEFT_OUT}
        return quiet_trainer(**{**kept, **options, "callbacks": [*callbacks, *options["callbacks"]]})

    covered = complete(
        fresh,
        first,
        data,
        how=how,
        length=length,
        seed=first.seed or 0,
        make=lambda: anew()[0],
        make_trainer=make_trainer,
        tell=tell,
    )
    fresh.save(best)
    return covered


_OF_THE_FIRST_FIT = (Checkpoint, EarlyStopping, ProgressBar, EpochLines)
"""Callbacks that later fits do without: the number of epochs is known, and nothing is written before the end."""
_LEFT_OUT = (
    "logger",
    "enable_checkpointing",
    "enable_progress_bar",
    "enable_model_summary",
    "default_root_dir",
    "plugins",
    "max_steps",
    "min_steps",
    "min_epochs",
    "max_time",
)
"""Options of the trainer that later fits do without."""
