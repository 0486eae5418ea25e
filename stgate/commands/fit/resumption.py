"""Resumed and replaced runs: options that may not change, and a folder that is left alone until the fit has begun."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch.callbacks import Callback, EarlyStopping

from stgate.commands.fit.runs import Scores
from stgate.errors import CheckpointError, RequestError
from stgate.io import store
from stgate.io.safe.reading import reason
from stgate.models.training.plan import BestEpoch

GOES_ON = (
    "out",
    "resume",
    "overwrite",
    "ckpt_path",
    "weights_only",
    "calibration",
    "trainer",
    "data.panel",
    "data.split",
    "data.num_workers",
    "data.max_memory",
    "data.memory_map",
)
"""Options that may differ on a resume: they say how a fit goes on, not what is fitted. Split and panel are compared by
the rows of their parts."""


def check_resumed(
    asked: Mapping[str, Any], begun: Mapping[str, Any], *, free: Collection[str] = GOES_ON, compared: str = ""
) -> None:
    """Refuse to resume a run with other options than those with which it was begun.

    Args:
        asked: The options of the resume.
        begun: The options of the run, completed by defaults.
        free: Options that may differ, with all that they hold.
        compared: A comma-separated list of the forecaster's options that are compared with the checkpoint instead.

    Raises:
        RequestError: An option differs; the message names it with both values.
    """
    free = {*free, *(f"model.{name}" for name in compared.split(",") if name)}
    for name, now, before in _differences(asked, begun, "", free):
        raise RequestError(
            f"--{name} {_shown(now)}: the run was begun with {_shown(before)}; leave --{name} out, or begin another "
            "run with another --out"
        )


def _differences(now: Any, before: Any, name: str, free: Collection[str]) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401
    """Yield the options that differ, by the names that the command line has for them, with both values."""
    if name in free:
        return
    if not (isinstance(now, Mapping) and isinstance(before, Mapping)):
        if now != before and [now] != before and now != [before]:  # one name, or a list of it
            yield name, now, before
        return
    for key in (*now, *(key for key in before if key not in now)):
        deeper = name if key in ("class_path", "init_args") else f"{name}.{key}" if name else key
        yield from _differences(now.get(key), before.get(key), deeper, free)


def _shown(value: object) -> str:
    kind = value.get("class_path", value) if isinstance(value, Mapping) else value
    return "null" if kind is None else str(kind)


def not_taken_up(error: Exception) -> CheckpointError | None:
    """Return what to say of an error before the first step of a fit that is taken up from a checkpoint.

    Args:
        error: The error: what Lightning raises of a trainer's state that is missing or of other types, or another one,
            for which nothing is returned.
    """
    if not isinstance(error, LookupError | TypeError | ValueError | AttributeError):
        return None
    return CheckpointError(f"--ckpt_path: no fit can be taken up from it ({reason(error)}); begin another run")


class RunFolder(Callback):
    """The folder of a run. What another fit has left in it stays as it is until this fit has begun.

    A resumed fit has begun when its checkpoint is taken up. One that replaces a run has begun when its first epoch is
    complete: the run that is replaced is lost no earlier. The scores of an epoch are written before its checkpoint, so
    that a resume, which leaves those of later epochs out, has them all.

    Args:
        out: The folder.
        resume: Whether the run in the folder is continued.
        config: Makes the text of `config.yaml`, the options of the run.
    """

    def __init__(self, out: Path, *, resume: bool, config: Callable[[], str]) -> None:
        self.out, self.resume, self.config = out, resume, config
        self.replaces = not resume and any(out.glob("*.ckpt"))
        self.begun, self.started = False, False
        self.scores = Scores(out)
        self.patience: list[tuple[EarlyStopping, int]] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Note the patience that was asked for, since a checkpoint that is taken up brings its own."""
        self.patience = [(one, one.patience) for one in trainer.callbacks if isinstance(one, EarlyStopping)]  # type: ignore[attr-defined]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the run, unless it replaces another one: data are loaded, and a checkpoint is taken up."""
        self.started = True
        for stopping, patience in self.patience:
            stopping.patience = patience
        if trainer.is_global_zero and not self.replaces:
            self.begin(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the run, if it has not, and write the scores, just before the first checkpoint of the epoch is."""
        found = convert_tensors_to_scalars(trainer._logger_connector.metrics["log"])  # of all processes
        if trainer.is_global_zero:
            self.begin(0)
            if found and self.scores in trainer.loggers:
                step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1  # as Lightning does after the checkpoints
                self.scores.log_metrics({"epoch": trainer.current_epoch, **found}, step)
                self.scores.save()

    def begin(self, epoch: int) -> None:
        """Remove the run that this one replaces, and write the options; nothing is done the second time.

        Args:
            epoch: The epoch from which on the run goes on, 0 for a new one.
        """
        if self.begun:
            return
        self.begun = True
        self.out.mkdir(parents=True, exist_ok=True)
        old = () if self.resume else ("last.ckpt", "best.ckpt", "metrics*.csv", "hparams.yaml")
        for pattern in (".*.tmp", *old):  # the first are left by a kill in the middle of a write
            for path in self.out.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with store.atomic(self.out / "config.yaml") as temporary:
            temporary.write_text(self.config(), encoding="utf-8")
        self.scores.begin(epoch)


class Keeper(BestEpoch):
    """Lightning's writer of checkpoints, which knows its best score again in a folder that was moved or copied.

    Args:
        out: The folder.
        name: Name of the checkpoint.
        monitor: The score by which it is kept; None to keep each.
        resume: Whether the run in the folder is continued.
    """

    def __init__(self, out: Path, name: str, monitor: str | None, *, resume: bool) -> None:
        super().__init__(out, name, monitor=monitor, save_on_train_epoch_end=True, enable_version_counter=False)
        self.resume = resume

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a checkpoint: its files are in this folder, unless it is of another run.

        Args:
            state_dict: The state.
        """
        folder = Path(self.dirpath or ".")
        if self.resume:

            def here(path: str) -> str:
                return str(folder / Path(path).name) if path else path

            paths = ("best_model_path", "kth_best_model_path", "last_model_path")
            state_dict = {
                **state_dict,
                "dirpath": self.dirpath,
                **{name: here(state_dict[name]) for name in paths if name in state_dict},
                "best_k_models": {here(path): score for path, score in state_dict.get("best_k_models", {}).items()},
            }
        super().load_state_dict(state_dict)
