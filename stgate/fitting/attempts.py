"""Fits of candidates that are kept in a folder, so that a run that was killed goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from stgate.data.window_data import WindowData
from stgate.errors import CheckpointError
from stgate.fitting.shortlist import Candidate
from stgate.fitting.training import Length, quiet_trainer, train
from stgate.io import store
from stgate.io.safe.reading import reading
from stgate.models.forecaster import Forecaster
from stgate.models.training.plan import epochs_for
from stgate.prediction.loading import load
from stgate.prediction.predictor import Predictor

EPOCHS = 3
"""Least number of epochs of a network's fit; one of which they take too long is left out."""
FEWEST, MOST = 2000, 60_000
"""Numbers of rows, at least and at most, of a fit in closed form whose rows can be chosen."""


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A fit.

    Attributes:
        predictor: The fitted predictor.
        length: Its length in epochs.
        seconds: Seconds that it took.
        options: Options by which it differs from what the candidate makes, for want of time.
    """

    predictor: Predictor
    length: Length
    seconds: float
    options: dict[str, Any]


Fit = tuple[Forecaster, Length, dict[str, Any]]
"""A fitted forecaster, the length of its fit, and the options by which it differs from what its candidate makes."""


class Slow(Exception):
    """Raised when a candidate would take longer than its share of the budget."""


class Deadline(L.Callback):
    """Stop a fit at a time, however far it is.

    Args:
        seconds: Seconds from the start of the fit.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Stop the trainer if it is late."""
        if time.monotonic() > self.end:
            trainer.should_stop = True


def kept(path: Path, key: str, fit: Callable[[], Fit]) -> Attempt:
    """Return the fit of a file; it is made, and kept whole or not at all, if it is not there.

    Args:
        path: Path of the checkpoint; a file beside it holds the key, length and seconds.
        key: Digest of what the fit depends on; a fit with another one is made again.
        fit: Function that fits a forecaster.
    """
    held = _notes(path, key)
    if held is not None:
        with contextlib.suppress(CheckpointError), reading(path, "fit", CheckpointError):  # else it is made again
            length = Length(held["planned"], held["done"], tuple(map(tuple, held["share"])))
            return Attempt(load(path), length, held["seconds"], held["options"])
    started = time.monotonic()
    forecaster, length, options = fit()
    seconds = time.monotonic() - started
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)  # those of another fit
    forecaster.save(path)
    with store.atomic(path.with_suffix(".json")) as temporary:
        notes = {"key": key, **dataclasses.asdict(length), "seconds": round(seconds, 2), "options": options}
        temporary.write_text(json.dumps(notes) + "\n", "utf-8")
    predictor = forecaster.predictor.eval()
    predictor.plain_options = dict(forecaster.hparams)
    return Attempt(predictor, length, seconds, options)


def is_kept(path: Path, key: str) -> bool:
    """Return True if a fit is there, whole, and depends on the same.

    Args:
        path: Path of the checkpoint.
        key: Digest of what the fit depends on.
    """
    return _notes(path, key) is not None


def _notes(path: Path, key: str) -> dict[str, Any] | None:
    """Return the notes of a fit; None if there is none that depends on the same."""
    try:
        held = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(held, dict) and held.get("key") == key and path.is_file()
    return held if same else None


def first_fit(candidate: Candidate, data: WindowData, *, seconds: float, fits: float, seed: int) -> Fit:
    """Fit a candidate on the split, for as many epochs as its share of the budget allows.

    Args:
        candidate: The candidate.
        data: The data.
        seconds: Seconds for all fits of this candidate.
        fits: Number of fits of this length that it needs.
        seed: Seed of weights and dropout.

    Raises:
        Slow: The least number of epochs takes longer than the share.
    """
    forecaster = candidate.make()
    if not forecaster.automatic_optimization:
        options = cut_rows(candidate, data, seconds / fits, seed)
        forecaster = candidate.make(**options)
        return forecaster, train(forecaster, data, seed=seed, epochs=1, make_trainer=limited(seconds)), options
    epoch, batches = epoch_seconds(candidate, data, seed)
    allowed = seconds / fits / max(epoch, 1e-9)
    if allowed < EPOCHS:
        raise Slow(
            f"{EPOCHS} epochs take about {EPOCHS * epoch:.0f} s, its share of the budget is {seconds / fits:.0f} s"
        )
    epochs = min(epochs_for(batches), int(allowed))
    length = train(forecaster, data, seed=seed, epochs=epochs, make_trainer=limited(1.5 * seconds / fits))
    return forecaster, length, {}


def cut_rows(candidate: Candidate, data: WindowData, seconds: float, seed: int) -> dict[str, Any]:
    """Return the option with which a fit in closed form ends in time; none if all rows can be taken.

    Args:
        candidate: The candidate.
        data: The data.
        seconds: Seconds for one fit.
        seed: Seed of the fit.

    Raises:
        Slow: Even the fewest rows take longer.
    """
    if candidate.rows is None:
        return {}
    started = time.monotonic()
    train(candidate.make(**{candidate.rows: FEWEST}), data, seed=seed, epochs=1)
    each = (time.monotonic() - started) / FEWEST
    start, stop = data.parts.train
    total = (stop - start) * len(data.spec.nodes) * data.panel.sizes.get("member", 1)
    if each * total <= seconds or total <= FEWEST:
        return {}
    rows = int(seconds / each)
    if rows < FEWEST:
        raise Slow(
            f"{FEWEST:,} rows take about {each * FEWEST:.0f} s, its share of the budget is {seconds:.0f} s a fit"
        )
    return {candidate.rows: min(rows, MOST)}


def epoch_seconds(candidate: Candidate, data: WindowData, seed: int) -> tuple[float, int]:
    """Estimate the seconds of an epoch, with its validation, from a few batches; and count its batches.

    Args:
        candidate: The candidate.
        data: The data.
        seed: Seed of weights and dropout.
    """
    watch = Watch()
    train(
        candidate.make(),
        data,
        seed=seed,
        length=Length(1, 1),
        make_trainer=lambda **options: quiet_trainer(
            **{**options, "callbacks": [*options["callbacks"], watch], "limit_train_batches": 4, "limit_val_batches": 0}
        ),
    )
    batches = len(data.train_dataloader())
    rows = (data.parts.validation[1] - data.parts.validation[0]) / max(data.parts.train[1] - data.parts.train[0], 1)
    return watch.batch * batches * (1 + rows / 2), batches  # a forward pass takes about half of a step


class Watch(L.Callback):
    """Measure the seconds of a batch, without the first one, which is slow."""

    def __init__(self) -> None:
        self.batch, self._last, self._spans = 0.0, 0.0, [0.0][:0]

    def on_train_batch_start(self, *_: object) -> None:
        """Start the clock."""
        self._last = time.monotonic()

    def on_train_batch_end(self, *_: object) -> None:
        """Keep the median."""
        self._spans.append(time.monotonic() - self._last)
        later = self._spans[1:] or self._spans
        self.batch = float(torch.tensor(later).median())


def limited(seconds: float) -> Callable[..., L.Trainer]:
    """Return a maker of quiet trainers that stop in time.

    Args:
        seconds: Seconds from now.
    """
    deadline = Deadline(seconds)

    def make(**options: Any) -> L.Trainer:  # noqa: ANN401 (those of a trainer)
        return quiet_trainer(**{**options, "callbacks": [*options.get("callbacks", ()), deadline]})

    return make
