"""What tests repeat: small panels and forecasts, data modules, quiet trainers, built and fitted forecasters, refusals.

Helpers that a single file needs stay in that file; fixtures are in `conftest.py`. Torch and Lightning are imported
where they are used, so that a test that needs neither does not wait for them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import stgate

if TYPE_CHECKING:
    import lightning as L
    import torch

    from stgate.data import FieldData, WindowData
    from stgate.models import CGLUBNF, Forecaster
    from stgate.schema.spec import PanelSpec

HOUR = np.timedelta64(1, "h")
WINDOW, HORIZON = 6, 3
FIELD_NODES = tuple("abcdef")
SEPNET_NODES = tuple("abcdefg")
SMALL_SEPNET = {"hidden": 8, "width": 8, "heads": 2, "depth": 1, "prototypes": 5, "neighbours": 3, "embedding": 4}
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)

FEW = {"limit_train_batches": 2, "limit_val_batches": 1}
"""Options of a trainer for a fit of a few steps: where what is claimed holds for any fitted weights."""

# Panels


def make_panel(steps=400, nodes=("a", "b", "c"), seed=0, missing=0.1) -> xr.Dataset:
    """An hourly panel: `y` with a daily cycle and a known future driver `u`, both with gaps; `lat`, `lon` on nodes."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2020-01-01", periods=steps, freq="h")
    u = rng.standard_normal((steps, len(nodes))).cumsum(0) * 0.1
    cycle = np.sin(2 * np.pi * np.arange(steps) / 24)[:, None] + np.arange(len(nodes))
    apart = np.arange(len(nodes)) * min(0.1, 40 / len(nodes))
    y = 10 + 3 * cycle + u + 0.3 * rng.standard_normal((steps, len(nodes)))
    panel = xr.Dataset(
        {
            "y": (("time", "node"), y.astype("float32"), {"units": "ug/m3"}),
            "u": (("time", "node"), u.astype("float32"), {"units": "1"}),
        },
        coords={
            "time": time,
            "node": list(nodes),
            "lat": ("node", 40 + apart),
            "lon": ("node", 116 + apart),
        },
    )
    return panel.where(rng.random((steps, len(nodes))) >= missing) if missing else panel


def field_panel(steps=120, **options) -> xr.Dataset:
    """A panel of the six places that fields are tested on."""
    return make_panel(steps=steps, nodes=FIELD_NODES, **options)


def ring_panel(duration=30, members=4) -> xr.Dataset:
    """Trajectories of Lorenz 96 with eight nodes, 0.05 units of model time apart."""
    return stgate.simulate.lorenz96(
        nodes=8, forcing=8.0, duration=duration, step=0.01, every=5, members=members, seed=1, verify=False
    )


