"""Fields that correct a kriging, the default: what they see, new places, gaps, and what chooses the best epoch."""

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import built, field_panel, fitted

import stgate
from stgate.data import FieldData
from stgate.distributions import Anomaly, Power
from stgate.errors import RequestError
from stgate.inference import PointEstimate
from stgate.models import CGLUBNF, BayesNF
from stgate.models.training.hidden import HiddenReference, interpolated
from stgate.nn.field.hiding import Hidden

STATIONS = 14


def mountain_panel(steps=240, nodes=STATIONS, seed=0) -> xr.Dataset:
    """Temperatures that fall with elevation, change slowly over time, and differ smoothly between places."""
    rng = np.random.default_rng(seed)
    x, y, elevation = rng.uniform(0, 10, nodes), rng.uniform(0, 10, nodes), rng.uniform(0, 3, nodes)
    common = rng.standard_normal(steps).cumsum() * 0.5
    slope = rng.standard_normal((steps, 2)).cumsum(0) * 0.03
    values = common[:, None] + slope @ np.stack([x, y]) - 6 * elevation + 0.2 * rng.standard_normal((steps, nodes))
    coords = {"x": ("node", x), "y": ("node", y), "elevation": ("node", elevation)}
    time = np.datetime64("2020-01-01", "ns") + np.arange(steps) * np.timedelta64(1, "D")
    return xr.Dataset(
        {"t": (("time", "node"), values.astype("float32"))}, {"time": time, "node": range(nodes), **coords}
    )


def small(**options) -> CGLUBNF:
    return CGLUBNF(**({"width": 16, "inference": PointEstimate(), "transforms": [Anomaly()]} | options))


def mountain_data(panel, **options) -> FieldData:
    return FieldData(panel, targets="t", **({"context": 6, "ahead": 5, "batch_size": 16} | options))


@pytest.fixture(scope="module")
def field():
    """A field that was fitted on all stations but the last two, and the whole panel."""
    panel = mountain_panel()
    return fitted(small(), mountain_data(panel.isel(node=slice(0, -2)))), panel


def test_new_places_and_gaps_are_estimated_better_than_by_interpolation(field):
    model, panel = field
    hidden = panel.copy(deep=True)
    hidden["t"][:, -2:] = np.nan
    hidden["t"][100:104, 3] = np.nan
    made = stgate.reconstruct(model, hidden)
    truth = panel["t"].sel(time=made["time"])
    error = abs(made["t_mean"] - truth)
    others = abs(hidden["t"].mean("node").sel(time=made["time"]) - truth)
    assert error.isel(node=[-2, -1]).mean() < 0.5 * others.isel(node=[-2, -1]).mean()
    gap = slice(panel["time"].values[100], panel["time"].values[103])
    assert error.isel(node=3).sel(time=gap).mean() < 0.5


def test_a_new_place_has_wider_intervals_by_the_error_of_its_climatology(field):
    model, panel = field
    hidden = panel.where(panel["node"] < STATIONS - 2)
    hidden = hidden.assign_coords(panel.coords)
    made = stgate.reconstruct(model, hidden)["t"]
    width = (made.isel(quantile=-1) - made.isel(quantile=0)).mean("time")
    assert width[-2:].min() > width[:-2].mean()
    places = model.predictor.places_of(*(torch.tensor(x) for x in (_static(hidden), [True] * 12 + [False] * 2)))
    assert places.new.tolist() == [False] * 12 + [True] * 2 and (places.error[-2:] > 0).all()


def _static(panel):
    return np.stack([panel[n].values for n in ("x", "y", "elevation")], 1).astype("float32")


def test_the_entry_that_is_asked_for_is_never_seen_and_what_follows_it_is(field):
    model, panel = field
    before = stgate.reconstruct(model, panel)["t_mean"]
    other = panel.copy(deep=True)
    other["t"][120, 2] += 50.0
    changed = (abs(before - stgate.reconstruct(model, other)["t_mean"]) > 1e-4).transpose("time", "node").values
    row = 120 - 5  # the first five steps lack the context
    assert not changed[row, 2] and changed[row].any() and changed[row - 1, 2] and changed[row + 1, 2]
    assert not changed[: row - 5].any() and not changed[row + 6 :].any()


def test_a_forecast_sees_nothing_after_its_origin(field):
    model, panel = field
    start, origin = str(panel["time"].values[201])[:10], panel["time"].values[200]
    whole = stgate.forecast(model, panel, start=start)["t_mean"]
    cut = stgate.forecast(model, panel.where(panel["time"] <= origin).assign_coords(panel.coords), start=start)[
        "t_mean"
    ]
    np.testing.assert_array_equal(whole, cut)


