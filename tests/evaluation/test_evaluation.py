"""Evaluate: scores by hand, over the cases that have both a forecast and a truth."""

import json

import numpy as np
import pytest
import xarray as xr
from helpers import make_forecast

import stgate
from stgate.errors import ForecastError, RequestError

LEADS = 3


def by_hand(forecast):
    """Errors, squared errors and hits, NaN where either end is missing."""
    truth, middle = forecast["y_truth"].values, forecast["y"].sel(quantile=0.5).values
    error = truth - middle
    hit = np.where(np.isnan(error), np.nan, np.abs(error) <= 2)
    return np.abs(error), (truth - forecast["y_mean"].values) ** 2, hit


def test_a_score_says_how_much_of_it_training_saw():
    forecast = make_forecast()
    assert "in_training" not in stgate.evaluate(forecast).attrs
    forecast.attrs["trained_until"] = "2020-01-02T02:00"
    observed = forecast["y_truth"].notnull().values
    expected = (observed[0].sum() + observed[1, :2].sum()) / observed.sum()  # the second day's third lead is after it
    assert stgate.evaluate(forecast).attrs["in_training"] == pytest.approx(expected)
    filled = forecast.isel(lead_time=0, drop=True).rename(init_time="time").drop_vars("valid_time")
    assert "in_training" not in stgate.evaluate(filled).attrs  # its entries may have been hidden
    forecast.attrs["trained_until"] = "2019-12-31"
    assert "in_training" not in stgate.evaluate(forecast).attrs


def test_the_command_says_how_much_training_saw(stgate_command, tmp_path):
    forecast = make_forecast(missing=0.0)
    forecast.attrs["trained_until"] = "2020-01-01T03:00:00"
    stgate.write(forecast, tmp_path / "f.nc")
    code, out, err = stgate_command("evaluate", tmp_path / "f.nc")
    assert code == 0, err
    assert "25 % of observations lie before training ended, 2020-01-01T03:00:00: errors on new data are larger" in out


def test_notes_that_differ_are_told_of_which_forecast_they_are(stgate_command, tmp_path):
    for name in ("one", "two"):
        forecast = make_forecast()
        forecast.attrs |= {"model": name, "calibration": f"that of {name}"}
        stgate.write(forecast, tmp_path / f"{name}.nc")
    _, out, _ = stgate_command("evaluate", tmp_path / "one.nc", tmp_path / "two.nc")
    assert "  one: y: mae of" in out and "  two: y: mae of" in out
    _, out, _ = stgate_command("evaluate", tmp_path / "one.nc", tmp_path / "one.nc")
    assert out.count("mae of") == 1 and "\n  y: mae of" in out


def test_mae_rmse_and_coverage_are_means_over_the_observed_cases():
    forecast = make_forecast()
    error, square, hit = by_hand(forecast)
    assert np.isnan(error).any()
    scores = stgate.evaluate(forecast)
    assert int(scores["count"]) == np.isfinite(error).sum()
    assert float(scores["mae"]) == pytest.approx(np.nanmean(error))
    assert float(scores["rmse"]) == pytest.approx(np.sqrt(np.nanmean(square)))
    assert float(scores["coverage_90"]) == pytest.approx(np.nanmean(hit))
    assert float(scores["width_90"]) == pytest.approx(4.0)
    assert float(scores["width_50"]) == pytest.approx(2.0)


def test_the_interval_score_is_width_plus_penalised_misses():
    forecast = make_forecast()
    error, _, _ = by_hand(forecast)
    expected = np.nanmean(4 + 2 / 0.1 * np.clip(error - 2, 0, None))
    assert float(stgate.evaluate(forecast)["interval_score_90"]) == pytest.approx(expected)


@pytest.mark.parametrize(("by", "axes"), [("lead_time", (0, 2)), ("node", (0, 1)), ("init_time", (1, 2))])
def test_scores_by_a_dimension_are_means_over_the_others(by, axes):
    forecast = make_forecast()
    error, square, hit = by_hand(forecast)
    scores = stgate.evaluate(forecast, by=by)
    assert scores["mae"].dims == (by,)
    np.testing.assert_array_equal(scores[by], forecast[by])
    np.testing.assert_allclose(scores["mae"], np.nanmean(error, axis=axes))
    np.testing.assert_allclose(scores["rmse"], np.sqrt(np.nanmean(square, axis=axes)))
    np.testing.assert_allclose(scores["coverage_90"], np.nanmean(hit, axis=axes))
    assert set(scores["mae"].coords) == {by}


