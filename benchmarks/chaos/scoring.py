"""Scores of free runs: valid prediction time, error by lead, climate."""

import numpy as np
import xarray as xr

import stgate
from benchmarks.chaos.systems import CLIMATE, WARM_UP, System
from stgate.metrics import nrmse, spectrum_error, valid_prediction_time, wasserstein_distance

THRESHOLD = 0.5


def truth_of(system: System, test: xr.Dataset) -> xr.DataArray:
    """The test trajectories after their start, (member, lead_time, node)."""
    truth = test[system.variable].isel(time=slice(WARM_UP, WARM_UP + system.horizon))
    leads = np.arange(1, truth.sizes["time"] + 1) * system.interval
    return truth.rename(time="lead_time").assign_coords(lead_time=leads)


def prediction_time(system: System, truth: xr.DataArray, made: np.ndarray, sigma: xr.DataArray) -> dict:
    """Valid prediction times of forecasts (member, lead, node), and their NRMSE by lead."""
    made = np.nan_to_num(made, nan=1e6, posinf=1e6, neginf=-1e6)
    forecast = truth.copy(data=made)
    times, censored = valid_prediction_time(truth, forecast, sigma, threshold=THRESHOLD)
    times = times.values * system.exponent
    curve = nrmse(truth, forecast, sigma).mean("member").clip(max=9.99)
    at = np.unique(np.linspace(0, truth.sizes["lead_time"] - 1, 25).astype(int))
    return {
        "mean": round(float(times.mean()), 3),
        "median": round(float(np.median(times)), 3),
        "worst_decile": round(float(np.quantile(times, 0.1)), 3),
        "standard_error": round(float(times.std(ddof=1) / len(times) ** 0.5), 3),
        "censored": round(float(censored.mean()), 3),
        "nrmse": {f"{float(curve.lead_time[i]) * system.exponent:.2f}": round(float(curve[i]), 4) for i in at},
    }


def climate(system: System, truth: xr.DataArray, made: xr.DataArray) -> dict:
    """Spectrum and histogram of a free run, its mean and spread beside those of the truth."""
    spread = float(truth.std())
    return {
        "spectrum_error_db": round(spectrum_error(truth, made, step=system.interval), 3),
        "wasserstein": round(wasserstein_distance(truth, made) / spread, 4),
        "mean_off": round(abs(float(made.mean() - truth.mean())) / spread, 4),
        "spread_off": round(abs(float(made.std()) / spread - 1), 4),
    }


def forecasts(model, system: System, panel: xr.Dataset, levels=(0.9,)) -> xr.Dataset:
    """One forecast from the start of each member."""
    start = float(panel["time"][WARM_UP])
    return stgate.backtest(model, panel, start=start, every=10**6, levels=list(levels))


def free_climate(model, system: System, panel: xr.Dataset, steps: int = CLIMATE) -> xr.DataArray:
    """A free run from the first member."""
    return stgate.free_run(model, panel.isel(member=[0]), steps=steps)[system.variable]
