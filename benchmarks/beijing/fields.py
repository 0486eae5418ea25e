"""The forecasters of this package: the field, its ancestor, and the gated recurrent one."""

import warnings

import pandas as pd

import stgate
from benchmarks.beijing.tasks import LEVELS
from benchmarks.fits import ALONE, adam, fit
from stgate.data import FieldData, WindowData
from stgate.distributions import LogNormal
from stgate.inference import Ensemble
from stgate.models import CGLUBNF, BayesNF, GatedRNN


def field(task, **parts):
    """One fit, which fills and forecasts; parts of it can be switched off."""
    epochs, rate = (10, 0.005) if task.hourly else (60, 0.01)
    seasons = {"day": 4, "week": 2, "year": 2} if task.hourly else {"week": 2, "year": 2}
    data = FieldData(
        task.seen,
        targets="pm25",
        context=task.context,
        horizon=task.leads[-1],
        covariates=task.weather,
        split=task.split,
        batch_size=16,
        seed=task.seed,
    )
    options = {"seasons": seasons, "degree": {"time": 0, "lat": 2, "lon": 2}, "neighbours": 11}
    model = CGLUBNF(
        kriging=False,
        width=64,
        **options,
        **parts,
        log_context=task.hourly,
        likelihood=LogNormal(),
        inference=Ensemble(4, prior="logistic"),
        optimizer=adam(rate),
    )
    spent = fit(model, data, epochs, task.seed).cpu
    return (*calibrated(model.eval(), data, task), spent)


def bayesnf(task, budget):
    """Coordinates and weather only: what it forecasts is the same at all horizons."""
    data = FieldData(
        task.seen,
        targets="pm25",
        horizon=task.leads[-1],
        covariates=task.weather,
        split=task.split,
        batch_size=256,
        seed=task.seed,
    )
    seasons = {"day": 4, "week": 3, "year": 10} if task.hourly else {"week": 3, "month": 10, "year": 10}

    def fitted(epochs):
        model = BayesNF(width=256, seasons=seasons, inference=Ensemble(8, prior="logistic"), optimizer=adam(0.005))
        return model, fit(model, data, epochs, task.seed).cpu

    first, later = fitted(1)[1], fitted(6)[1]
    model, _ = fitted(max(int(5 * (budget - first) / max(later - first, 0.05)), 1))
    return calibrated(model.eval(), data, task)


def calibrated(model, data, task):
    """(filled, forecast), both with split conformal intervals."""
    gaps = {"levels": LEVELS, "conformity_score": "distribution", "end": before(task.split[0])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training has seen these times, not the entries that are scored
        stgate.calibrate_reconstruction(model, task.seen, truth=task.masked, **gaps)
        stgate.calibrate(model, data, levels=LEVELS)
    filled = stgate.reconstruct(model, task.masked, levels=LEVELS, end=before(task.split[0]))
    return filled, hindcast(model, task)


def recurrent(task):
    """It forecasts only."""
    window = 48 if task.hourly else 16
    data = WindowData(
        task.masked,
        targets="pm25",
        window=window,
        horizon=task.leads[-1],
        future_covariates=task.weather,
        split=task.split,
        batch_size=64,
        seed=task.seed,
    )
    model = GatedRNN(**ALONE, node_embedding=0, hidden=64, dropout=0.1, likelihood=LogNormal(), optimizer=adam(0.003))
    fit(model, data, 6 if task.hourly else 30, task.seed)
    stgate.calibrate(model.eval(), data, levels=LEVELS)
    return hindcast(model, task)


def hindcast(model, task):
    start, end = task.span
    return stgate.backtest(model, task.masked, start=start, end=end, every=task.every, levels=LEVELS)


def before(date):
    """The date before."""
    return str((pd.Timestamp(date) - pd.Timedelta(days=1)).date())
