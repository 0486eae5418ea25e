"""Hashes of the weights and the forecasts of a small fit of every forecaster: what a change of the code must not move.

    python -m benchmarks run bits                       # fit, print one line a forecaster
    python -m benchmarks run bits -- --check FILE       # compare with the lines kept in a JSON of the same machine
    python -m benchmarks run bits -- --save FOLDER      # keep checkpoints, panel and forecasts (for tests/checkpoints)
    python -m benchmarks run bits -- --only ridge ...   # some of them

Hashes hold on one machine, torch build and thread count. Weights are hashed without their names, which may change.
With any of these options nothing is written to the results.
"""

import hashlib
import json
import tempfile
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import xarray as xr

import stgate
from benchmarks.fits import trainer
from benchmarks.options import Findings, Options
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.tables import table
from stgate.distributions import StudentT
from stgate.inference import Ensemble, MeanField
from stgate.models import (
    CGLUBNF,
    BayesNF,
    Climatology,
    GatedRNN,
    GatedTransformer,
    GradientBoosting,
    Persistence,
    Ridge,
    Stack,
    STHSepNet,
)
from stgate.nn import RollOut

LEVELS = [0.5, 0.8]


def small_panel() -> xr.Dataset:
    """An hourly panel of five places with a daily cycle, a covariate, edges and gaps: 240 steps."""
    rng = np.random.default_rng(7)
    steps, nodes = 240, list("abcde")
    time = pd.date_range("2021-03-01", periods=steps, freq="h")
    u = 0.1 * rng.standard_normal((steps, len(nodes))).cumsum(0)
    cycle = np.sin(2 * np.pi * np.arange(steps) / 24)[:, None] + np.arange(len(nodes))
    y = 10 + 3 * cycle + u + 0.3 * rng.standard_normal((steps, len(nodes)))
    y[rng.random(y.shape) < 0.1] = np.nan
    y[100:130, 2] = np.nan
    dims = ("time", "node")
    variables = {
        "y": (dims, y.astype("float32"), {"units": "ug/m3"}),
        "u": (dims, u.astype("float32"), {"units": "1"}),
        "edge_source": ("edge", np.array(["a", "b", "c", "d"])),
        "edge_target": ("edge", np.array(["b", "c", "d", "e"])),
        "edge_weight": ("edge", np.array([1.0, 0.5, 2.0, 1.0])),
    }
    places = {"lat": ("node", 40 + 0.1 * np.arange(5)), "lon": ("node", 116 + 0.07 * np.arange(5) ** 2)}
    return xr.Dataset(variables, {"time": time, "node": nodes, **places})


def small_rollout_panel() -> xr.Dataset:
    """A Lorenz-96 panel of eight nodes in model time."""
    return stgate.simulate.lorenz96(nodes=8, forcing=8.0, duration=20, step=0.01, every=5, members=2, seed=0)


def windows(panel):
    return stgate.data.WindowData(
        panel, targets=["y"], window=12, horizon=4, past_covariates=["u"], static_covariates=["lat"], batch_size=16
    )


SPLIT = (0.6, 0.1, 0.15, 0.15)
"""Parts of the data of fields."""


def fields(panel):
    return stgate.data.FieldData(panel, targets=["y"], context=6, horizon=3, split=SPLIT, batch_size=32)


def plain_fields(panel):
    return stgate.data.FieldData(panel, targets=["y"], context=0, split=SPLIT, batch_size=32)


def rolled(panel):
    return stgate.data.WindowData(panel, targets=["x"], window=6, horizon=8, batch_size=16)


def stack_of_two() -> Stack:
    """A stack of a ridge regression and a small network, fitted on the same panel."""
    panel, folder = small_panel(), Path(tempfile.mkdtemp())
    paths = []
    for name in ("ridge", "gated_rnn"):
        fit(name, panel).save(folder / f"{name}.ckpt")
        paths.append(str(folder / f"{name}.ckpt"))
    return Stack(members=paths)


CASES = {
    "persistence": (lambda: Persistence(), windows),
    "climatology": (lambda: Climatology(), windows),
    "ridge": (lambda: Ridge(), windows),
    "gradient_boosting": (lambda: GradientBoosting(trees=4, learning_rate=0.5, max_rows=1000), windows),
    "gated_rnn": (lambda: GatedRNN(hidden=8, attention=2, dropout=0.1), windows),
    "gated_rnn_ensemble": (
        lambda: GatedRNN(hidden=8, cell="rhn", likelihood=StudentT(), inference=Ensemble(members=2, prior="normal")),
        windows,
    ),
    "gated_rnn_rollout": (
        lambda: GatedRNN(hidden=8, patch=2, halo=1, rollout=RollOut(unroll=[2, 4], noise=0.01, samples=3, width=8)),
        rolled,
    ),
    "gated_transformer": (lambda: GatedTransformer(hidden=8, heads=2, span=4, inference=MeanField(draws=4)), windows),
    "sth_sepnet": (lambda: STHSepNet(hidden=8, width=8, heads=2, embedding=4, prototypes=8, neighbours=2), windows),
    "cglubnf": (
        lambda: CGLUBNF(kriging=False, width=16, graph=4, heads=2, neighbours=2, inference=Ensemble(members=2)),
        fields,
    ),
    "stack": (stack_of_two, windows),
    "bayesnf": (lambda: BayesNF(width=16, inference=Ensemble(members=2, prior="logistic")), plain_fields),
}
"""Forecaster and data module of each fit, by name."""


