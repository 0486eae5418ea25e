"""The study of a search: its trials in a storage that several processes share, run by Optuna."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stgate.errors import RequestError, StgateError, StoreError, TrainingError, one_line
from stgate.tuning.space import Dimension

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

Report = Callable[[float, int], None]
"""A function of a trial's score and epoch, called after each; it raises to end a trial that others have left behind."""
Evaluate = Callable[[dict[str, str], Report], float]
"""A function of the searched options as they are typed, and of a report: the trial's score, the lower the better."""
Tell = Callable[[str], None]
AS_ASKED, OWNER, REQUEST, FAILED = "as asked", "owner", "request", "failed"
"""Names under which the study keeps: the trial of the request as it stands, its process, the request, and a failure."""
HEARTBEAT, GRACE = 30, 120
"""Seconds between two signs of life of a trial, and without any until it is given up."""
FULL, WARM_UP = 4, 5
"""Number of trials that are never ended early, and of epochs that no trial is ended in."""


def search(
    dimensions: Sequence[Dimension],
    evaluate: Evaluate,
    *,
    storage: str,
    name: str,
    request: str,
    trials: int,
    minutes: float | None,
    seed: int,
    tell: Tell,
    better: Callable[[dict[str, str]], None],
) -> Study:
    """Run trials until the study holds as many as are asked for; other processes may run some of them.

    The first trial is the request as it stands, so that the best one is never worse on the validation part. The tree-
    structured Parzen estimator proposes the options of the others. A trial whose score is worse than the median of the
    others at the same epoch is ended.

    Args:
        dimensions: Options that are searched.
        evaluate: Function that fits and scores a trial.
        storage: Address of an Optuna storage, such as `sqlite:///study.db`; or a file, `.db` of sqlite or `.log`, a
            journal that several machines can append to on a shared disk.
        name: Name of the study.
        request: The request in words; a study of another one is refused.
        trials: Number of trials of the whole study.
        minutes: Minutes after which no further trial begins; None for no limit.
        seed: Seed of the proposals.
        tell: Function that is called with lines of progress.
        better: Function that is called with the best options after each trial that this process ran.

    Returns:
        The study.

    Raises:
        RequestError: Optuna is not installed, the storage cannot be used, or the study is that of another request.
    """
    optuna = _optuna()
    study = _study(storage, name, request)
    until = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def objective(trial: Trial) -> float:
        # Each trial has a seed of its own: processes that share a study do not propose the same options.
        study.sampler = optuna.samplers.TPESampler(seed=(1_000_003 * seed + trial.number) % 2**32)
        trial.set_user_attr(OWNER, f"{platform.node()} {os.getpid()}")
        whole = not any(AS_ASKED in other.user_attrs for other in _alive(study) if other.number != trial.number)
        if whole:
            trial.set_user_attr(AS_ASKED, True)
        options = {} if whole else {one.name: one.suggest(trial) for one in dimensions}
        trial.set_user_attr("options", options)

        def report(score: float, epoch: int) -> None:
            trial.report(score, epoch)
            if not whole and trial.should_prune():
                raise optuna.TrialPruned(f"behind the others after epoch {epoch}")

        started = time.monotonic()
        if same := next((t for t in _alive(study) if t.state.name == "COMPLETE" and options_of(t) == options), None):
            tell(
                _line(trial.number, trials, f"{same.value:.6g}, the same as trial {same.number + 1}", options, started)
            )
            return float(same.value)
        try:
            score = evaluate(options, report)
        except optuna.TrialPruned as ended:
            tell(_line(trial.number, trials, f"ended: {ended}", options, started))
            raise
        except StgateError as error:
            if whole and not isinstance(error, TrainingError):  # the request itself is wrong
                raise
            trial.set_user_attr(FAILED, one_line(str(error)))
            tell(_line(trial.number, trials, f"failed: {one_line(str(error))}", options, started))
            raise _Failed from error
        if not math.isfinite(score):
            trial.set_user_attr(FAILED, "its score is not finite")
            raise _Failed
        tell(_line(trial.number, trials, f"{score:.6g}", options, started))
        return score

    while len(_counted(study)) < trials and time.monotonic() < until:
        study.optimize(objective, n_trials=1, catch=(_Failed,))
        if any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
            better(options_of(study.best_trial))
    return study


