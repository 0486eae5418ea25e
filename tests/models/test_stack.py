"""Stacks: what their members say, pooled; one file that holds them all; and refusals that name the fix."""

import numpy as np
import pytest
import torch
from helpers import FEW, HORIZON, WINDOW, make_data, make_panel, trainer

import stgate
from stgate.__main__ import main
from stgate.errors import CheckpointError, RequestError
from stgate.fitting.one_fit import fit_forecaster
from stgate.models import Climatology, GatedRNN, Persistence, Ridge, Stack
from stgate.prediction.checkpoint import read_checkpoint, section_of
from stgate.prediction.migrations import migrate

PANEL = make_panel(steps=300)
START = str(PANEL["time"].values[290])


def fitted(model, panel=PANEL, **options):
    trainer(1, **FEW).fit(model, make_data(panel, batch_size=32, **options))
    return model.eval()


@pytest.fixture(scope="module")
def members():
    """Three forecasters with windows, covariates, calendars and transforms of their own."""
    return [
        fitted(Ridge(transforms="auto")),
        fitted(GatedRNN(hidden=4), window=WINDOW + 4, past_covariates=["u"], calendar=["hour", "weekday"]),
        fitted(Climatology(), future_covariates=["u"], calendar=["yearday"]),
    ]


def learned(members, **options):
    stack = Stack(members=members, **options)
    stack.learn(stack.data_of(PANEL))
    return stack


@pytest.mark.parametrize("pool", ["quantile", "linear"])
def test_a_stack_of_one_member_is_the_member(pool):
    one = fitted(Ridge(transforms="auto"))
    stack = learned([one], pool=pool)
    own, pooled = (stgate.backtest(m, PANEL, every=7, levels=[0.5, 0.9]) for m in (one, stack))
    np.testing.assert_allclose(pooled["y"], own["y"], rtol=1e-5)
    np.testing.assert_allclose(pooled["y_mean"], own["y_mean"], rtol=1e-5)


def test_each_member_sees_the_batch_that_it_was_fitted_on(members):
    stack = Stack(members=members)
    spec = stack.predictor.fitted_spec
    assert spec.window == WINDOW + 4
    assert spec.past_covariates == () and spec.future_covariates == ("u",)
    assert set(spec.calendar) >= {"hour", "weekday", "yearday"}
    batch = next(iter(stack.data_of(PANEL).part_dataloader("validation")))
    pooled = stack.predictor.forecasts(batch)
    first, last = batch["origin"][0, 1], batch["origin"][-1, 1]
    times = PANEL["time"].values
    for member, forecast in zip(members, pooled, strict=True):
        alone = stgate.backtest(member, PANEL, levels=[0.5]).sel(init_time=slice(times[first], times[last]))
        np.testing.assert_allclose(forecast.mean[..., 0].detach(), alone["y_mean"].values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["quantile", "linear", "auto"])
def test_weights_are_not_negative_and_sum_to_one(members, pool):
    stack = learned(members, pool=pool)
    weights = stack.predictor.weights
    assert weights.shape == (3, HORIZON, 1)
    assert float(weights.min()) >= 0
    torch.testing.assert_close(weights.sum(0), torch.ones(HORIZON, 1))
    assert stack.predictor.pool == pool or pool == "auto"
    assert len(stack.describe()) == 2 + len(members)


def test_a_stack_is_calibrated_forecasts_and_is_saved_like_any_forecaster(members, tmp_path):
    stack = learned(members)
    covered = stgate.calibrate(stack, stack.data_of(PANEL), levels=[0.5, 0.8])
    assert min(covered.values()) > 0.47
    assert stack.calibration.conformity_score == "distribution"
    stack.save(tmp_path / "stack.ckpt")
    made = stgate.forecast(stack, PANEL, levels=[0.5, 0.8], start=START)
    stgate.check_forecast(made)
    for again in (stgate.load(tmp_path / "stack.ckpt"), Stack.load_from_checkpoint(tmp_path / "stack.ckpt")):
        assert stgate.forecast(again, PANEL, levels=[0.5, 0.8], start=START).drop_attrs().identical(made.drop_attrs())
    assert made.attrs["model"] == "Stack"
    torch.load(tmp_path / "stack.ckpt", weights_only=True)


def test_a_stack_can_be_a_member(members, tmp_path):
    inner = learned(members[:2])
    outer = learned([inner, members[2]])
    outer.save(tmp_path / "outer.ckpt")
    one, two = (stgate.forecast(m, PANEL, levels=[0.5], start=START) for m in (outer, tmp_path / "outer.ckpt"))
    assert one.drop_attrs().identical(two.drop_attrs())


