"""Calibrated reconstructions: new stations, gaps, what is stored and what is refused."""

import numpy as np
import pytest
from helpers import FIELD_NODES, field_data, field_panel, fitted, refusal, says, small_field

import stgate
from stgate.distributions import LogNormal
from stgate.errors import CalibrationWarning, PanelError, RequestError
from stgate.inference import Ensemble
from stgate.models import Forecaster, GatedRNN

LEVELS = [0.5, 0.9]


@pytest.fixture(scope="module")
def full():
    panel = field_panel(steps=300)
    rng = np.random.default_rng(5)
    return panel.assign(y=panel["y"] + rng.standard_t(3, panel["y"].shape))


@pytest.fixture(scope="module", params=[0, 3])
def field(request, full):
    """A field of four of the six stations, and what it sees: nothing of the fifth and sixth."""
    data = field_data(full.sel(node=list(FIELD_NODES[:4])), context=request.param)
    return fitted(small_field(), data, epochs=3), full.where(~full["node"].isin(FIELD_NODES[4:]))


def coverage(made, truth, level):
    low, high = (made["y"].sel(quantile=q, method="nearest").values for q in ((1 - level) / 2, (1 + level) / 2))
    known = ~np.isnan(truth)
    return float(((truth >= low) & (truth <= high))[known].mean())


def test_intervals_cover_the_stations_left_out_and_come_back_from_the_checkpoint(field, full, tmp_path):
    model, seen = field
    covered = stgate.calibrate_reconstruction(model, seen, full, levels=LEVELS)
    assert all(level - 0.001 <= covered[level] <= level + 0.02 for level in LEVELS)
    made = stgate.reconstruct(model, seen, levels=LEVELS)
    left_out = list(FIELD_NODES[4:])
    truth = full["y"].sel(time=made["time"], node=left_out).transpose("time", "node").values
    for level in LEVELS:
        assert coverage(made.sel(node=left_out), truth, level) == pytest.approx(covered[level], abs=0.003)
    assert made.attrs["calibration"].startswith("split conformal of reconstructions")
    assert made.attrs["calibration_levels"] == "0.5, 0.9"
    model.save(tmp_path / "field.ckpt")
    again = Forecaster.load_from_checkpoint(tmp_path / "field.ckpt")
    np.testing.assert_array_equal(stgate.reconstruct(again, seen, levels=LEVELS)["y"], made["y"])
    with pytest.raises(RequestError, match=r"level 0\.3: not calibrated"):
        stgate.reconstruct(model, seen, levels=[0.3])


def test_folds_that_each_left_stations_out_calibrate_a_field_of_all(field, full):
    model, seen = field
    data = field_data(
        full.sel(node=list(FIELD_NODES[2:])),
        context=model.predictor.fitted_spec.window - 1 and model.predictor.fitted_spec.window,
    )
    other = fitted(small_field(), data, epochs=3)
    folds = [(model, seen, full), (other, full.where(~full["node"].isin(FIELD_NODES[:2])), full)]
    whole = fitted(small_field(), field_data(full, context=data.context))
    covered = stgate.cross_calibrate_reconstruction(whole, iter(folds), levels=LEVELS)
    inside, cases = np.zeros(2), 0
    for fold, shown, truth in folds:
        fold.predictor.reconstruction_calibration = whole.predictor.reconstruction_calibration
        made = stgate.reconstruct(fold, shown, levels=LEVELS)
        known = truth["y"].sel(time=made["time"]).where(shown["y"].isnull()).transpose("time", "node").values
        count = (~np.isnan(known)).sum()
        inside += [coverage(made, known, level) * count for level in LEVELS]
        cases += count
    assert list(covered.values()) == pytest.approx(inside / cases, abs=0.003)
    assert whole.predictor.reconstruction_calibration.start == str(made["time"].values[0])
    with pytest.raises(RequestError, match="folds: empty"):
        stgate.cross_calibrate_reconstruction(whole, [])
    wrong = fitted(small_field(), field_data(full, context=5))
    with pytest.raises(RequestError, match="a field has context 5"):
        stgate.cross_calibrate_reconstruction(whole, [(wrong, seen, full)])


def test_intervals_by_levels_of_the_distribution_stay_skewed_and_cover_alike(full):
    skewed = full.assign(y=np.exp(full["y"] / 8))
    data = field_data(skewed.sel(node=list(FIELD_NODES[:4])))
    model = fitted(small_field(inference=Ensemble(2), likelihood=LogNormal()), data, epochs=3)
    left_out = skewed.sel(node=list(FIELD_NODES[4:]))
    made = {}
    for scores in ("scaled", "distribution"):
        covered = stgate.calibrate_reconstruction(model, left_out, levels=[0.9], conformity_score=scores)
        made[scores] = stgate.reconstruct(model, left_out, levels=[0.9])
        assert coverage(made[scores], made[scores]["y_truth"].values, 0.9) == pytest.approx(covered[0.9], abs=0.005)
    low, middle, high = (made["distribution"]["y"].isel(quantile=i) for i in range(3))
    assert float((made["scaled"]["y"].isel(quantile=0) == 0).mean()) > 0.5  # as far down as up: cut off at zero
    assert float(low.min()) > 0
    assert float(((high - middle) / (middle - low)).median()) > 1.2


