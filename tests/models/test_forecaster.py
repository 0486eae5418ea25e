"""The base of all forecasters: masked loss, checkpoints, exact resume, refusals."""

import argparse
import functools
import os
import pathlib

import lightning as L
import numpy as np
import pytest
import torch
from helpers import batch_of, built, make_data, make_panel, refusal, same_forecasts, says, trainer
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint

import stgate
from stgate.data.window_data import WindowData
from stgate.distributions import Normal
from stgate.errors import CheckpointError, RequestError, StgateError, StoreError
from stgate.models import Climatology, Forecaster, GatedRNN, Persistence, Ridge
from stgate.models.training.schedule import one_cycle
from stgate.nn import RollOut
from stgate.prediction import registry


@pytest.fixture(scope="module")
def fitted():
    """A fitted and calibrated recurrent forecaster, and the trainer that fitted it."""
    L.seed_everything(1, verbose=False)
    model, data, machine = GatedRNN(hidden=8), make_data(), trainer()
    machine.fit(model, data)
    stgate.calibrate(model, data, levels=[0.5, 0.8])
    return model, machine


# The loss


def test_the_loss_is_the_mean_over_observed_entries_only():
    model, batch = built(GatedRNN(transforms=None, likelihood=Normal())), batch_of(make_data(), "train")
    seen = ~batch["target"].isnan()
    assert 0 < seen.sum() < seen.numel()
    log_likelihood = model(batch).log_prob(batch["target"].nan_to_num(0.0))
    torch.testing.assert_close(model.training_step(batch, 0), -log_likelihood[seen].mean())