def test_a_checkpoint_gives_the_same_numbers(field, tmp_path):
    model, panel = field
    model.save(tmp_path / "f.ckpt")
    made, again = (stgate.reconstruct(m, panel) for m in (model, tmp_path / "f.ckpt"))
    xr.testing.assert_equal(made.drop_attrs(), again.drop_attrs())
    assert stgate.load(tmp_path / "f.ckpt").kriged


def test_elevation_is_a_static_covariate_by_default_and_its_differences_are_seen():
    panel = mountain_panel(80)
    assert mountain_data(panel).spec.static_covariates == ("x", "y", "elevation")
    assert mountain_data(panel.drop_vars("elevation")).spec.static_covariates == ("x", "y")
    assert mountain_data(panel, static_covariates=()).spec.static_covariates == ("x", "y")
    predictor = built(small(), mountain_data(panel)).predictor
    assert predictor.field.context.decay.shape[0] == 2 + 2 + 3  # distance, direction, differences


def test_the_context_follows_the_panel_and_the_forecaster():
    panel = mountain_panel(200)
    data = FieldData(panel, targets="t")
    assert (data.spec.window, data.spec.ahead) == (25, 24)
    assert FieldData(panel.isel(time=slice(0, 40)), targets="t").spec.window == 7
    assert FieldData(panel.isel(time=[*range(0, 90), *range(100, 180)]), targets="t").spec.window == 1
    built(BayesNF(width=16, inference=PointEstimate()), data)
    assert (data.spec.window, data.spec.ahead) == (1, 0)
    assert (mountain_data(panel, ahead=None).spec.window, mountain_data(panel, ahead=None).spec.ahead) == (6, 0)
    with pytest.raises(RequestError, match="ahead 2: a field without context"):
        FieldData(panel, targets="t", context=0, ahead=2)


def test_a_field_of_uneven_times_is_one_of_coordinates():
    panel = mountain_panel(200).isel(time=[*range(0, 90), *range(100, 180)])
    model = built(small(transforms="auto"), FieldData(panel, targets="t", batch_size=16))
    assert not model.predictor.kriged and model.monitor == "val_crps" and model.predictor.transforms == ()
    assert np.isfinite(stgate.reconstruct(model, panel)["t_mean"]).all()


def test_the_best_epoch_is_chosen_by_hidden_entries(field):
    model, _ = field
    assert model.monitor == "val_hidden_crps" and CGLUBNF(kriging=False).monitor == "val_crps"
    assert model.predictor.withheld.sum() == 1  # one station of twelve
    assert model.reference.count > 0 and model.reference.warning(0.01) is None
    assert "try a longer context" in model.reference.warning(1e6)


def test_interpolation_in_time_and_the_mean_of_others_are_what_a_field_has_to_beat():
    nan = np.nan
    values = torch.tensor([[1.0, nan, 9.0, 4.0], [2.0, 2.0, 2.0, 2.0]]).T[None, :, :, None]  # one window, two nodes
    assert interpolated(values, 1)[0, 0].item() == 5.0 and interpolated(values[:, :2], 1)[0, 0].item() == 1.0
    mine = torch.zeros(1, 4, 2, dtype=torch.bool)
    mine[:, 2] = True
    reference = HiddenReference()
    reference.update(Hidden(values, mine, torch.zeros(1, dtype=torch.bool)), values[:, 2:3], 2)
    assert (reference.spatial, reference.temporal, reference.count) == (7 + 7, 6 + 0, 2)
    assert "interpolation in time" in reference.warning(4.0) and reference.warning(2.9) is None


def test_transforms_are_chosen_by_the_kriging_of_hidden_entries():
    panel = mountain_panel(90, 8)
    model = built(small(transforms="auto"), mountain_data(panel))
    assert [type(t) for t in model.predictor.transforms] == [Anomaly]
    assert "Anomaly" in model.predictor.transforms_report
    positive = panel.assign(t=np.exp(panel["t"] / 3))
    assert isinstance(built(small(transforms="auto"), mountain_data(positive)).predictor.transforms[0], Power)


def test_a_panel_of_few_stations_without_climatology_of_places_is_fitted_too():
    panel = field_panel(steps=80)
    data = FieldData(panel.isel(node=[0, 1]), targets="y", context=4, ahead=3, batch_size=16)
    made = stgate.reconstruct(fitted(small(), data), panel)
    assert np.isfinite(made["y_mean"]).all()