def test_scores_by_several_dimensions_keep_them_apart():
    forecast = make_forecast(missing=0)
    error, _, _ = by_hand(forecast)
    scores = stgate.evaluate(forecast, by=["lead_time", "node"])
    np.testing.assert_allclose(scores["mae"].transpose("lead_time", "node"), error.mean(0))


def test_scores_by_observed_split_the_cases_by_what_was_known_at_the_origin():
    forecast = make_forecast()
    error, _, hit = by_hand(forecast)
    known = np.broadcast_to(forecast["steps_since_observed"].values[:, None] == 0, error.shape)
    scores = stgate.evaluate(forecast, by="observed")
    assert scores["observed"].values.tolist() == ["at origin", "before origin"]
    np.testing.assert_allclose(scores["mae"], [np.nanmean(error[known]), np.nanmean(error[~known])])
    np.testing.assert_allclose(scores["coverage_90"], [np.nanmean(hit[known]), np.nanmean(hit[~known])])
    assert int(scores["count"].sum()) == int(stgate.evaluate(forecast)["count"])


def test_observed_may_be_crossed_with_a_dimension():
    forecast = make_forecast(missing=0)
    error, _, _ = by_hand(forecast)
    known = np.broadcast_to(forecast["steps_since_observed"].values[:, None] == 0, error.shape)
    scores = stgate.evaluate(forecast, by=["observed", "lead_time"])["mae"].sel(observed="before origin")
    for lead in range(LEADS):
        assert float(scores[lead]) == pytest.approx(error[:, lead][~known[:, lead]].mean())


@pytest.mark.parametrize("hidden", [["y", "y_mean"], ["y"], ["y_mean"]], ids=str)
def test_cases_whose_forecast_is_missing_drop_out_of_every_score(hidden):
    forecast = make_forecast(missing=0)
    kept = forecast["y_truth"] < float(forecast["y_truth"].median())
    gappy = forecast.assign({name: forecast[name].where(kept) for name in hidden})
    expected = forecast.assign(y_truth=forecast["y_truth"].where(kept))
    for by in ((), "node"):
        scores = stgate.evaluate(gappy, by=by)
        xr.testing.assert_allclose(scores.drop_vars("no_forecast"), stgate.evaluate(expected, by=by))
        assert float(scores["no_forecast"].mean()) == pytest.approx(0.5, abs=0.05)  # and they are counted


def test_a_group_without_any_case_is_nan_and_never_zero():
    forecast = make_forecast()
    forecast["y_truth"].loc[{"node": "b"}] = np.nan
    scores = stgate.evaluate(forecast, by="node").sel(node="b")
    assert int(scores["count"]) == 0
    assert all(np.isnan(scores[name]) for name in scores if name != "count")


def test_a_perfect_forecast_has_no_error_and_full_coverage():
    forecast = make_forecast()
    truth = forecast["y_truth"]
    perfect = forecast.assign(y=truth.expand_dims(quantile=forecast["quantile"].values, axis=-1), y_mean=truth)
    scores = stgate.evaluate(perfect)
    for name in ("mae", "rmse", "crps", "width_90", "interval_score_90"):
        assert float(scores[name]) == 0
    assert float(scores["coverage_50"]) == 1


def test_crps_scales_with_the_units_and_errors_do_too():
    forecast = make_forecast()
    scores, thousandfold = stgate.evaluate(forecast), stgate.evaluate(forecast.map(lambda v: 1000 * v))
    for name in ("mae", "rmse", "crps", "width_50", "interval_score_90"):
        assert float(thousandfold[name]) == pytest.approx(1000 * float(scores[name]))
    assert float(thousandfold["coverage_90"]) == float(scores["coverage_90"])


def test_only_the_levels_asked_for_are_scored():
    scores = stgate.evaluate(make_forecast(), levels=[0.9])
    assert [n for n in scores if n.startswith("coverage")] == ["coverage_90"]


def test_members_are_pooled_or_kept_apart():
    one, two = make_forecast(), make_forecast(seed=1)
    both = xr.concat([one, two], "member", data_vars="all", coords="minimal", compat="override", join="exact")
    both["steps_since_observed"] = xr.concat([one["steps_since_observed"], two["steps_since_observed"]], "member")
    apart = stgate.evaluate(both, by="member")
    np.testing.assert_allclose(apart["mae"], [stgate.evaluate(f)["mae"] for f in (one, two)])
    pooled = float((apart["mae"] * apart["count"]).sum() / apart["count"].sum())
    assert float(stgate.evaluate(both)["mae"]) == pytest.approx(pooled)