@pytest.mark.parametrize("rollout", [None, RollOut(width=8)])
def test_missing_targets_leave_every_gradient_finite_and_what_they_hide_has_no_say(rollout):
    batch = batch_of(make_data(), "train")
    model = built(GatedRNN(hidden=8, rollout=rollout, linear=False))  # with one, all else starts after the read-out
    model.training_step(batch, 0).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert all(g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("rollout", [None, RollOut(width=8)])
def test_a_batch_without_any_target_has_no_loss_and_no_gradient(rollout):
    model, batch = built(GatedRNN(hidden=8, rollout=rollout)), batch_of(make_data(), "train")
    blind = {name: torch.full_like(batch[name], torch.nan) for name in ("past", "target")}  # a roll-out reads both
    loss = model.training_step(batch | blind, 0)
    loss.backward()
    assert loss.item() == 0
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


def test_a_roll_out_is_trained_on_its_first_leads_and_forecasts_all():
    short, whole = (built(GatedRNN(hidden=8, rollout=RollOut(unroll=u))) for u in (1, None))
    whole.load_state_dict(short.state_dict())
    batch = batch_of(make_data(), "train")
    assert short(batch).batch_shape[1] == 3
    first_only = batch["target"].clone()
    first_only[:, 1:] = torch.nan
    torch.testing.assert_close(short.training_step(batch, 0), whole.training_step(batch | {"target": first_only}, 0))


def test_epoch_metrics_weigh_batches_by_what_they_observe():
    model, data = GatedRNN(hidden=8), make_data(make_panel(steps=160, missing=0.5))
    torch.manual_seed(0)
    machine = trainer()
    machine.fit(model, data)
    model.eval()
    middle = torch.tensor(0.5)
    errors = [(model(b).icdf(middle) - b["target"]).abs().flatten() for b in data.part_dataloader("validation")]
    expected = torch.cat(errors).nanmean()
    assert machine.callback_metrics["val_mae"].item() == pytest.approx(expected.item(), rel=1e-5)


# Checkpoints


def test_what_the_trainer_and_what_save_writes_load_as_the_same_forecaster(fitted, tmp_path):
    model, machine = fitted
    machine.save_checkpoint(tmp_path / "trainer.ckpt")
    model.save(tmp_path / "saved.ckpt")
    for name in ("trainer.ckpt", "saved.ckpt"):
        loaded = Forecaster.load_from_checkpoint(tmp_path / name)
        assert type(loaded) is GatedRNN
        assert loaded.predictor.fingerprint() == model.predictor.fingerprint()
        assert loaded.spec == model.spec
        assert not loaded.training
        assert same_forecasts(model, loaded)


def test_a_checkpoint_holds_nothing_but_plain_containers_and_tensors(fitted, tmp_path):
    model, machine = fitted
    machine.save_checkpoint(tmp_path / "trainer.ckpt")
    model.save(tmp_path / "saved.ckpt")
    for path in tmp_path.iterdir():
        assert torch.load(path, weights_only=True)["stgate"]["class"] == "GatedRNN"


@pytest.mark.parametrize("fill", ["last", "climatology"])
def test_a_forecaster_loaded_from_its_checkpoint_fills_as_it_was_fitted(fill, tmp_path):
    model, plain = built(GatedRNN(hidden=8, imputation=fill)), built(GatedRNN(hidden=8))
    model.save(tmp_path / "m.ckpt")
    loaded = Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")
    assert loaded.predictor.imputation == fill and loaded.predictor.fingerprint() == model.predictor.fingerprint()
    panel = make_panel(steps=60, seed=5)
    assert stgate.backtest(loaded, panel).equals(stgate.backtest(model, panel))
    assert not stgate.backtest(plain, panel).equals(stgate.backtest(model, panel))  # the same weights, other inputs


@pytest.mark.parametrize(
    "make",
    [
        Persistence,
        lambda: Persistence(carry=True),
        lambda: Climatology(keys=["hour"]),
        Climatology,
        lambda: Ridge(penalty=0.1, imputation="last"),
    ],
    ids=["persistence", "carry", "climatology by hour", "climatology", "ridge"],
)
def test_every_baseline_comes_back_from_its_checkpoint(make, tmp_path):
    model = built(make())
    if not isinstance(model, Ridge):
        model.fit_series(make_data())
    model.save(tmp_path / "m.ckpt")
    loaded = Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")
    assert type(loaded) is type(model)
    assert dict(loaded.hparams) == dict(model.hparams)
    panel = make_panel(steps=60, seed=5)
    assert stgate.backtest(loaded, panel).equals(stgate.backtest(model, panel))


def test_a_checkpoint_of_another_class_is_refused(tmp_path):
    built(Persistence()).save(tmp_path / "m.ckpt")
    assert isinstance(Persistence.load_from_checkpoint(tmp_path / "m.ckpt"), Persistence)
    with pytest.raises(CheckpointError, match=r"holds a \S+baselines.Persistence, not a \S+gated_rnn.GatedRNN; load"):
        GatedRNN.load_from_checkpoint(tmp_path / "m.ckpt")


@pytest.fixture
def own_registry(monkeypatch):
    """What a test defines is forgotten after it."""
    monkeypatch.setattr(registry, "_HOLDERS", dict(registry._HOLDERS))


def test_a_class_with_the_name_of_one_of_ours_is_refused():
    with pytest.raises(RequestError, match=r"class Persistence: stgate.models has a class of this name; name it other"):
        type("Persistence", (Persistence,), {})
    assert registry.holder("Persistence") is Persistence


def test_options_without_names_are_refused_since_a_checkpoint_could_not_hold_them(own_registry):
    def __init__(self, **kw):
        GatedRNN.__init__(self, **kw)

    message = refusal(RequestError, type("Loose", (GatedRNN,), {"__init__": __init__}), hidden=4)
    assert message == "**kw of Loose: a checkpoint holds options by name; name each one in __init__"


@pytest.mark.parametrize("name", ["forward", "members", "distribution", "predicted", "scaler"])
def test_what_only_a_predictor_can_override_is_refused_in_a_forecaster(name):
    mixin = type("Doubled", (), {name: lambda self, batch: None})
    for kind, bases in (("Direct", (GatedRNN,)), ("Mixed", (mixin, GatedRNN))):
        body = {name: lambda self, batch: None} if kind == "Direct" else {}
        message = refusal(RequestError, type, kind, bases, body)
        says(message, f".{name}: ", "override it in a `stgate.prediction.Predictor` and pass predictor=…")
        assert kind not in registry.holders()


def test_a_class_that_is_defined_again_still_loads_its_own_checkpoints(tmp_path, own_registry):
    first, second = (type("CarryOn", (Persistence,), {}) for _ in range(2))
    built(first()).save(tmp_path / "m.ckpt")
    assert type(first.load_from_checkpoint(tmp_path / "m.ckpt")) is first
    assert type(Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")) is second


def refused(path):
    message = refusal(CheckpointError, Forecaster.load_from_checkpoint, path)
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    "thing", [argparse.Namespace(a=1), pathlib.Path("x"), functools.partial(print), np.float64(1.0)], ids=repr
)
def test_a_checkpoint_with_a_pickled_object_is_refused(thing, tmp_path):
    built().save(tmp_path / "good.ckpt")
    content = torch.load(tmp_path / "good.ckpt", weights_only=True)
    torch.save(content | {"extra": thing}, tmp_path / "bad.ckpt")
    assert "pickled object" in refused(tmp_path / "bad.ckpt")


def test_a_checkpoint_from_a_stranger_runs_no_code(tmp_path):
    command = type("Command", (), {"__reduce__": lambda self: (os.mkdir, (str(tmp_path / "owned"),))})
    torch.save({"stgate": command()}, tmp_path / "bad.ckpt")
    refused(tmp_path / "bad.ckpt")
    assert not (tmp_path / "owned").exists()


def test_options_can_be_others_than_in_the_fit_where_the_weights_fit(tmp_path):
    model = built()
    model.save(tmp_path / "m.ckpt")
    again = GatedRNN.load_from_checkpoint(tmp_path / "m.ckpt", imputation="last", optimizer=torch.optim.SGD)
    assert again.hparams["imputation"] == "last" and again.predictor.fingerprint() == model.predictor.fingerprint()
    with pytest.raises(RequestError, match="hiden: not an option of GatedRNN; did you mean hidden"):
        GatedRNN.load_from_checkpoint(tmp_path / "m.ckpt", hiden=3)
    with pytest.raises(CheckpointError, match="weights do not fit hidden 5"):
        GatedRNN.load_from_checkpoint(tmp_path / "m.ckpt", hidden=5)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(share, tmp_path):
    built().save(tmp_path / "m.ckpt")
    whole = (tmp_path / "m.ckpt").read_bytes()
    (tmp_path / "m.ckpt").write_bytes(whole[: int(share * len(whole))])
    refused(tmp_path / "m.ckpt")


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], {"stgate": {}}, {"stgate": 1}], ids=str)
def test_a_foreign_checkpoint_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "m.ckpt")
    refused(tmp_path / "m.ckpt")