def model_time_panel(steps=100, members=2, offset=0.0, units="model time units") -> xr.Dataset:
    """Noisy trajectories of `x` at four nodes of a ring, in model time."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((members, steps, 4)).cumsum(1).astype("float32")
    time = ("time", offset + 0.05 * np.arange(steps), {"units": units})
    coords = {"time": time, "node": range(4), "member": range(members)}
    return xr.Dataset({"x": (("member", "time", "node"), x)}, coords, {"boundary": "periodic"})


def lattice_panel(steps=80, rows=4, columns=6) -> xr.Dataset:
    """Waves `u` that run over a lattice, in model time."""
    y, x = np.meshgrid(np.arange(float(rows)), np.arange(float(columns)), indexing="ij")
    waves = np.sin(0.3 * np.arange(steps)[:, None, None] + y + x).astype("float32")
    axes = {"time": ("time", np.arange(float(steps)), {"units": "1"}), "y": y[:, 0], "x": x[0]}
    return stgate.from_lattice(xr.Dataset({"u": (("time", "y", "x"), waves, {"units": "1"})}, axes))


# Forecasts

OFFSETS = {0.05: -2.0, 0.25: -1.0, 0.5: 0.0, 0.75: 1.0, 0.95: 2.0}


def make_forecast(
    target="y",
    inits=4,
    leads=3,
    nodes=("a", "b"),
    *,
    offsets=OFFSETS,
    mean=0.5,
    noise=1.5,
    missing=0.3,
    every=24 * HOUR,
    step=HOUR,
    members=0,
    seed=0,
    dtype="float64",
    units="K",
    **attrs,
) -> xr.Dataset:
    """A forecast from `inits` origins, `every` apart, at `leads` leads, `step` apart, with its truth.

    Quantiles lie `offsets` (by their probability) from a random middle, the mean `mean` above it and the truth
    normal noise away, with a share `missing` of gaps. Float steps are model time.
    """
    rng = np.random.default_rng(seed)
    shape, dims = (inits, leads, len(nodes)), ("init_time", "lead_time", "node")
    middle = rng.normal(10, 3, shape)
    truth = middle + rng.normal(0, noise, shape)
    truth[rng.random(shape) < missing] = np.nan
    calendar = isinstance(step, np.timedelta64)
    lead = np.arange(1, leads + 1) * (step.astype("timedelta64[us]") if calendar else step)
    init = np.datetime64("2020-01-01", "us") + np.arange(inits) * every if calendar else np.arange(inits) * every
    forecast = xr.Dataset(
        {
            target: (
                (*dims, "quantile"),
                (middle[..., None] + list(offsets.values())).astype(dtype),
                {"units": units},
            ),
            f"{target}_mean": (dims, (middle + mean).astype(dtype)),
            f"{target}_truth": (dims, truth.astype(dtype)),
        },
        {
            "init_time": init,
            "lead_time": lead,
            "node": list(nodes),
            "quantile": list(offsets),
            "valid_time": (("init_time", "lead_time"), init[:, None] + lead),
            "steps_since_observed": (("init_time", "node"), rng.integers(0, 2, (inits, len(nodes)))),
        },
        {"model": "Test"} | attrs,
    )
    return forecast.expand_dims(member=members).copy(deep=True) if members else forecast


def truth_of(forecast, name="y") -> xr.Dataset:
    """The truth of a forecast as a panel: its valid times do not repeat."""
    valid = forecast["valid_time"].values.ravel()
    values = forecast[f"{name}_truth"].transpose("init_time", "lead_time", "node").values.reshape(len(valid), -1)
    return xr.Dataset({name: (("time", "node"), values)}, {"time": valid, "node": forecast["node"].values})


# Data modules


def make_data(panel=None, **options) -> WindowData:
    """Windows of a panel, by default of `y` in one of 160 steps."""
    given = {"targets": "y", "window": WINDOW, "horizon": HORIZON, "batch_size": 16} | options
    return stgate.data.WindowData(make_panel(steps=160) if panel is None else panel, **given)


def field_data(panel=None, **options) -> FieldData:
    """`y` of a panel as a field, by default of six places."""
    return stgate.data.FieldData(
        field_panel() if panel is None else panel,
        targets="y",
        **({"batch_size": 16, "context": 0} | {"split": (0.6, 0.1, 0.15, 0.15)} | options),
    )


def ring_data(panel, **options) -> WindowData:
    """Windows of trajectories on a ring."""
    given = {"window": 4, "horizon": 12, "split": (0.7, 0.1, 0.1, 0.1), "every": 8, "eval_every": 20} | options
    return make_data(panel, **({"targets": ["x"]} | given))


def sepnet_data(panel=None, **options) -> WindowData:
    """Windows of seven nodes, longer than those of `make_data`."""
    return make_data(
        make_panel(steps=200, nodes=SEPNET_NODES) if panel is None else panel,
        **({"window": 12, "horizon": 5} | options),
    )


def batch_of(data, part="test") -> dict[str, torch.Tensor]:
    """The first batch of a part."""
    return next(iter(data.part_dataloader(part)))


# Forecasters


def small_field(**options) -> CGLUBNF:
    """A tiny neural field that uses its neighbours, without kriging."""
    from stgate.inference import PointEstimate

    small = {"width": 8, "graph": 4, "heads": 2, "neighbours": 2, "inference": PointEstimate()}
    small |= {"kriging": False, "transforms": None}
    return stgate.models.CGLUBNF(**(small | options))


def built(model=None, data=None, seed=0) -> Forecaster:
    """A forecaster with random weights that knows its panel, in evaluation mode; no training."""
    import torch

    torch.manual_seed(seed)
    model = model or stgate.models.GatedRNN(hidden=8)
    model.adopt(data or _default_data(model))
    model.log = lambda *_, **__: None  # there is no trainer to log to
    return model.eval()


def make_model(panel, targets="y", model=None, **options) -> tuple[Forecaster, WindowData]:
    """A forecaster of a panel, and the windows it was built for: what is claimed of it holds for any weights."""
    data = stgate.data.WindowData(panel, targets=targets, window=WINDOW, horizon=HORIZON, **options)
    model = built(model, data)
    if isinstance(model, stgate.models.Persistence):
        model.fit_series(data)
    return model, data


def trainer(epochs=1, **options) -> L.Trainer:
    """A trainer that shows and writes nothing."""
    import lightning as L

    return L.Trainer(max_epochs=epochs, accelerator="cpu", **(QUIET | options))


def fit(model, data=None, epochs=1, seed=0, **options) -> L.Trainer:
    """Fit a forecaster after seeding all that is random; the trainer that did it."""
    import lightning as L

    L.seed_everything(seed, verbose=False)
    machine = trainer(epochs, **({"num_sanity_val_steps": 0} | options))
    machine.fit(model, data or _default_data(model))
    return machine


def fitted(model, data=None, epochs=1, seed=0, **options) -> Forecaster:
    """A fitted forecaster, in evaluation mode."""
    fit(model, data, epochs, seed, **options)
    return model.eval()


def _default_data(model) -> WindowData | FieldData:
    return field_data() if isinstance(model, stgate.models.CGLUBNF | stgate.models.BayesNF) else make_data()


def environment() -> dict[str, str]:
    """The environment of a process that imports the same `stgate` as this one, from any folder."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(stgate.__file__).parents[1])}


