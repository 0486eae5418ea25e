"""The chaotic systems of the benchmark: how they are made, sampled and scored, and which forecaster is fitted to each.

Training, validation, calibration and test trajectories start from other seeds; each training set has 100,000 states.
"""

import dataclasses
from pathlib import Path

import xarray as xr

import stgate

SEEDS = {"train": 1, "validation": 2, "calibration": 3, "test": 4, "floor": 5, "coverage": 6}
STATES = 100_000
STARTS = {"train": 50, "validation": 100, "calibration": 400, "test": 100, "coverage": 400}
WARM_UP = 200
"""Steps of history before each start, for references that have to warm up."""
CLIMATE = 10_000
"""Steps of a free run whose climate is scored."""


@dataclasses.dataclass(frozen=True)
class System:
    """One system.

    Attributes:
        name: Name in tables.
        simulator: Function of `stgate.simulate`.
        parameters: Parameters of the simulator.
        step: Step of the solver.
        every: Number of solver steps between states.
        thin: Stride of the nodes that are kept; the table says what they resolve.
        variable: Variable that is forecast.
        exponent: Leading Lyapunov exponent, as `benchmarks/lyapunov.py` measured it; 1 for scores in model time.
        horizon: Number of leads that are forecast.
        bar: Mean valid prediction time that is asked for, in Lyapunov times.
        minutes: Minutes of training that are allowed.
        options: Options of the forecaster's step.
        halo: Number of neighbours that it sees on each side.
        small: Whether it has few independent sites: intervals are calibrated and scored on four times as many starts.
        training: Batch size, learning rate, steps.
        reservoirs: Options of echo-state networks by name, each the best of a handful on the validation starts.
    """

    name: str
    simulator: str
    parameters: dict
    step: float
    every: int
    variable: str
    exponent: float
    horizon: int
    bar: float | None
    minutes: int
    options: dict
    halo: int
    training: dict
    reservoirs: dict
    thin: int = 1
    small: bool = False

    @property
    def interval(self):
        """Time between states."""
        return self.step * self.every


CHAIN = {"unroll": [1, 2, 4], "unit": "bilinear"}
STIFF = {
    "unroll": [1, 2, 2],
    "unit": "bilinear",
    "scheme": "exponential",
    "substeps": 2,
    "width": 16,
    "conservative": True,
}

SYSTEMS = {
    "l96-8": System(
        name="Lorenz-96, F=8, N=40",
        simulator="lorenz96",
        parameters={"nodes": 40, "forcing": 8.0},
        step=0.01,
        every=5,
        variable="x",
        exponent=1.693,
        horizon=240,
        bar=9.0,
        minutes=30,
        options={**CHAIN, "scheme": "rk4", "substeps": 2, "width": 32},
        halo=2,
        training={"batch": 16, "rate": 2e-3, "epochs": 45, "optimizer": "adam"},
        reservoirs={"echo-state network, local": {"patch": 1, "halo": 3, "radius": 0.1, "scaling": 0.05}},
    ),
    "l96-10": System(
        name="Lorenz-96, F=10, N=40",
        simulator="lorenz96",
        parameters={"nodes": 40, "forcing": 10.0},
        step=0.01,
        every=5,
        variable="x",
        exponent=2.307,
        horizon=180,
        bar=7.0,
        minutes=60,
        options={**CHAIN, "scheme": "rk4", "substeps": 2, "width": 32},
        halo=2,
        training={"batch": 16, "rate": 2e-3, "epochs": 45, "optimizer": "adam"},
        reservoirs={"echo-state network, local": {"patch": 1, "halo": 3, "radius": 0.1, "scaling": 0.05}},
    ),
    "ks-22": System(
        name="Kuramoto-Sivashinsky, L=22, 32 of N=64 points",
        simulator="kuramoto_sivashinsky",
        parameters={"length": 22.0, "nodes": 64},
        step=0.0625,
        every=4,
        variable="u",
        exponent=0.0482,
        small=True,
        horizon=1000,
        bar=7.0,
        minutes=60,
        options=STIFF,
        halo=7,
        training={"batch": 16, "rate": 2e-3, "epochs": 240, "optimizer": "soap", "betas": (0.95, 0.95)},
        reservoirs={
            "echo-state network, 3,000 units": {
                "patch": 32,
                "halo": 0,
                "radius": 0.4,
                "scaling": 0.03,
                "ridge": 1e-7,
                "units": 3000,
            },
        },
        thin=2,
    ),
    "ks-100": System(
        name="Kuramoto-Sivashinsky, L=100, 128 of N=256 points",
        simulator="kuramoto_sivashinsky",
        parameters={"length": 100.0, "nodes": 256},
        step=0.0625,
        every=4,
        variable="u",
        exponent=0.0914,
        horizon=500,
        bar=7.0,
        minutes=60,
        options=STIFF,
        halo=7,
        training={"batch": 8, "rate": 2e-3, "epochs": 120, "optimizer": "soap", "betas": (0.95, 0.95)},
        reservoirs={
            "echo-state network, local, 2,000 units": {
                "patch": 8,
                "halo": 8,
                "radius": 0.4,
                "scaling": 0.05,
                "ridge": 1e-6,
                "units": 2000,
            },
        },
        thin=2,
    ),
    "l96-3scale": System(
        name="Lorenz-96 of three scales, only X (K=8) observed",
        simulator="lorenz96_three_scale",
        parameters={"nodes": 8, "fast": 8, "fastest": 8, "forcing": 20.0},
        step=0.005,
        every=10,
        variable="x",
        exponent=1.0,
        small=True,
        horizon=80,
        bar=None,
        minutes=60,
        options={"unroll": [1, 2, 4], "unit": "swiglu", "blocks": 2, "scheme": "rk4", "substeps": 2, "width": 64},
        halo=3,
        training={"batch": 32, "rate": 2e-3, "epochs": 30, "optimizer": "adam"},
        reservoirs={
            "echo-state network": {"patch": 8, "halo": 0, "radius": 0.2, "scaling": 0.03, "ridge": 1e-9},
            "echo-state network, 4,000 units": {
                "patch": 8,
                "halo": 0,
                "radius": 0.1,
                "scaling": 0.1,
                "ridge": 1e-9,
                "units": 4000,
            },
        },
    ),
}


def starts_of(system: System, part: str) -> int:
    """Return the number of trajectories of a part."""
    return STARTS.get(part, 1) * (4 if system.small and part in ("calibration", "coverage") else 1)


def panel_of(system: System, part: str, work: Path) -> xr.Dataset:
    """Trajectories of a part, made once and kept in the working folder."""
    members = starts_of(system, part)
    steps = STATES // members if part == "train" else WARM_UP + system.horizon + 1
    if part == "floor":
        steps = CLIMATE
    named = [system.simulator, *(f"{v:g}" for v in system.parameters.values()), f"{system.interval:g}", part]
    path = work / f"{'-'.join(named)}-{members}.nc"
    if not path.exists():
        made = getattr(stgate.simulate, system.simulator)(
            **system.parameters,
            duration=(steps - 1) * system.interval,
            step=system.step,
            every=system.every,
            members=members,
            seed=SEEDS[part],
            verify=False,
        )
        stgate.write(made[[system.variable]].astype("float32"), path)
    return stgate.open_panel(path).isel(node=slice(None, None, system.thin)).load()
