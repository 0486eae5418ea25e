"""Fixtures: a small panel with gaps, the real data where they are at hand, and the command in this process."""

import gc
import os
import warnings
from pathlib import Path

import pytest
import scipy.linalg  # noqa: F401 (loads a BLAS of its own, which is then limited)
import torch
import xarray as xr
from helpers import make_panel
from threadpoolctl import threadpool_limits

# Small arrays: two threads on two busy cores are ten times slower, and have other bits than one. A plugin may have
# loaded OpenMP and BLAS already, which then read no variable any more; processes that tests start do.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
torch.set_num_threads(1)
threadpool_limits(1, "blas")
warnings.filterwarnings("ignore", message=".*(LeafSpec|isinstance\\(treespec).*", category=FutureWarning)


def pytest_collection_finish() -> None:
    """Leave what the imports made out of each later garbage collection: there is much of it, and it stays."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def panel() -> xr.Dataset:
    return make_panel()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, beside the checkout; a user's machine does not have it."""
    folder = Path(os.environ.get("STGATE_SHARED", Path(__file__).parents[2] / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the real data: no folder {folder} (set STGATE_SHARED)")
    return folder


@pytest.fixture
def stgate_command(capsys):
    """Run the command in this process: (exit code, stdout, stderr)."""

    def run(*arguments) -> tuple[int, str, str]:
        from stgate.__main__ import main

        capsys.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run