@pytest.mark.parametrize("text", [b"time,node,y\n1,a,2\n", b"hello", b"\x80\x02.", b"PK\x03\x04 zip?"], ids=repr)
def test_a_file_that_is_no_checkpoint_is_refused(text, tmp_path):
    (tmp_path / "m.ckpt").write_bytes(text)
    refused(tmp_path / "m.ckpt")


def test_an_unknown_class_is_not_imported(tmp_path):
    built().save(tmp_path / "m.ckpt")
    content = torch.load(tmp_path / "m.ckpt", weights_only=True)
    content["stgate"]["class"] = "antigravity.GatedRNN"
    torch.save(content, tmp_path / "m.ckpt")
    assert not {"Baseline", "FieldForecaster", "GatedForecaster"} & set(registry.known_names())  # abstract bases
    with pytest.raises(CheckpointError, match="no such class is imported"):
        Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")


def test_a_checkpoint_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"none\.ckpt: no such checkpoint"):
        Forecaster.load_from_checkpoint(tmp_path / "none.ckpt")


def test_an_optimizer_made_by_a_partial_stays_out_of_the_checkpoint(tmp_path):
    model = GatedRNN(
        hidden=8,
        optimizer=functools.partial(torch.optim.Adam, lr=1e-2),
        lr_scheduler=functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1),
    )
    machine = trainer()
    machine.fit(model, make_data())
    assert type(machine.optimizers[0]) is torch.optim.Adam
    machine.save_checkpoint(tmp_path / "trainer.ckpt")
    model.save(tmp_path / "saved.ckpt")
    for path in tmp_path.iterdir():
        assert Forecaster.load_from_checkpoint(path).predictor.fingerprint() == model.predictor.fingerprint()


@pytest.mark.parametrize(
    "make",
    [lambda: Ridge(penalty=np.logspace(-3, 0, 4)[1]), lambda: GatedRNN(hidden=8, dropout=np.float64(0.1))],
    ids=["ridge", "gated_rnn"],
)
def test_numpy_scalars_as_options_still_make_a_loadable_checkpoint(make, tmp_path):
    model = built(make())
    model.save(tmp_path / "m.ckpt")
    assert Forecaster.load_from_checkpoint(tmp_path / "m.ckpt").predictor.fingerprint() == model.predictor.fingerprint()


def test_a_forecaster_that_has_seen_no_panel_says_so(tmp_path):
    for act in (lambda m: m.save(tmp_path / "m.ckpt"), lambda m: stgate.forecast(m, make_panel())):
        with pytest.raises(CheckpointError, match="GatedRNN: not fitted"):
            act(GatedRNN())


# Reproducing and resuming


def test_the_same_seed_fits_the_same_weights():
    def weights(seed):
        L.seed_everything(seed, verbose=False)
        model = GatedRNN(hidden=8, dropout=0.2)
        trainer().fit(model, make_data())
        return model.predictor.fingerprint()

    assert weights(3) == weights(3) != weights(4)


