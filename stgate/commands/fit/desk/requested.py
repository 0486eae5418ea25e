"""Checks of a fit's options and files that need no torch: seed, trainer, folders, counts, names in the panel."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import yaml

from stgate._memory import memory_limit
from stgate.commands.fit import words
from stgate.commands.fit.arguments import default_folder
from stgate.commands.fit.desk.given import Given
from stgate.commands.fit.folder import check_automatic_folder, check_resumable, check_run_folder
from stgate.commands.fit.limits import check_seed, check_trainer
from stgate.data.counts import check_context, check_windows
from stgate.errors import RequestError
from stgate.io import paths
from stgate.io.names import check_variables
from stgate.schema.words import check_automatic, check_split

COUNTS = ("window", "horizon", "train_horizon", "batch_size", "every", "eval_every", "num_workers", "seed")
ROLES = ("past_covariates", "future_covariates", "covariates", "static_covariates")
"""Options that list variables of the panel, besides the targets, which may be one."""


def check_request(command: str, given: Given, model: str | None, *, automatic: bool, fields: str | None) -> None:
    """Refuse values that are out of range, and files that are not there or hold something else.

    Args:
        command: Name of the command.
        given: Options as given.
        model: Name of the forecaster, as given.
        automatic: Whether the forecaster is chosen.
        fields: Name of the data class; None if it is the user's.

    Raises:
        StgateError: Something is wrong; the message is that of what checks it later.
    """
    held = {name: _plain(value) for name, value in given.values.items()}
    if type(seed := held.get("seed_everything")) is int:
        check_seed(seed)
    if command == "fit":
        _check_run(given, held, model, automatic=automatic)
    elif command == "predict" and isinstance(out := held.get("out"), str) and given.flags <= {"--overwrite"}:
        paths.check_out(out, overwrite="--overwrite" in given.flags)
    if fields is not None:
        check_data({n.removeprefix("data."): v for n, v in held.items() if n.startswith("data.")}, fields)


def _check_run(given: Given, held: dict[str, Any], model: str | None, *, automatic: bool) -> None:
    """Refuse a run whose options or folder are wrong."""
    ways = {"resume": "--resume" in given.flags, "overwrite": "--overwrite" in given.flags}
    config = given.configs[-1] if given.configs else None
    folder = held["out"] if isinstance(held.get("out"), str) else None
    if {"resume", "overwrite"} & held.keys():  # of a config
        return
    if automatic:
        check_automatic_folder(Path(folder or "runs/auto"), **ways)
        budget = held.get("budget")
        check_automatic(budget if isinstance(budget, int | float) else None, str(held.get("calibration", "auto")))
        return
    out = Path(folder or default_folder(config, model))
    if ways["resume"]:
        check_resumable(out, has_config=bool(config or model))
    monitor = held.get("monitor")
    if isinstance(monitor, str) and monitor not in words.MONITORS:
        raise RequestError(words.not_one_of("monitor", monitor, words.MONITORS))
    trainer = {n.removeprefix("trainer."): v for n, v in held.items() if n.startswith("trainer.")}
    if "trainer.max_time" in held:
        trainer["max_time"] = given.values["trainer.max_time"]  # a text
    check_trainer(trainer)
    if ways["resume"] and ways["overwrite"]:
        raise RequestError(words.BOTH)
    check_run_folder(out, **ways)


def check_data(options: dict[str, Any], fields: str) -> None:
    """Refuse options of data that are out of range, and a panel that is not there or lacks a variable.

    Args:
        options: Options as given, by name.
        fields: Name of the data class.

    Raises:
        StgateError: Something is wrong.
    """
    counts = {name: options[name] for name in COUNTS if type(options.get(name)) is int}
    if fields == "FieldData":
        check_context(
            **{name: options[name] for name in ("horizon", "context", "ahead") if type(options.get(name)) is int}
        )
    check_windows(**counts)
    if isinstance(memory := options.get("max_memory"), int | float):
        memory_limit(float(memory))
    if isinstance(panel := options.get("panel"), str):
        targets = options.get("targets", [])
        lists = [[targets] if isinstance(targets, str) else targets, *(options.get(role) for role in ROLES)]
        wanted = [name for one in lists if isinstance(one, list) for name in one if isinstance(name, str)]
        check_variables(panel, [name for name in wanted if re.fullmatch(r"\w+", name)])
        if isinstance(split := options.get("split"), list):
            check_split(split)


def _plain(value: Any) -> Any:  # noqa: ANN401 (what a config holds)
    """Return the value of a text, where it is a plain number or list of them, as YAML reads it."""
    if isinstance(value, str):
        with contextlib.suppress(yaml.YAMLError, ValueError):
            read = yaml.safe_load(value) if len(value) < 1000 else value
            return read if isinstance(read, int | float | list) else value
    return value
