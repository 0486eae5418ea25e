"""Makers of predictors, and classes of forecasters, by name, so that a checkpoint names a class and imports nothing."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from stgate.errors import CheckpointError, RequestError, StgateError, did_you_mean
from stgate.io.safe.reading import reason
from stgate.prediction.predictor import Predictor

PREDICTORS = {
    "BayesNF": "stgate.prediction.field.bayesnf.bayesnf",
    "CGLUBNF": "stgate.prediction.field.cglubnf.cglubnf",
    "Climatology": "stgate.prediction.baselines.ClimatologyPredictor",
    "GatedRNN": "stgate.prediction.gated.gated_rnn",
    "GatedTransformer": "stgate.prediction.gated.gated_transformer",
    "GradientBoosting": "stgate.prediction.tabular.boosting.GradientBoostingPredictor",
    "Persistence": "stgate.prediction.baselines.PersistencePredictor",
    "Ridge": "stgate.prediction.baselines.RidgePredictor",
    "STHSepNet": "stgate.prediction.sepnet.SepNetPredictor",
    "Stack": "stgate.prediction.stack.StackPredictor",
}
"""Makers of the predictors of `stgate.models`, by the forecaster's name; each takes the forecaster's options."""


Made = TypeVar("Made")

FORECASTERS = "stgate.models"
"""Package whose forecasters are looked up by name if `PREDICTORS` does not list them."""
_HOLDERS: dict[str, type[Any]] = {}


def register(holder: type[Any]) -> None:
    """Remember a forecaster's class, so that its checkpoints can be loaded as long as it is imported.

    Args:
        holder: The class; it takes the place of an earlier one of the same name, such as that of a notebook's cell.

    Raises:
        RequestError: The class is a user's, and a forecaster of `stgate.models` has its name.
    """
    name = holder.__name__
    if not is_ours(holder) and name in {*PREDICTORS, *importlib.import_module(FORECASTERS).__all__}:
        raise RequestError(f"class {name}: {FORECASTERS} has a class of this name; name it otherwise")
    _HOLDERS[name] = holder


def is_ours(kind: type[Any]) -> bool:
    """Return True for a class of this package."""
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def make_predictor(name: str, options: Mapping[str, Any]) -> Predictor:
    """Make the predictor of a forecaster of `stgate.models`, or of an imported subclass of `Forecaster`.

    Args:
        name: The name of the forecaster's class.
        options: The forecaster's options, without optimizer and scheduler.

    Raises:
        CheckpointError: No class of this name is known, and nothing is imported from what a file says; or it does not
            take these options.
    """
    made = construct(name, _maker(name), options)
    predictor: Predictor = made if isinstance(made, Predictor) else made.predictor
    predictor.name = name
    return predictor


def construct(name: str, maker: Callable[..., Made], options: Mapping[str, Any]) -> Made:
    """Call a forecaster's class, or the maker of its predictor, with the options of a checkpoint.

    Args:
        name: The name of the forecaster's class, for the message.
        maker: The class or the maker.
        options: The options; what they lack has its default.

    Raises:
        CheckpointError: The class does not take these options.
    """
    takes = inspect.signature(maker).parameters
    if unknown := [option for option in options if option not in takes]:
        option = unknown[0]
        raise CheckpointError(
            f"{option} {options[option]!r}: the checkpoint holds it, but {name} takes no such option; load it with the "
            f"version of {name} that wrote it"
        )
    try:
        return maker(**options)
    except StgateError:
        raise
    except Exception as error:  # options of kinds that no check foresees
        raise CheckpointError(
            f"{name}: does not take the checkpoint's options ({reason(error)}); give each new option of it a default"
        ) from error


def holder(name: str) -> type[Any]:
    """Find the class of an imported forecaster by its name.

    Args:
        name: The name of the class.

    Raises:
        CheckpointError: No class of this name is imported; nothing is imported from what a file says.
    """
    if name not in _HOLDERS and name in importlib.import_module(FORECASTERS).__all__:
        getattr(importlib.import_module(FORECASTERS), name)  # imports it, and Lightning with it
    if name not in _HOLDERS:
        raise CheckpointError(f"model {name!r}: no such class is imported; {did_you_mean(name, known_names())}")
    return _HOLDERS[name]


def holders() -> dict[str, type[Any]]:
    """Return the classes of the forecasters that are imported, by name; abstract bases are left out."""
    return {name: kind for name, kind in _HOLDERS.items() if not inspect.isabstract(kind)}


def known_names() -> list[str]:
    """Return the names of all forecasters whose checkpoints can be loaded now."""
    return sorted({*PREDICTORS, *holders()})


def check_options(name: str, options: Iterable[str], changed: Iterable[str]) -> None:
    """Refuse changes of options that a forecaster does not have.

    Args:
        name: The name of the forecaster's class, for the message.
        options: Names of the options that it has.
        changed: Names of the options that are changed.

    Raises:
        RequestError: There is no such option.
    """
    known = list(options)
    for option in changed:
        if option not in known:
            raise RequestError(f"{option}: not an option of {name}; {did_you_mean(option, known)}")


def signature_of(name: str) -> inspect.Signature:
    """Return the signature of the maker of a forecaster's predictor, else of its imported class."""
    return inspect.signature(_maker(name))


def _maker(name: str) -> Callable[..., Any]:
    """Return the maker of a forecaster's predictor, else its imported class."""
    if name not in PREDICTORS:
        return holder(name)
    module, _, maker = PREDICTORS[name].rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), maker)
    return found