def test_a_fit_resumed_at_an_epochs_end_ends_with_the_same_bits(tmp_path):
    def fit(seed, **options):
        L.seed_everything(seed, verbose=False)
        model = GatedRNN(hidden=8, dropout=0.3)
        resume = options.pop("ckpt_path", None)
        trainer(3, **options).fit(model, make_data(), ckpt_path=resume)
        return model

    keep = {
        "callbacks": [ModelCheckpoint(tmp_path, save_last=True, save_top_k=0, save_on_train_epoch_end=True)],
        "enable_checkpointing": True,
    }
    stop = LambdaCallback(on_train_epoch_end=lambda machine, _: setattr(machine, "should_stop", True))
    whole = fit(7)
    interrupted = fit(7, **(keep | {"callbacks": [stop, *keep["callbacks"]]}))
    resumed = fit(99, ckpt_path=tmp_path / "last.ckpt", **keep)  # another global seed: the checkpoint's counts
    assert interrupted.predictor.fingerprint() != whole.predictor.fingerprint()
    assert resumed.predictor.fingerprint() == whole.predictor.fingerprint()


def test_a_new_fit_drops_the_calibration_of_the_old_weights():
    model, data = GatedRNN(hidden=8), make_data()
    trainer().fit(model, data)
    stgate.calibrate(model, data, levels=[0.5])
    trainer().fit(model, data)
    assert model.calibration is None


# Refusals


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"window": 5}, "window"),
        ({"horizon": 2}, "horizon"),
        ({"targets": ["u"]}, "targets"),
        ({"future_covariates": ["u"]}, "future_covariates"),
        ({"panel": make_panel(steps=160, nodes=("a", "b", "x"))}, "nodes"),
        ({"panel": make_panel(steps=160).isel(node=[1, 0, 2])}, "nodes"),
        ({"panel": make_panel(steps=320).isel(time=slice(None, None, 2))}, "step"),
    ],
    ids=["window", "horizon", "targets", "covariates", "other nodes", "other order", "step"],
)
def test_other_data_than_those_fitted_on_are_refused_by_their_difference(change, named, fitted, tmp_path):
    model, _ = fitted
    with pytest.raises(RequestError, match=f"^{named}: the checkpoint was fitted with"):
        trainer().validate(model, make_data(**change), verbose=False)
    model.save(tmp_path / "m.ckpt")
    with pytest.raises(RequestError, match=f"^{named}: the checkpoint was fitted with"):
        trainer().fit(GatedRNN(hidden=8), make_data(**change), ckpt_path=tmp_path / "m.ckpt")


@pytest.mark.parametrize("model", [GatedRNN(), Persistence(), Ridge()], ids=lambda m: type(m).__name__)
def test_a_fit_without_window_data_is_refused(model):
    with pytest.raises(RequestError, match="pass datamodule=WindowData"):
        trainer().fit(model, make_data().train_dataloader())
    with pytest.raises(RequestError, match="pass datamodule=WindowData"):
        trainer().fit(model, L.LightningDataModule.from_datasets([1.0]))


@pytest.mark.parametrize(
    "options",
    [
        {"rollout": True},
        {"rollout": RollOut(unroll=99)},
        {"rollout": RollOut(warm_up=99)},
        {"patch": 0},
        {"patch": 99},
        {"attention": 3},
        {"cell": "none"},
        {"hidden": 0},
        {"layers": 0},
        {"halo": -1},
        {"dropout": 1.5},
        {"gate": "couple"},
    ],
    ids=", ".join,
)
def test_an_option_out_of_range_is_refused_before_the_fit(options):
    with pytest.raises(StgateError):
        built(GatedRNN(**({"hidden": 8} | options)))


def test_a_refused_fit_is_refused_again_and_leaves_no_half_adopted_forecaster():
    model, short = GatedRNN(hidden=8, rollout=RollOut(unroll=3)), make_data(train_horizon=2)
    for _ in range(2):
        with pytest.raises(RequestError, match="unroll"):
            built(model, short)
    with pytest.raises(CheckpointError, match="not fitted"):
        _ = model.predictor.device
    data = make_data()
    fresh = built(GatedRNN(hidden=8, rollout=RollOut(unroll=3)), data)
    built(model, data)
    ours, theirs = (m.predictor.hybrid.transition.change for m in (model, fresh))
    assert torch.equal(ours, theirs) and (ours != 1).all()


def test_validating_before_fitting_does_no_harm():
    data = WindowData(make_panel(steps=200), targets="y", window=6, horizon=3, split=[0.6, 0.2, 0.1, 0.1])
    model = GatedRNN(hidden=4)
    machine = trainer()
    machine.validate(model, data, verbose=False)
    machine.fit(model, data)


def test_one_cycle_rises_falls_and_stays_down():
    rates = [one_cycle(step, 100) for step in range(151)]
    assert max(rates) == rates[10] == 1
    assert rates[0] == pytest.approx(0.04)
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) <= 0).all()
    assert rates[100:] == pytest.approx([1e-5] * 51)