def test_of_several_targets_one_must_be_named():
    forecast = make_forecast()
    two = forecast.assign({n.replace("y", "z"): 2 * v for n, v in forecast.data_vars.items()})
    with pytest.raises(RequestError, match="name one of y, z"):
        stgate.evaluate(two)
    assert float(stgate.evaluate(two, target="z")["mae"]) == pytest.approx(2 * float(stgate.evaluate(forecast)["mae"]))


def test_a_table_says_what_was_scored():
    attrs = stgate.evaluate(make_forecast()).attrs
    assert attrs["model"] == "Test" and attrs["target"] == "y"


# Valid prediction time


def make_chaotic(errors, exponent=None):
    """A model-time forecast with constant error at each lead, in units of sigma: (init, lead)."""
    errors = np.asarray(errors, "float64")
    inits, leads = errors.shape
    sigma = np.array([1.0, 2.0])
    truth = np.zeros((inits, leads, 2))
    mean = errors[..., None] * sigma
    dims = ("init_time", "lead_time", "node")
    lead = ("lead_time", 0.1 * np.arange(1, leads + 1), {"units": "MTU"})
    init = np.arange(inits, dtype=float)
    return xr.Dataset(
        {
            "x": ((*dims, "quantile"), mean[..., None] + np.array([-1.0, 0.0, 1.0])),
            "x_mean": (dims, mean),
            "x_truth": (dims, truth),
        },
        {
            "init_time": init,
            "lead_time": lead,
            "node": [0, 1],
            "quantile": [0.05, 0.5, 0.95],
            "valid_time": (("init_time", "lead_time"), init[:, None] + lead[1]),
            "x_sigma": ("node", sigma),
        },
        {"lyapunov_exponent": exponent} if exponent else {},
    )


def test_bootstrap_bounds_hold_each_score():
    forecast = make_forecast()
    plain = stgate.evaluate(forecast, by="lead_time")
    bounded = stgate.evaluate(forecast, by="lead_time", bootstrap=200)
    for key in ("mae", "rmse", "crps", "coverage_90"):
        xr.testing.assert_equal(bounded[key], plain[key])
        assert (bounded[f"{key}_low"] <= bounded[key]).all() and (bounded[key] <= bounded[f"{key}_high"]).all()
    assert not any(str(k).endswith("_low") for k in plain)
    with pytest.raises(RequestError, match="cannot be used with by init_time"):
        stgate.evaluate(forecast, by="init_time", bootstrap=10)
    for wrong in (-1, 1):
        with pytest.raises(RequestError, match=f"bootstrap {wrong}: must be at least 2"):
            stgate.evaluate(forecast, bootstrap=wrong)
    with pytest.raises(RequestError, match="block 9999"):
        stgate.evaluate(forecast, bootstrap=10, block=9999)


def test_the_valid_prediction_time_is_the_last_lead_before_half_a_sigma():
    errors = [[0.1, 0.4, 0.6, 0.2], [0.6, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]]
    scores = stgate.evaluate(make_chaotic(errors, exponent=2.0), by="init_time")
    np.testing.assert_allclose(scores["vpt"], [0.2, 0.0, 0.4])
    np.testing.assert_allclose(scores["vpt_lyapunov"], [0.4, 0.0, 0.8])
    assert scores["vpt_censored"].values.tolist() == [0, 0, 1]
    assert scores["vpt"].attrs["units"] == "MTU"
    whole = stgate.evaluate(make_chaotic(errors))
    assert float(whole["vpt"]) == pytest.approx(0.2)
    assert float(whole["vpt_censored"]) == pytest.approx(1 / 3)
    assert "vpt_lyapunov" not in whole


def test_skill_beyond_the_simulations_own_truth_is_flagged():
    forecast = make_chaotic([[0.1, 0.2, 0.3, 0.4]], exponent=2.0)
    assert "comment" not in stgate.evaluate(forecast)["vpt"].attrs
    assert "comment" not in stgate.evaluate(forecast.assign_attrs(valid_ground_truth_time=0.5))["vpt"].attrs
    flagged = stgate.evaluate(forecast.assign_attrs(valid_ground_truth_time=0.3))["vpt"]
    assert flagged.attrs["comment"].startswith("longer than 0.3, the time for which")


def test_an_origin_that_was_not_observed_has_no_valid_prediction_time():
    forecast = make_chaotic([[0.1, 0.6], [0.1, 0.1]])
    forecast["x_truth"][1] = np.nan
    assert float(stgate.evaluate(forecast)["vpt"]) == pytest.approx(0.1)