def card_command(name: str, folder: Path, out: Path) -> list[str | Path]:
    """The command with which a card reads its files, here those in a folder, perhaps compressed."""
    from stgate.io.catalog import cards

    words = shlex.split(cards()[name]["reader"])[1:]
    given: list[str | Path] = []
    for word in words:
        if word == words[words.index("--out") + 1]:
            given.append(out)
        elif "." in word and word[:1].isalpha() and "=" not in word:  # a file, or a pattern
            given.append(folder / word if list(folder.glob(word)) else folder / f"{word}.gz")
        else:
            given.append(word)
    return given


# Transforms of targets


def transform_spec(
    step: float = 3600.0, targets: tuple[str, ...] = ("y",), nodes: tuple[str, ...] = ("a", "b", "c")
) -> PanelSpec:
    """The spec of a panel in calendar time."""
    from stgate.schema.spec import PanelSpec

    return PanelSpec(targets=targets, nodes=nodes, step=step, time="calendar", window=4, horizon=3)


class TrainingRows:
    """A training part of given values (member, time, node, target), read in two blocks."""

    def __init__(self, values: torch.Tensor, spec: PanelSpec) -> None:
        self.values, self.spec = values, spec

    @property
    def time(self) -> torch.Tensor:
        import torch

        return 1.4e9 + self.spec.step * torch.arange(self.values.shape[1], dtype=torch.float64)

    def blocks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        half = self.values.shape[1] // 2
        for rows in (slice(0, half), slice(half, None)):
            yield self.values[:, rows], self.time[rows]

    def static(self, name: str) -> torch.Tensor:
        import torch

        return torch.tensor({"population": [1.0, 2.0, 3.0], "empty": [1.0, 0.0, 3.0]}[name]).double()


# Comparisons and refusals


def same(first, second) -> bool:
    """Whether two datasets hold the same bits, missing ones too."""
    return first.drop_attrs().identical(second.drop_attrs())


def same_forecasts(first, second) -> bool:
    """Whether two forecasters say the same of a panel that neither has seen."""
    panel = make_panel(steps=60, seed=5)
    return same(*(stgate.backtest(model, panel, levels=[0.5, 0.8]) for model in (first, second)))


def refusal(kind: type[Exception], act: Callable[..., Any], *arguments, **options) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(kind) as caught:
        act(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def says(message: str, *words: str) -> None:
    """Assert that a message has all words."""
    assert not [w for w in words if w not in message], message


def one_line(result: tuple[int, str, str], *words: str, code=2) -> None:
    """Assert that a command printed nothing but one line on stderr, with all words, and ended with its code."""
    found, out, err = result
    assert (found, out) == (code, "")
    assert len(err.splitlines()) == 1 and err.startswith("stgate: "), err
    says(err, *words)
