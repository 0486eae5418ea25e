"""The fields, as they were chosen on validation stations and years."""

import time

import stgate
from benchmarks.fits import adam, fit
from benchmarks.german.tasks import LEVELS, WHOLE, forecasts_of, predicted, split_of
from stgate.data import FieldData
from stgate.distributions import LogNormal, Quantiles
from stgate.inference import Ensemble
from stgate.models import CGLUBNF


def of_coordinates(panel, epochs, members, **options):
    """A field that knows coordinates only, and the seconds that its fit took."""
    model = CGLUBNF(
        kriging=False,
        width=64,
        graph=0,
        likelihood=LogNormal(shift=1.0),
        inference=Ensemble(members, prior="logistic"),
        optimizer=adam(0.01),
        **options,
    )
    return model, fit(model, FieldData(panel, targets="pm10", context=0, split=WHOLE, batch_size=64), epochs).wall


def folds(task, make, count=4):
    """A field of all stations but every fourth one, what it sees and what is scored, in turn."""
    train = task.train(True)
    for i in range(count):
        left_out = [name for name in task.known[i::count] if name in train["node"]]
        yield make(train.drop_sel(node=left_out))[0], train.where(~train["node"].isin(left_out)), train


def field_of_stations(task):
    """Coordinates only; how wide intervals are is found out with each fourth of the stations left out in turn."""
    train, started = task.train(True), time.monotonic()
    options = {"seasons": {"week": 3, "year": 4}, "degree": {"time": 8, "lat": 1, "lon": 1}}
    options |= {"knots": train.sizes["time"], "path": 8}
    model, _ = of_coordinates(train, 20, 8, **options)
    made = folds(task, lambda panel: of_coordinates(panel, 20, 4, **options))
    stgate.cross_calibrate_reconstruction(model, made, levels=LEVELS)
    spent = time.monotonic() - started
    return *predicted(stgate.reconstruct(model, task.panel, levels=LEVELS), task.truth(True)), spent


def field_of_years(task):
    """Coordinates only; how wide intervals are is found out on the two years before, by a fit that lacks these."""
    later = task.panel.sel(time=slice(f"{task.year - 2}-01-01", None))
    options = {"seasons": {"week": 3, "year": 1}, "degree": {"time": 0}}
    first, spent = of_coordinates(task.train(False, task.year - 3), 20, 8, **options)
    model, more = of_coordinates(task.train(False, task.year - 1), 20, 8, **options)
    before = later.sel(time=slice(None, f"{task.year - 1}-12-31"))
    stgate.cross_calibrate_reconstruction(
        model, [(first, before, None)], levels=LEVELS, conformity_score="distribution"
    )
    made = stgate.reconstruct(model, later, levels=LEVELS, start=task.first)
    return *predicted(made, task.truth(False)), spent + more


def field_with_context(task):
    """Estimate a station from what the others observed on this day and the one before, without its coordinates."""

    def make(panel, members=2):
        model = CGLUBNF(
            kriging=False,
            width=64,
            coordinates=["time"],
            seasons={"week": 3, "year": 2},
            degree=0,
            neighbours=16,
            context_masking=["own"],
            likelihood=Quantiles(levels=LEVELS),
            inference=Ensemble(members, prior="logistic"),
            optimizer=adam(0.004),
        )
        return model, fit(model, FieldData(panel, targets="pm10", context=2, split=WHOLE, batch_size=64), 20).wall

    model, spent = make(task.train(True), 4)
    stgate.cross_calibrate_reconstruction(model, folds(task, make), levels=LEVELS, conformity_score="distribution")
    # Of the stations held out nothing is seen: not even what each of them observed before.
    shown = task.panel.where(~task.panel["node"].isin(task.new))
    return *predicted(stgate.reconstruct(model, shown, levels=LEVELS), task.truth(True)), spent


def field_ahead(task):
    """From the last four days here and near by."""
    data = FieldData(
        task.panel.sel(node=task.train(False, task.year - 2)["node"]),
        targets="pm10",
        context=4,
        horizon=3,
        split=split_of(task),
        batch_size=64,
    )
    model = CGLUBNF(
        kriging=False,
        width=64,
        seasons={"week": 3, "year": 2},
        degree={"time": 0, "lat": 2, "lon": 2},
        neighbours=16,
        context_masking=["late"],
        likelihood=LogNormal(shift=1.0),
        inference=Ensemble(8, prior="logistic"),
        optimizer=adam(0.01),
    )
    fit(model, data, 40)
    return forecasts_of(model, task, data)
