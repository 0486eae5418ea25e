"""Additions of `stgate fit` to Lightning: one line an epoch, scores in one file, checkpoints written in one step."""

from __future__ import annotations

import csv
import logging
import math
import os
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import Logger

from stgate.data.window_data import WindowData
from stgate.errors import FitWarning
from stgate.io import store
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


class Scores(Logger):
    """Scores and options of a run, `metrics.csv` and `hparams.yaml`, each written in one step.

    Nothing is written before the run has begun: until then the files of an earlier run stay as they are.

    Args:
        out: The run's folder.
    """

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out, self.begun = out, False
        self.rows: list[dict[str, Any]] = []
        self.options: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Name of the run: none, since its folder has one."""
        return ""

    @property
    def version(self) -> str:
        """Version of the run: none."""
        return ""

    @property
    def save_dir(self) -> str:
        """Folder of the files."""
        return str(self.out)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Lightning's)
        """Take options."""
        self.options.update(vars(params) if isinstance(params, Namespace) else params or {})

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Take scores; those of the same moment that hold no less replace the ones before."""
        row = {**metrics, "step": step}
        last = self.rows[-1] if self.rows else {}
        if last.keys() <= row.keys() and all(last.get(key) == row.get(key) for key in ("epoch", "step")):
            self.rows.pop()
        self.rows.append(row)

    def begin(self, epoch: int) -> None:
        """Begin to write; what an earlier run has scored up to an epoch is kept.

        Args:
            epoch: The epoch from which on the run goes on, 0 for a new one.
        """
        path, earlier = self.out / "metrics.csv", []
        if epoch and path.is_file():
            with path.open(encoding="utf-8", errors="replace", newline="") as file, suppress(csv.Error):
                earlier = [row for row in csv.DictReader(file) if _epoch_of(row) < epoch]
        self.rows = [{name: value for name, value in row.items() if name and value} for row in earlier] + self.rows
        self.begun = True
        self.save()

    def save(self) -> None:
        """Write what there is."""
        if self.begun and self.rows:
            names = sorted(set().union(*self.rows))
            with store.atomic(self.out / "metrics.csv") as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(self.rows)
        if self.begun and self.options:
            with store.atomic(self.out / "hparams.yaml") as temporary:
                save_hparams_to_yaml(temporary, self.options)
            self.options = {}

    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def _epoch_of(row: Mapping[str | None, Any]) -> float:
    """Return the epoch of a row; infinity where it has none, as in a file that broke off."""
    try:
        return float(row["epoch"])
    except (KeyError, TypeError, ValueError):
        return math.inf


def quiet() -> None:
    """Silence Lightning's hints and banners; errors and our own lines remain."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