def options_of(trial: FrozenTrial) -> dict[str, str]:
    """Return the searched options of a trial, as they are typed; empty for the request as it stands.

    Args:
        trial: A trial of a search.
    """
    return dict(trial.user_attrs.get("options", {}))


class _Failed(Exception):
    """A trial without a score."""


def _line(number: int, trials: int, what: str, options: dict[str, str], started: float) -> str:
    said = " ".join(f"{name}={value}" for name, value in options.items()) or "as asked"
    return f"trial {number + 1} of {trials}: {what} ({said}, {time.monotonic() - started:.0f} s)"


def _optuna() -> Any:  # noqa: ANN401 (a module)
    try:
        import optuna
    except ImportError as error:
        raise RequestError("tune: needs optuna, which is not installed; pip install 'stgate[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _study(storage: str, name: str, request: str) -> Study:
    """Open a study, or begin it."""
    optuna = _optuna()
    with _told(f"--storage {storage}"):
        study: Study = optuna.create_study(
            storage=_storage(storage),
            study_name=name,
            load_if_exists=True,
            direction="minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FULL, n_warmup_steps=WARM_UP),
        )
        before = study.user_attrs.get(REQUEST)
        if before is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(REQUEST, request)
    if before is not None and before != request:
        old, new = (set(words.splitlines()) for words in (before, request))
        differ = " and ".join(next(iter(sorted(part)), "nothing") for part in (old - new, new - old))
        raise RequestError(
            f"--study {name}: was begun with other options ({differ}); give another --study or --storage"
        )
    _bury(study)
    return study


def _storage(storage: str) -> str | BaseStorage:
    import optuna

    if "://" not in storage:
        path = Path(storage)
        if path.suffix not in (".db", ".log"):
            raise RequestError(
                f"--storage {storage}: give a file, .db or .log, or an address such as sqlite:///tune.db"
            )
        if not path.absolute().parent.is_dir():
            raise StoreError(f"--storage {storage}: the folder {path.parent} does not exist; make it first")
        if path.suffix == ".log":
            return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        storage = f"sqlite:///{path.absolute()}"
    options = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    with _quietly():  # the signs of life are said to be experimental
        return optuna.storages.RDBStorage(
            storage, engine_kwargs=options, heartbeat_interval=HEARTBEAT, grace_period=GRACE
        )


def _bury(study: Study) -> None:
    """Give up the trials of processes of this machine that are gone: a killed one leaves its trial running."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        host, _, process = str(trial.user_attrs.get(OWNER, "")).rpartition(" ")
        if host == platform.node() and not _runs(int(process)):
            with contextlib.suppress(Exception):  # another process may just have done so
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return process != os.getpid()


def _alive(study: Study) -> list[FrozenTrial]:
    """Return the trials that run or have ended with a score."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.name in ("RUNNING", "COMPLETE", "PRUNED")]


def _counted(study: Study) -> list[FrozenTrial]:
    """Return the trials that count: those that run or have ended, not those of a process that was killed."""
    failed = [t for t in study.get_trials(deepcopy=False) if t.state.name == "FAIL" and FAILED in t.user_attrs]
    return _alive(study) + failed


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say in one line why a storage cannot be used."""
    try:
        with _quietly():
            yield
    except (StgateError, MemoryError):
        raise
    except Exception as error:  # of whatever library the storage needs
        why = str(error).strip().splitlines()
        raise RequestError(f"{what}: cannot be used ({why[0][:200] if why else type(error).__name__})") from error
