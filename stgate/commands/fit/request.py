"""A request of `stgate fit`, parsed once and completed by other options: what a search fits and scores."""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from stgate.commands.fit.arguments import check_files, is_automatic, model_name, prepare
from stgate.commands.fit.cli import ForecasterCLI
from stgate.commands.fit.completion import _LEFT_OUT, _OF_THE_FIRST_FIT
from stgate.commands.fit.limits import check_seed, check_trainer, check_trainer_given
from stgate.commands.fit.messages import root_of
from stgate.commands.fit.one_line import ignore_known
from stgate.commands.fit.runs import quiet
from stgate.data.window_data import WindowData
from stgate.errors import RequestError
from stgate.fitting.scoreboard import scored
from stgate.fitting.training import quiet_trainer, train
from stgate.models.forecaster import Forecaster

OF_A_RUN = ("out", "ckpt_path")
"""Options of a run, which a config for other runs leaves empty."""


class FitRequest:
    """Arguments of `stgate fit` from which fits are made whose options differ.

    Args:
        arguments: Arguments as typed.

    Raises:
        RequestError: An argument is wrong, or asks for what only a single fit can do.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        quiet()
        check_files(arguments)
        if is_automatic(arguments):
            raise RequestError("--model auto: fits a list of its own; name one forecaster, such as GatedRNN")
        self._arguments = prepare("fit", list(arguments))
        self.model = model_name(self._arguments)
        with _one_line():
            argv, sys.argv = sys.argv, ["stgate fit"]  # Lightning looks there, too
            try:
                self._cli = _Parsed("fit", self._arguments, contextlib.ExitStack(), [])
            finally:
                sys.argv = argv
        given = self._cli.config["fit"]
        check_trainer_given(given.trainer)
        check_trainer(given.trainer)
        check_seed(given.seed_everything)
        if str(given.trainer.devices) not in ("1", "auto") or str(given.trainer.num_nodes) != "1":
            raise RequestError(
                f"--trainer.devices {given.trainer.devices}: a trial takes one device; start the command in several "
                "shells instead"
            )
        self.seed = int(given.seed_everything)
        self._data: tuple[str, WindowData] | None = None

    def config(self, options: Mapping[str, str]) -> Any:  # noqa: ANN401 (a parsed namespace)
        """Parse the request with other options.

        Args:
            options: Values as typed, by name.

        Raises:
            StgateError: The fit has no such option, or it does not take such a value.
        """
        with _one_line():
            return self._cli.parser.parse_args(["fit", *self._arguments, *(f"--{n}={v}" for n, v in options.items())])

    def text(self, options: Mapping[str, str]) -> str:
        """Return the request with other options as the text of a config.

        Args:
            options: Values as typed, by name.
        """
        config = self.config(options)["fit"].clone()
        config.resume = config.overwrite = False
        for name in OF_A_RUN:
            config[name] = None
        return str(self._cli._parser("fit").dump(config, skip_none=False))

    def score(self, options: Mapping[str, str], report: Callable[[float, int], None]) -> float:
        """Fit the request with other options, without a calibration, and score it on the validation part.

        Args:
            options: Values as typed, by name.
            report: Function that is called with the score and the number of each validated epoch.

        Returns:
            The CRPS of the forecaster that is kept; where it chooses its epoch by another score, the lowest of those.

        Raises:
            StgateError: The options do not go together, or the fit fails.
        """
        with _one_line():
            config = self.config(options)
            made = self._cli.parser.instantiate_classes(config)["fit"]
            forecaster: Forecaster = made.model
            data = self._shared(str(config["fit"].data), made.data)
            if data.parts.validation[0] == data.parts.validation[1]:
                raise RequestError("--data.split: leaves no validation part; a search needs one")
            scores = _Scores(forecaster.monitor, report)
            kept = {n: v for n, v in dict(made.trainer).items() if v is not None and n not in _LEFT_OUT}
            given = kept.pop("callbacks", None) or []
            own = [c for c in (given if isinstance(given, list) else [given]) if not isinstance(c, _OF_THE_FIRST_FIT)]
            epochs = kept.pop("max_epochs", None)

            def make_trainer(**chosen: Any) -> L.Trainer:  # noqa: ANN401 (those of a trainer)
                return quiet_trainer(**{**kept, **chosen, "callbacks": [*own, *chosen["callbacks"], scores]})

            with warnings.catch_warnings():
                ignore_known()
                train(forecaster, data, seed=self.seed, epochs=epochs, make_trainer=make_trainer)
            if forecaster.monitor == "val_crps" and not data.spec.places:
                return scored(forecaster.predictor, data)[0]
            return scores.lowest

    def _shared(self, key: str, data: WindowData) -> WindowData:
        """Return the data of the trial before, if it had the same options: a panel is read once."""
        if self._data is None or self._data[0] != key:
            data.setup()
            self._data = key, data
        return self._data[1]


class _Parsed(ForecasterCLI):
    """Lightning's CLI of a fit that is parsed and not run."""

    def before_instantiate_classes(self) -> None:
        """Check nothing: the request does."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""


class _Scores(Callback):
    """Report the score of each validated epoch."""

    def __init__(self, monitor: str, report: Callable[[float, int], None]) -> None:
        self.monitor, self.report, self.lowest = monitor, report, math.inf

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the score, which may end the fit."""
        score = trainer.callback_metrics.get(self.monitor)
        if score is not None and not trainer.sanity_checking:
            self.lowest = min(self.lowest, float(score))
            self.report(float(score), trainer.current_epoch + 1)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turn what the parser and the classes raise into one line."""
    try:
        yield
    except MisconfigurationException as error:
        raise RequestError(str(error).splitlines()[0]) from error
    except (ValueError, TypeError) as error:  # jsonargparse wraps what a class's own __init__ raises
        raise root_of(error) from error