def test_calendar_forecasts_have_no_valid_prediction_time():
    assert "vpt" not in stgate.evaluate(make_forecast())


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "lead"}, "did you mean lead_time"),
        ({"by": "member"}, "member"),
        ({"target": "x"}, "target 'x'"),
        ({"levels": [0.8]}, r"level 0\.8: not in this forecast, which holds 0\.5, 0\.9"),
    ],
    ids=str,
)
def test_an_unknown_group_target_or_level_is_refused(options, message):
    with pytest.raises(RequestError, match=message):
        stgate.evaluate(make_forecast(), **options)


def test_a_forecast_without_truth_is_refused():
    with pytest.raises(ForecastError, match="carries no truth"):
        stgate.evaluate(make_forecast().drop_vars("y_truth"))


def test_a_truth_that_was_never_observed_is_refused():
    with pytest.raises(ForecastError, match="nothing to score"):
        stgate.evaluate(make_forecast(missing=1.0))


def test_a_forecast_that_does_not_know_what_was_observed_cannot_be_split_by_it():
    with pytest.raises(ForecastError, match="steps_since_observed"):
        stgate.evaluate(make_forecast().drop_vars("steps_since_observed"), by="observed")


def test_a_forecast_without_its_mean_is_refused_by_name():
    with pytest.raises(ForecastError, match="`y_mean`"):
        stgate.evaluate(make_forecast().drop_vars("y_mean"))


def test_a_panel_is_not_mistaken_for_a_forecast(panel):
    with pytest.raises(ForecastError, match="make a forecast of a panel"):
        stgate.evaluate(panel)


def test_a_table_by_clusters_of_nodes_is_the_table_of_each_cluster():
    forecast = make_forecast()
    kinds = np.where(np.arange(forecast.sizes["node"]) % 2, "park", "street")
    forecast = forecast.assign_coords(kind=("node", kinds))
    table = stgate.evaluate(forecast, by=["kind", "lead_time"])
    assert table["kind"].values.tolist() == ["park", "street"]
    for kind in ("park", "street"):
        alone = stgate.evaluate(forecast.isel(node=np.flatnonzero(kinds == kind)), by="lead_time")
        for key in ("count", "mae", "rmse", "crps"):
            np.testing.assert_allclose(table[key].sel(kind=kind), alone[key])
    with pytest.raises(RequestError, match="did you mean kind"):
        stgate.evaluate(forecast, by="kinds")


@pytest.mark.parametrize(("minutes", "column", "first"), [(60, "lead_hours", 1.0), (5, "lead_minutes", 5.0)])
def test_a_table_by_lead_time_is_in_the_unit_of_the_leads(stgate_command, tmp_path, minutes, column, first):
    leads = np.arange(1, LEADS + 1) * np.timedelta64(minutes * 60_000_000, "us")
    forecast = make_forecast().assign_coords(lead_time=leads)
    valid = forecast["init_time"] + forecast["lead_time"]
    stgate.write(forecast.assign_coords(valid_time=valid), tmp_path / "f.nc")
    code, out, err = stgate_command("evaluate", tmp_path / "f.nc", "--by", "lead_time", "--json")
    assert code == 0, err
    assert json.loads(out)[0][column] == first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *[({"by": by}, "by ") for by in (3, None, [3], {"node": 1})],
        *[({"levels": levels}, "level ") for levels in ("0.5", [None], [0.5, "a"], [np.nan], "wide", [50])],
        *[({"bootstrap": samples}, "bootstrap |samples ") for samples in ("a", 1.5, -3, None, 10**9)],
        *[({"bootstrap": 5, "block": block}, "block ") for block in ("a", 0.5, 0, 99)],
    ],
)
def test_options_of_an_evaluation_that_are_none_are_refused(options, said):
    with pytest.raises(RequestError, match=rf"^({said})[^\n]*$"):
        stgate.evaluate(make_forecast(inits=6), **options)


@pytest.mark.parametrize(
    "groups",
    [
        [1.0, np.nan],
        np.array(["x", None], object),
        np.array([1, "x"], object),
        [True, False],
        np.array(["x", 3.5], "O"),
    ],
)
def test_every_node_is_in_a_group_whatever_its_label(groups):
    forecast = make_forecast().assign_coords(region=("node", groups))
    scores, apart = stgate.evaluate(forecast, by="region"), stgate.evaluate(forecast, by="node")
    assert sorted(scores["mae"].values) == sorted(apart["mae"].values)
    assert int(scores["count"].sum()) == int(stgate.evaluate(forecast)["count"])


def test_one_level_is_a_list_of_one_and_a_group_counts_once():
    forecast = make_forecast()
    assert "coverage_90" in stgate.evaluate(forecast, levels=0.9)
    assert stgate.evaluate(forecast, by=["node", "node"]).identical(stgate.evaluate(forecast, by="node"))
