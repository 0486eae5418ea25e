"""Fixtures: small panels with gaps, the real data where they are at hand, and a fitted forecaster."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: two threads on two busy cores are ten times slower
warnings.filterwarnings("ignore", message=".*(LeafSpec|isinstance\\(treespec).*", category=FutureWarning)


def make_panel(steps=400, nodes=("a", "b", "c"), seed=0, missing=0.1) -> xr.Dataset:
    """An hourly panel: `y` with a daily cycle and a known future driver `u`, both with gaps; `lat`, `lon` on nodes."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2020-01-01", periods=steps, freq="h")
    u = rng.standard_normal((steps, len(nodes))).cumsum(0) * 0.1
    cycle = np.sin(2 * np.pi * np.arange(steps) / 24)[:, None] + np.arange(len(nodes))
    y = 10 + 3 * cycle + u + 0.3 * rng.standard_normal((steps, len(nodes)))
    panel = xr.Dataset(
        {
            "y": (("time", "node"), y.astype("float32"), {"units": "ug/m3"}),
            "u": (("time", "node"), u.astype("float32"), {"units": "1"}),
        },
        coords={
            "time": time,
            "node": list(nodes),
            "lat": ("node", 40 + 0.1 * np.arange(len(nodes))),
            "lon": ("node", 116 + 0.1 * np.arange(len(nodes))),
        },
    )
    return panel.where(rng.random((steps, len(nodes))) >= missing) if missing else panel


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