def test_a_trainer_learns_the_same_weights(members):
    stack = Stack(members=members)
    trainer(1).fit(stack, stack.data_of(PANEL))
    torch.testing.assert_close(stack.predictor.weights, learned(members).predictor.weights)


def test_members_of_an_earlier_format_are_migrated_with_their_stack(members, tmp_path):
    learned(members[:1]).save(tmp_path / "stack.ckpt")
    held = torch.load(tmp_path / "stack.ckpt", weights_only=True)
    today = held["stgate"]["members"][0]["stgate"]["format"]
    member = held["stgate"]["members"][0]
    member["stgate"]["format"] = 2
    for name in ("transforms", "directions"):
        del member["stgate"][name]
    migrate(held)
    assert held["stgate"]["members"][0]["stgate"]["format"] == today
    assert held["stgate"]["members"][0]["stgate"]["transforms"] == []
    assert any(name.startswith("predictor.pooled.0.") for name in held["state_dict"])


def test_a_missing_forecast_leaves_the_others(tmp_path):
    gappy = make_panel(steps=300, missing=0.4)
    stack = Stack(members=[fitted(Persistence(), gappy), fitted(Climatology(), gappy)])
    stack.learn(stack.data_of(gappy))
    made = stgate.backtest(stack, gappy, every=5, levels=[0.5])
    assert bool(np.isfinite(made["y_mean"]).all())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"horizon": HORIZON + 1}, "horizon"),
        ({"targets": "u"}, "targets"),
    ],
)
def test_members_that_differ_are_refused_in_one_line(change, says):
    with pytest.raises(RequestError, match=rf"{says} .*fit both with the same --data.{says}"):
        Stack(members=[fitted(Climatology()), fitted(Climatology(), **change)])


def test_members_of_other_nodes_or_steps_are_refused():
    other = make_panel(steps=300, nodes=("a", "b", "d"))
    with pytest.raises(RequestError, match=r"other nodes.*c, d.*same panel"):
        Stack(members=[fitted(Climatology()), fitted(Climatology(), other)])
    with pytest.raises(RequestError, match=r"step .*same panel"):
        Stack(members=[fitted(Climatology()), fitted(Climatology(), PANEL.isel(time=slice(None, None, 2)))])


def test_wrong_requests_name_the_fix(members):
    with pytest.raises(RequestError, match=r"pool 'linaer'.*linear"):
        Stack(members=members, pool="linaer")
    with pytest.raises(RequestError, match="members: give at least one"):
        Stack(members=[])
    with pytest.raises(RequestError, match="validation part"):
        stack = Stack(members=members)
        stack.learn(stack.data_of(PANEL, split=(0.7, 0, 0.15, 0.15)))
    with pytest.raises(CheckpointError, match="not fitted"):
        Stack(members=[Ridge()])
    with pytest.raises(RequestError, match=r"window: .*make them agree"):
        Stack(members=members).learn(make_data(PANEL))


@pytest.mark.parametrize("how", ["refit", "cross"])
def test_a_member_that_has_seen_the_validation_part_is_refused(how):
    late = Ridge()
    fit_forecaster(late, make_data(PANEL), calibration=how)
    with pytest.raises(RequestError, match=r"Ridge: was fitted on all rows .* --calibration split"):
        learned([fitted(Climatology()), late])


def test_the_command_stacks_checkpoints(members, tmp_path, capsys):
    PANEL.to_netcdf(tmp_path / "panel.nc")
    paths = [str(tmp_path / f"{number}.ckpt") for number in range(2)]
    for member, path in zip(members, paths, strict=False):
        member.save(path)
    out = str(tmp_path / "stack.ckpt")
    assert main(["stack", *paths, "--data.panel", str(tmp_path / "panel.nc"), "--out", out]) == 0
    shown = capsys.readouterr()
    assert "weights at lead" in shown.out and paths[0] in shown.out
    assert read_checkpoint(out)["stgate"]["calibration"] is not None
    assert main(["forecast", str(tmp_path / "panel.nc"), "--checkpoint", out, "--out", str(tmp_path / "f.nc")]) == 0
    assert main(["stack", *paths, "--data.panel", str(tmp_path / "panel.nc"), "--out", out]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert section_of(stgate.load(out))["class"] == "Stack"
