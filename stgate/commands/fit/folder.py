"""The folder of a run: what may be written there, looked at before anything is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from stgate.errors import StoreError
from stgate.io import paths
from stgate.io.safe.temporaries import is_temporary

AUTOMATIC = ("best.ckpt", "config.yaml", "scores.csv", "scores.md")
"""Files of an automatic fit, beside the folder `members`."""


def check_run_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that cannot be written, or holds what is not to be replaced.

    Args:
        out: The folder.
        resume: Whether the run in it is continued.
        overwrite: Whether the run in it may be replaced.

    Raises:
        StoreError: The folder is not writable, holds another run, or is no run's.
    """
    paths.check_folder(out)
    if out.exists() and not resume:
        if not overwrite and not never_began(out):
            raise StoreError(f"--out {out}: exists; continue it with --resume, or replace it with --overwrite")
        if strange := [path.name for path in out.iterdir() if not of_a_run(path)]:
            raise StoreError(
                f"--out {out}: not a run (it holds {strange[0]}), so --overwrite does not replace it; give another name"
            )


def check_automatic_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder of an automatic fit that holds another run.

    Args:
        out: The folder.
        resume: Whether the run in it is continued.
        overwrite: Whether the run in it may be replaced.

    Raises:
        StoreError: The folder exists and is neither to be continued nor replaced, or holds other files.
    """
    paths.check_folder(out)
    if not os.path.exists(out) or resume:
        return
    if strange := [p.name for p in out.iterdir() if p.name not in (*AUTOMATIC, "members") and not p.match(".*.tmp")]:
        raise StoreError(f"--out {out}: not an automatic run (it holds {strange[0]}); give another name")
    if not overwrite and any(out.iterdir()):
        raise StoreError(f"--out {out}: exists; continue it with --resume, or replace it with --overwrite")


def check_resumable(out: Path, *, has_config: bool) -> None:
    """Refuse to resume a run that holds nothing to go on from.

    Args:
        out: The folder.
        has_config: Whether options are given elsewhere.

    Raises:
        StoreError: There is no completed epoch, or no config.
    """
    if not os.path.isfile(out / "last.ckpt"):
        raise StoreError(
            f"--resume: {out} holds no last.ckpt, since no epoch was completed; start again without --resume"
        )
    if not has_config and not (out / "config.yaml").is_file():
        raise StoreError(f"--resume: {out} holds no config.yaml; give --config or --model")


def never_began(out: Path) -> bool:
    """Return True for the folder of a fit that ended before its first checkpoint: nothing is lost with it."""
    if not os.path.isdir(out):
        return False
    held = list(out.iterdir())
    return all(map(of_a_run, held)) and not any(path.suffix == ".ckpt" for path in held)


def of_a_run(path: Path) -> bool:
    """Return True for a file that a fit writes: nothing else is ever removed."""
    names = ("best.ckpt", "last.ckpt", "config.yaml", "hparams.yaml")
    ours = path.name in names or path.match("metrics*.csv") or path.match(".*.tmp")
    return is_temporary(path) or (path.is_file() and ours)
