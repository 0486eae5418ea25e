"""Arguments of a fit: packaged configs, the run's folder, and the run's own config on a resume."""

from __future__ import annotations

import atexit
import contextlib
import os
import pkgutil
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stgate.commands.fit.folder import check_resumable
from stgate.commands.fit.words import no_forecaster
from stgate.errors import RequestError, StoreError, did_you_mean
from stgate.io.paths import config_path
from stgate.io.safe.documents import read_yaml
from stgate.io.safe.reading import exists, reason

FLAGS = ("--resume", "--overwrite")
"""Flags of one command, which are no options of the run."""
WRITTEN = (".yaml", ".yml", ".json")
"""Suffixes of files of options, which an option takes in the place of its value."""
CLASSES = (
    *("data", "model.likelihood", "model.inference", "model.rollout", "model.transforms", "model.optimizer"),
    *("model.lr_scheduler", "model.spatial", "trainer.logger", "trainer.callbacks", "trainer.strategy"),
    *("trainer.plugins", "trainer.profiler"),
)
"""Options that take a class, beside the forecaster."""
PATH = r"(?<![\w./:-])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?![\w./:])"
"""Pattern of an import path."""
PACKAGES = {"sklearn": "scikit-learn", "yaml": "pyyaml", "torch_geometric": "torch_geometric", "cv2": "opencv-python"}
"""Names of packages, by those of their modules, where they differ by more than a dash."""


def prepare(command: str, arguments: list[str]) -> list[str]:
    """Complete the arguments: packaged configs become paths, the model's name is checked, the run's folder is set.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
        arguments: Arguments as typed.

    Returns:
        Arguments for Lightning's parser.

    Raises:
        RequestError: There is no such forecaster, its module cannot be imported, or a config is not YAML.
        StoreError: `--resume` finds no completed epoch, or no config.
    """
    from stgate.commands.fit.messages import forecasters

    out, config, model = (value_of(arguments, option) for option in ("--out", "--config", "--model"))
    arguments = with_paths(arguments)
    if model is not None and "." not in model and model not in forecasters():
        raise RequestError(no_forecaster(model, forecasters()))
    named = [("model", model_name(arguments)), *((name, value_of(arguments, f"--{name}")) for name in CLASSES)]
    for path in _values_of(arguments, "--config", "-c"):
        options = read_config(path)
        named += _held(options).items()
        if value_of(arguments, "--ckpt_path") is None and isinstance(options.get("ckpt_path"), str):
            arguments = [*arguments, f"--ckpt_path={options['ckpt_path']}"]
    for option, given in named:
        if given and not os.path.isfile(given):
            for path in re.findall(PATH, given):
                _import(path, option)
    checkpoint = value_of(arguments, "--ckpt_path")
    if command != "fit" and checkpoint and not config and not value_of(arguments, "--data.panel"):
        beside = Path(checkpoint).parent / "config.yaml"  # the run's own panel and split
        if os.path.isfile(beside):
            arguments = [f"--config={_of_today(beside)}", *arguments]
    if command == "predict" and not value_of(arguments, "--out"):
        arguments += ["--out", "null"]  # a run's config names the run's folder
    asked = {a.split("=")[0] for a in arguments}
    helped = {"-h", "--help", "--print_config"} & asked or any(a.endswith(".help") for a in asked)
    if command == "fit" and not helped:
        out = out or default_folder(config, model)
        flags = [flag for flag in FLAGS if flag in arguments]
        arguments = [*arguments, f"--out={out}", *flags]  # said last: a config that is given may say otherwise
        if "--resume" in arguments:
            arguments = _resumed(arguments, Path(out), has_config=bool(config or model))
    return arguments


def with_paths(arguments: Sequence[str]) -> list[str]:
    """Return arguments with the paths of configs in the place of their names.

    Args:
        arguments: Arguments as typed.

    Raises:
        StoreError: There is no such config.
    """
    made = list(arguments)
    for option in ("--config", "-c"):
        for index, argument in enumerate(made):
            if argument == option and index + 1 < len(made):
                made[index + 1] = str(config_path(made[index + 1]))
            elif argument.startswith(f"{option}="):
                made[index] = f"{option}={config_path(argument.split('=', 1)[1])}"
    return made


def default_folder(config: str | None, model: str | None) -> str:
    """Return the folder of a run that is given none.

    Args:
        config: Name or path of its config, if it has one.
        model: Name of its forecaster.
    """
    return str(Path("runs") / (Path(config).stem if config else (model or "run").rsplit(".", 1)[-1]))


def check_files(arguments: Sequence[str]) -> None:
    """Read each file of options once: the parser reads it with a loader that bounds neither its depth nor its size.

    Args:
        arguments: Arguments as typed.

    Raises:
        RequestError: A file is not YAML of options, or is too large.
    """
    values = [value for argument in arguments for value in (argument, argument.split("=", 1)[-1])]
    for path in {
        *_values_of(arguments, "--config", "-c", "--data", "--trainer"),
        *(v for v in values if v.endswith(WRITTEN)),
    }:
        if exists(path):
            read_config(path)


def _resumed(arguments: list[str], out: Path, *, has_config: bool) -> list[str]:
    """Add the run's own config, unless another is given, and its last checkpoint."""
    last, stored = out / "last.ckpt", out / "config.yaml"
    check_resumable(out, has_config=has_config)
    if not has_config:
        arguments = [f"--config={_of_today(stored)}", *arguments]
    return arguments if value_of(arguments, "--ckpt_path") else [*arguments, f"--ckpt_path={last}"]