def fit(name: str, panel: xr.Dataset):
    """A fitted and calibrated forecaster."""
    make, data_of = CASES[name]
    L.seed_everything(3, verbose=False)
    model, data = make(), data_of(panel)
    trainer(max_epochs=2, accelerator="cpu").fit(model, data)
    stgate.calibrate(model, data, levels=LEVELS)
    if data_of in (fields, plain_fields):
        stgate.calibrate_reconstruction(model, panel, start=str(panel["time"].values[170]), levels=LEVELS)
    return model


def forecasts(name: str, model, panel: xr.Dataset) -> dict[str, xr.Dataset]:
    """Forecasts of a panel, by the verb that makes them."""
    made = {"forecast": stgate.forecast(model, panel, levels=LEVELS)}
    made["backtest"] = stgate.backtest(model, panel, start=panel["time"].values[200], every=5, levels=LEVELS)
    if "nf" in name:
        made["reconstruct"] = stgate.reconstruct(model, panel, start=str(panel["time"].values[210]), levels=LEVELS)
    if "rollout" in name:
        made["free_run"] = stgate.free_run(model, panel, steps=12)
    return made


def hash_of(arrays) -> str:
    """Twelve hexadecimal digits of a hash of arrays in any order."""
    each = sorted(hashlib.sha256(np.ascontiguousarray(a).tobytes()).digest() for a in arrays)
    return hashlib.sha256(b"".join(each)).hexdigest()[:12]


def numbers(made: xr.Dataset) -> list[np.ndarray]:
    """The values of a forecast's variables."""
    return [made[v].values for v in made.data_vars if made[v].dtype.kind == "f"]


def keep(folder: Path, name: str, model, panel: xr.Dataset, key: str, made: dict[str, xr.Dataset]) -> None:
    """Write the checkpoint, the panel and the last forecasts into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    panel.drop_attrs().to_netcdf(folder / f"{key}.nc")
    model.save(folder / f"{name}.ckpt")
    for verb, dataset in made.items():
        last = dataset.isel({d: slice(-2, None) for d in ("init_time", "time") if d in dataset.dims})
        values = {str(v): last[v].values for v in last.data_vars if last[v].dtype.kind == "f"}
        np.savez_compressed(folder / f"{name}.{verb}.npz", **values)


@benchmark(
    "bits",
    claim="a change of the code moves no bit of the weights and forecasts of a small fit of every forecaster",
    cost="1 minute",
    quick="the forecasters without a neural network",
    seeds=(3, 7),
    one_thread=True,
)
def run(
    options: Options, *, check: Path | None = None, save: Path | None = None, only: list[str] | None = None
) -> Findings:
    """Fit each forecaster, print and compare or keep what it gives.

    Args:
        options: Options of all benchmarks.
        check: JSON of earlier hashes of the same machine; any difference exits with 1.
        save: Folder for checkpoints, panels and forecasts.
        only: Names of the forecasters to fit.
    """
    if unknown := sorted(set(only or ()) - set(CASES)):
        raise BenchmarkError(f"bits has no {', '.join(unknown)}; it has {', '.join(CASES)}")
    warnings.simplefilter("ignore")
    panels = {"panel": small_panel(), "rollout_panel": small_rollout_panel()}
    found = {}
    for name in only or (list(CASES)[:3] if options.quick else CASES):
        key = "rollout_panel" if "rollout" in name else "panel"
        model = fit(name, panels[key])
        made = forecasts(name, model, panels[key])
        weights = hash_of(t.detach().numpy() for t in model.state_dict().values())
        found[name] = {"weights": weights} | {verb: hash_of(numbers(m)) for verb, m in made.items()}
        print(name, " ".join(f"{k}={v}" for k, v in found[name].items()), flush=True)
        if save:
            keep(save, name, model, panels[key], key, made)
    if save:
        (save / "hashes.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    other = []
    if check:
        kept = json.loads(check.read_text(encoding="utf-8"))
        other = [name for name in found if kept.get(name) != found[name]]
        print(f"other than {check}: {', '.join(other)}" if other else f"as {check}")
    verbs = ("weights", "forecast", "backtest", "reconstruct", "free_run")
    lines = table(["forecaster", *verbs], ([name, *(f.get(v, "") for v in verbs)] for name, f in found.items()))
    missed = [f"{name} has other bits than before" for name in other]
    return Findings("Bits", lines, found, missed=missed, keep=not (check or save or only))