def test_without_a_truth_what_is_observed_is_scored_and_what_training_has_seen_is_warned_of(field, full):
    model, _ = field
    with pytest.warns(CalibrationWarning, match="training has used data until"):
        covered = stgate.calibrate_reconstruction(model, full, levels=[0.9])
    made = stgate.reconstruct(model, full, levels=[0.9])
    assert coverage(made, made["y_truth"].values, 0.9) == pytest.approx(covered[0.9], abs=0.003)
    # Stations that training has not seen are no such case.
    stgate.calibrate_reconstruction(model, full.sel(node=list(FIELD_NODES[4:])), levels=[0.9])


def test_a_field_with_context_is_calibrated_by_when_the_node_was_last_observed(full):
    data = field_data(full, context=4)
    model = fitted(small_field(), data)
    gappy = full.where((full["time"].dt.hour < 12) | ~full["node"].isin(FIELD_NODES[:3]))
    stgate.calibrate_reconstruction(model, gappy, full, levels=[0.5])
    stored = model.predictor.reconstruction_calibration
    assert stored.edges == (2, 3)  # beyond its four steps the field sees nothing of a node
    assert stored.quantiles.shape == (3, 1, 1, 1, 1)
    assert "per missingness group" in stored.method


def test_a_new_fit_forgets_the_calibration_of_other_weights(full):
    data = field_data(full.sel(node=list(FIELD_NODES[:4])))
    model = fitted(small_field(), data)
    stgate.calibrate_reconstruction(model, full.sel(node=list(FIELD_NODES[4:])), levels=[0.5])
    fitted(model, data)
    assert model.predictor.reconstruction_calibration is None


def test_wrong_requests_are_refused_by_name(field, full):
    model, seen = field
    with pytest.raises(RequestError, match="truth: nothing to score"):
        stgate.calibrate_reconstruction(model, seen, seen)
    with pytest.raises(RequestError, match="truth: has no variable `y`"):
        stgate.calibrate_reconstruction(model, seen, full.rename(y="z"))
    with pytest.raises(RequestError, match="cannot reconstruct"):
        stgate.calibrate_reconstruction(GatedRNN(), seen)
    with pytest.raises(RequestError, match="conformity_score 'scald'"):
        stgate.calibrate_reconstruction(model, seen, full, conformity_score="scald")


def test_the_command_calibrates_reconstructions(stgate_command, field, full, tmp_path):
    model, seen = field
    stgate.write(seen, tmp_path / "seen.nc")
    stgate.write(full, tmp_path / "full.nc")
    model.save(tmp_path / "field.ckpt")
    told = ["calibrate", tmp_path / "seen.nc", "--checkpoint", tmp_path / "field.ckpt", "--out", tmp_path / "new.ckpt"]
    code, out, _ = stgate_command(*told, "--reconstruction", "--truth", tmp_path / "full.nc", "--levels", 0.5, 0.9)
    assert code == 0
    assert "split conformal of reconstructions" in out
    again = Forecaster.load_from_checkpoint(tmp_path / "new.ckpt")
    assert again.predictor.reconstruction_calibration.levels == tuple(LEVELS)
    told += ["--overwrite"]
    assert stgate_command(*told, "--reconstruction", "--by", "missing", "--truth", tmp_path / "full.nc")[0] == 0
    for wrong in (["--truth", tmp_path / "full.nc"], ["--reconstruction", "--by", "node"]):
        code, _, err = stgate_command(*told, *wrong)
        assert (code, wrong[-2] in err) == (2, True)


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("where", ["truth", "panel"])
@pytest.mark.parametrize("value", [0.0, -2.0, None])
def test_values_without_density_are_refused_with_their_place(context, where, value):
    plain = field_panel(steps=120)
    plain["y"] = plain["y"].clip(min=0.5)
    model = fitted(small_field(likelihood=LogNormal()), field_data(plain, context=context), limit_train_batches=1)
    strange = plain.copy(deep=True)
    if value is not None:
        strange["y"][100, 2] = value
    seen = strange if where == "panel" else plain.where(plain["node"] != "c")
    given = (seen, None if where == "panel" else strange)

    def act():
        return stgate.calibrate_reconstruction(model, *given, start=str(plain["time"].values[90]), levels=[0.5])

    if value is None:
        assert 0 <= act()[0.5] <= 1
        return
    before = model.predictor.reconstruction_calibration
    when = str(plain["time"].values[100])[:13]
    says(refusal(RequestError, act), "LogNormal", f"`y` is {value:g} at {when}", "node c", "values above zero")
    assert model.predictor.reconstruction_calibration is before


@pytest.mark.parametrize(("value", "words"), [(1e20, "seems to mark missing"), (1e8, "float32")])
def test_a_truth_with_marks_or_digits_that_float32_does_not_hold_is_refused(value, words):
    plain = field_panel(steps=120)
    model = fitted(small_field(), field_data(plain, context=0), limit_train_batches=1)
    truth = plain.assign(y=plain["y"].astype("float64") + 1e8 * (value == 1e8))
    if value != 1e8:
        truth["y"][100, 2] = value
    with pytest.raises(PanelError, match=words):
        stgate.calibrate_reconstruction(model, plain.where(plain["node"] != "c"), truth)