def begun_with(out: Path) -> dict[str, Any] | None:
    """Read the options with which a run was begun, by today's names; None if the run does not hold them.

    Args:
        out: The run's folder.

    Raises:
        RequestError: The run's `config.yaml` is not YAML.
    """
    from stgate.prediction.migrations import migrate_config

    stored = out / "config.yaml"
    return migrate_config(read_config(str(stored))) if os.path.isfile(stored) else None


def model_name(arguments: Sequence[str]) -> str | None:
    """Return the name of the forecaster that the arguments or their config give; None if there is none."""
    if given := value_of(arguments, "--model"):
        return given
    configs = [path for path in _values_of(arguments, "--config", "-c") if os.path.isfile(path)]
    named = [_class_path(read_config(path)) for path in configs]
    return next((name for name in reversed(named) if name is not None), None)


def is_automatic(arguments: Sequence[str]) -> bool:
    """Return True for `--model auto`, and where a run of it is resumed."""
    if "--resume" in arguments and value_of(arguments, "--model") is None:
        beside = Path(value_of(arguments, "--out") or "runs/auto") / "config.yaml"
        return os.path.isfile(beside) and read_config(str(beside)).get("model") == "auto"
    return value_of(arguments, "--model") == "auto"


def _class_path(config: dict[str, Any]) -> str | None:
    """Return the class of the forecaster in a config; None if there is none.

    Raises:
        RequestError: A place for it is there, and empty.
    """
    model = config.get("model")
    if isinstance(model, dict) and not model.get("class_path", "none"):
        raise RequestError("--config: model.class_path is empty; name a forecaster, such as GatedRNN, or leave it out")
    given = model.get("class_path") if isinstance(model, dict) else model
    return given if isinstance(given, str) else None


def _held(options: Mapping[str, Any]) -> dict[str, str]:
    """Return what a config holds for the options that are classes, as text; those that it leaves out are absent."""
    held = {}
    for name in CLASSES:
        owner, _, last = name.partition(".")
        part = options.get(owner)
        if last and isinstance(part, dict):
            inner = part.get("init_args", part)
            part = inner.get(last) if isinstance(inner, dict) else None
        elif last:
            continue
        kinds = [one.get("class_path") if isinstance(one, dict) else one for one in _several(part)]
        if kinds := [kind for kind in kinds if isinstance(kind, str)]:
            held[name] = f"[{', '.join(kinds)}]"
    return held


def _several(given: Any) -> list[Any]:  # noqa: ANN401 (what a config holds)
    return given if isinstance(given, list) else [given]


def _import(path: str | None, option: str = "model") -> None:
    """Import a class that is no part of the package, so that its name and its options are known.

    Args:
        path: The class's import path; nothing is done for a bare name, a file, or None.
        option: Name of the option, for the message.

    Raises:
        RequestError: Its module cannot be imported, or a forecaster's has no such class.
    """
    if path is None or "." not in path or os.path.isfile(path):
        return
    try:
        with contextlib.suppress(ValueError):  # not an import path: the parser says so
            pkgutil.resolve_name(path)
    except AttributeError as error:
        if option != "model":  # the parser says so
            return
        from stgate.commands.fit.messages import forecasters

        hint = did_you_mean(path.rpartition(".")[2], forecasters())
        raise RequestError(f"--model {path}: no such class; {hint}") from error
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package in sys.modules:  # it is there, and has no such module
            raise RequestError(f"--{option} {path}: {error}; check how it is spelled") from error
        name = PACKAGES.get(package, package.replace("_", "-"))
        raise RequestError(
            f"--{option} {path}: {error}; install it (pip install {name}), or add its folder to PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:  # whatever its module does when it is imported
        raise RequestError(
            f"--{option} {path}: cannot be imported ({type(error).__name__}: {reason(error)})"
        ) from error


def read_config(path: str) -> dict[str, Any]:
    """Read the options that a config holds.

    Args:
        path: The file.

    Raises:
        RequestError: The file is not YAML, or it does not hold options by name.
    """
    try:
        options = read_yaml(Path(path))
    except StoreError as error:
        raise RequestError(f"--config {error}") from error
    if not isinstance(options, dict):
        raise RequestError(f"--config {path}: holds no options; write them as `name: value`")
    for name, part in options.items():
        if not isinstance(name, str):
            raise RequestError(f"--config {path}: {name!r} is no name of an option; write it as text")
        if name in ("data", "trainer") and isinstance(part, list):
            raise RequestError(f"--config {path}: {name}: holds a list; write its options as `name: value`")
    return options


def _of_today(path: Path) -> str:
    """Return the path of a run's config with today's option names; a migrated copy is kept until the command ends."""
    from stgate.prediction.migrations import migrate_config

    held = read_config(str(path))
    _import(_class_path(held))
    migrated = {name: value for name, value in migrate_config(held).items() if not (f"--{name}" in FLAGS and value)}
    if migrated == held:
        return str(path)
    folder = tempfile.TemporaryDirectory(prefix="stgate-")
    atexit.register(folder.cleanup)
    copy = Path(folder.name) / "config.yaml"
    copy.write_text(yaml.safe_dump(migrated, sort_keys=False), encoding="utf-8")
    return str(copy)


def value_of(arguments: Sequence[str], option: str) -> str | None:
    """Return the value of an option in raw arguments, the last one; None if it is not given."""
    return next(reversed(_values_of(arguments, option)), None)


def _values_of(arguments: Sequence[str], *options: str) -> list[str]:
    """Return all values of options in raw arguments, in their order."""
    found = []
    for index, argument in enumerate(arguments):
        if argument in options and index + 1 < len(arguments):
            found.append(arguments[index + 1])
        elif argument.startswith(tuple(f"{option}=" for option in options)):
            found.append(argument.split("=", 1)[1])
    return found
