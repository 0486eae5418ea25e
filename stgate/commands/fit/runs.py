"""Additions of `stgate fit` to Lightning: one line an epoch, scores in one file, checkpoints written in one step."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from stgate.data.window_data import WindowData
from stgate.errors import FitWarning, StoreError
from stgate.io import store
from stgate.io.safe.reading import reading
from stgate.models.training.reference import ReferenceErrors, reference_errors
from stgate.prediction.checkpoint import write_checkpoint

SHOWN = ("train_loss", "val_loss", "val_mae", "val_crps", "val_hidden_mae", "val_hidden_crps")
"""Scores in the line of an epoch."""


class Lines(logging.Handler):
    """Handler of log records that prints their messages on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        print(record.getMessage(), file=sys.stderr)


class EpochLines(Callback):
    """One line on stderr an epoch: scores, time taken, time left."""

    def __init__(self) -> None:
        self.started, self.first, self.lines = 0.0, 0, Lines()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        log = logging.getLogger("stgate.models")
        log.setLevel(logging.INFO)
        log.addHandler(self.lines)
        self.started, self.first = time.monotonic(), trainer.current_epoch
        self.last_report = self.started

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Print no more log records."""
        logging.getLogger("stgate.models").removeHandler(self.lines)

    def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
        """Print the progress of a long epoch every 20 seconds."""
        now = time.monotonic()
        if now - self.last_report > 20:
            self.last_report = now
            share = (trainer.fit_loop.batch_idx + 1) / max(float(trainer.num_training_batches), 1)
            print(
                f"epoch {trainer.current_epoch + 1}: {100 * share:.0f} % after {now - self.started:.0f} s",
                file=sys.stderr,
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the line; validation is done by now."""
        self.last_report = time.monotonic()
        done = trainer.current_epoch + 1
        elapsed = self.last_report - self.started
        wanted = (trainer.max_epochs or done) if pl_module.automatic_optimization else done
        left = elapsed / max(done - self.first, 1) * (wanted - done)
        scores = {k: v for k, v in trainer.callback_metrics.items() if k in SHOWN}
        text = "  ".join(f"{name} {float(value):.4g}" for name, value in scores.items())
        ahead = f", about {left:.0f} s left" if done < wanted else ""
        print(f"epoch {done}/{wanted}  {text}  ({elapsed:.0f} s{ahead})", file=sys.stderr)


class Reference(Callback):
    """Print what a fit has chosen and the errors to beat; warn at the end if the best epoch does not beat them.

    Args:
        monitor: Name of the score by which the best epoch is chosen.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor, self.best, self.reached, self.hidden = monitor, math.inf, math.nan, math.nan
        self.told = False
        self.errors: ReferenceErrors | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print what the data have chosen, and the errors of persistence and climatology on the validation part."""
        for name in ("transforms_report", "likelihood_report"):
            report = getattr(getattr(pl_module, "predictor", None), name, "")
            if report:
                print(report, file=sys.stderr)
        data = getattr(trainer, "datamodule", None)
        self.errors = reference_errors(data) if type(data) is WindowData else None
        if self.errors is not None:
            print(self.errors.line, file=sys.stderr)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the error of the best epoch so far."""
        scores = trainer.callback_metrics
        if not trainer.sanity_checking and self.monitor in scores and float(scores[self.monitor]) < self.best:
            self.best, self.reached = float(scores[self.monitor]), float(scores.get("val_mae", math.nan))
            self.hidden = float(scores.get("val_hidden_mae", math.nan))
        reference = getattr(pl_module, "reference", None)
        if not trainer.sanity_checking and reference is not None and reference.count and not self.told:
            print(reference.line, file=sys.stderr)
            self.told = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if the best epoch is no better than persistence or climatology, or a field than interpolation."""
        reference = getattr(pl_module, "reference", None)
        if reference is not None and not math.isnan(self.hidden):
            message = reference.warning(self.hidden)
            if message:
                warnings.warn(message, FitWarning, stacklevel=2)
        if self.errors is not None and not math.isnan(self.reached):
            message = self.errors.warning(self.reached)
            if message:
                warnings.warn(message, FitWarning, stacklevel=2)


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are written in one step, never in part.

    Lightning writes through the system's temporary folder. If that is on another file system than the run, it copies
    the file, and a kill in the middle of the copy would spoil the one checkpoint to resume from.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        """Write a new file beside the old one, then replace it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, path)


def join_metrics(out: Path) -> None:
    """Join the scores logged before a resume and after it into one `metrics.csv`."""
    last = out / "metrics.csv"
    parts = sorted(out.glob("metrics-*.csv"), key=lambda path: int(path.stem.split("-")[1]))
    if not parts:
        return
    tables = {}
    for path in (path for path in (*parts, last) if path.exists()):
        try:
            with reading(path, "table of scores"):
                tables[path] = pd.read_csv(path) if path.stat().st_size else pd.DataFrame()
        except StoreError as error:
            warnings.warn(
                f"{error}; it is left as it is, beside the scores of the other epochs", FitWarning, stacklevel=2
            )
    if last in tables or not last.exists():
        with store.atomic(last) as temporary:
            pd.concat(list(tables.values()) or [pd.DataFrame()], ignore_index=True).to_csv(temporary, index=False)
        for path in tables.keys() - {last}:
            path.unlink()


def quiet() -> None:
    """Silence Lightning's hints and banners; errors and our own lines remain."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
