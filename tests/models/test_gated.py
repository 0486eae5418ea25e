"""Gated hybrids: roll-outs, their training options, what a missing entry is filled by, intervals that grow."""

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import FEW, batch_of, built, fit, fitted, lattice_panel, make_data, ring_data, ring_panel
from lightning.pytorch.callbacks import EMAWeightAveraging

import stgate
from stgate.distributions import Difference, Normal
from stgate.errors import FitWarning, ForecastWarning, RequestError, TrainingError
from stgate.inference import Ensemble
from stgate.models import Forecaster, GatedRNN, GatedTransformer
from stgate.models.training.steps import masked_loss
from stgate.nn import RollOut


@pytest.fixture(scope="module")
def ring():
    return ring_panel()


def cut(batch, window):
    """The batch with the first steps of its window only."""
    return batch | {n: batch[n][:, :window] for n in ("past", "since", "past_calendar", "past_cell")}


def test_a_step_that_knows_the_field_alone_forgets_the_window(ring):
    model = fitted(GatedRNN(cell="none", halo=2, rollout=RollOut()), ring_data(ring), **FEW)
    batch = batch_of(ring_data(ring))
    changed = batch | {"past": torch.cat([batch["past"][:, 1:], batch["past"][:, -1:]], 1)}
    torch.testing.assert_close(model(changed).mean, model(batch).mean)


@pytest.mark.parametrize("model", [GatedRNN, GatedTransformer])
def test_a_roll_out_of_patches_turns_with_the_ring(ring, model):
    model = fitted(model(hidden=8, patch=2, halo=2, rollout=RollOut(width=8)), ring_data(ring), **FEW)
    batch = batch_of(ring_data(ring))
    turned = batch | {n: batch[n].roll(2, 2) for n in ("past", "since", "target")}
    torch.testing.assert_close(model(turned).mean, model(batch).mean.roll(2, 2), atol=1e-4, rtol=1e-4)


def test_training_counts_the_window_after_warm_up_and_the_first_leads(ring):
    model = built(GatedRNN(hidden=8, rollout=RollOut(unroll=3, warm_up=1)), ring_data(ring))
    batch = batch_of(ring_data(ring))
    forecast, target = model.training_forward(batch), model.training_target(batch)
    assert forecast.batch_shape[1] == 2 + 3  # the window's 3 one-step forecasts but the first, then the leads
    torch.testing.assert_close(target[:, :2], batch["past"][:, 2:])
    torch.testing.assert_close(target[:, 2:], batch["target"])
    torch.testing.assert_close(forecast.mean[:, 2:], model(batch).mean[:, :3])
    first = model(cut(batch, 3)).mean[:, 0]
    torch.testing.assert_close(forecast.mean[:, 1], first, atol=1e-4, rtol=1e-4)  # taught with what was observed


def test_a_curriculum_lengthens_the_free_run_over_the_fit(ring):
    model, seen = GatedRNN(hidden=8, rollout=RollOut(unroll=[1, 2, 4])), []
    model.on_train_epoch_end = lambda: seen.append(model.leads_now())
    fit(model, ring_data(ring), epochs=6, limit_train_batches=2, limit_val_batches=1)
    assert seen == [1, 1, 2, 2, 4, 4]
    assert model.training_leads() == 4  # the validation loss of every epoch counts as many, so that they compare


def test_a_weighted_likelihood_is_for_training_only(ring):
    """Weighed by its variance, the loss of a sharp forecast is larger than that of a blunt one."""
    model = built(GatedRNN(hidden=8, rollout=RollOut(), likelihood=Normal(beta=1.0)), ring_data(ring)).train()
    target = torch.zeros(2, 3, 8, 1)
    blunt, sharp = (torch.distributions.Normal(target, scale) for scale in (0.2, 0.01))
    losses = {
        stage: [float(masked_loss(model, stage, f, target)) for f in (blunt, sharp)] for stage in ("train", "val")
    }
    assert losses["train"][0] < losses["train"][1]
    assert losses["val"][0] > losses["val"][1]
    torch.testing.assert_close(losses["val"][1], -float(sharp.log_prob(target).mean()))


def test_a_fit_whose_loss_is_not_finite_says_so(ring):
    model = GatedRNN(cell="none", halo=2, rollout=RollOut(unit="bilinear", scheme="rk4", substeps=4))
    model.adopt(ring_data(ring))
    model.predictor.built.transition.tendency.weight.data.fill_(1e4)
    with pytest.raises(TrainingError, match="the training loss is nan at step 0: lower the learning rate"):
        fit(model, ring_data(ring), **FEW)


@pytest.mark.parametrize("scheme", ["rk4", "exponential"])
def test_a_conservative_forecast_keeps_the_sum_over_all_nodes(ring, scheme):
    model = GatedRNN(cell="none", halo=2, rollout=RollOut(scheme=scheme, conservative=True))
    model.adopt(ring_data(ring))
    batch = batch_of(ring_data(ring))
    made = model.eval()(batch).mean
    before = batch["past"][:, -1:, :, :1].sum(2).expand_as(made.sum(2))
    torch.testing.assert_close(made.sum(2), before, atol=1e-3, rtol=0.0)
    assert not torch.allclose(made, batch["past"][:, -1:, :, :1])


def test_a_missing_entry_of_the_window_is_what_the_step_before_it_forecasts(ring):
    model = fitted(GatedRNN(hidden=8, halo=2, cell="lstm", rollout=RollOut()), ring_data(ring), **FEW)
    batch = batch_of(ring_data(ring))
    hidden = {**batch, "past": batch["past"].clone(), "since": batch["since"].clone()}
    hidden["past"][:, -1, 3] = torch.nan
    hidden["since"][:, -1, 3] = 1.0
    expected = model(cut(batch, 3)).mean[:, 0, 3]
    network = model.predictor.built
    inputs = model.predictor.scaler(hidden)
    _, field, _, _ = network._through_window(inputs, 0, None)
    filled = field[:, 3] * model.predictor.scaler.target_scale + model.predictor.scaler.target_center
    torch.testing.assert_close(filled, expected)
    assert torch.isfinite(model(hidden).mean).all()


def test_gradients_stay_finite_where_half_of_the_history_is_missing(ring):
    holes = ring.assign(x=ring["x"].where(np.random.default_rng(0).random(ring["x"].shape) > 0.5))
    model = built(GatedRNN(hidden=8, halo=2, rollout=RollOut(unroll=2, noise=0.1)), ring_data(holes)).train()
    batch = next(iter(ring_data(holes).train_dataloader()))
    model.training_step(batch, 0).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0


def test_noise_disturbs_training_only(ring):
    calm, noisy = (GatedRNN(hidden=8, rollout=RollOut(noise=n, unroll=1)) for n in (0.0, 0.5))
    for model in (calm, noisy):
        torch.manual_seed(0)
        model.adopt(ring_data(ring))
    batch = batch_of(ring_data(ring))
    torch.testing.assert_close(noisy.eval()(batch).mean, calm.eval()(batch).mean)
    assert not torch.allclose(noisy.training_forward(batch).mean, calm.training_forward(batch).mean)
    spread = noisy.predictor.built.transition.change
    expected = (ring["x"].diff("time") ** 2).isel(time=slice(0, 420)).mean() ** 0.5 / float(
        noisy.predictor.scaler.target_scale
    )
    assert float(spread) == pytest.approx(float(expected), rel=1e-3)


def test_whitening_makes_what_a_patch_sees_uncorrelated(ring):
    model = GatedRNN(cell="none", halo=2, rollout=RollOut())
    data = ring_data(ring)
    model.adopt(data)
    x = (
        data.series.values[:, : data.parts.train[1]] - model.predictor.scaler.target_center
    ) / model.predictor.scaler.target_scale
    seen = (model.predictor.built.patches.surround(x) @ model.predictor.built.transition.whiten).flatten(0, 2)
    torch.testing.assert_close(seen.T @ seen / len(seen), torch.eye(5), atol=0.01, rtol=0.0)


def test_streams_carry_the_state_from_batch_to_batch(ring):
    """Batches that follow each other with the state carried along are one long sequence to the core."""
    data = ring_data(ring, every=1, streams=True, batch_size=4)
    model = GatedRNN(hidden=8, cell="lstm", rollout=RollOut(unroll=1, stateful=True))
    torch.manual_seed(0)
    model.adopt(data)
    model.train()
    first, second = (b for b, _ in zip(data.train_dataloader(), range(2), strict=False))
    assert torch.equal(first["origin"] + torch.tensor([0, 4]), second["origin"])
    with torch.no_grad():
        model.training_forward(first)
        carried = model.training_forward(second).mean
        both = model.predictor.scaler({**first, **{n: torch.cat([first[n], second[n]], 1) for n in ("past", "since")}})
        both.calendar = torch.cat([both.calendar, both.calendar], 1)
        model.predictor.built.carried = None
        raw = model.predictor.built(both, 1, teacher_forced=3)
        torch.testing.assert_close(carried, model.predictor.distribution(raw).mean)
        model.training_forward(first)
        alone = model.training_forward(first | {"origin": first["origin"] + 1}).mean
        torch.testing.assert_close(alone, model.training_forward(first | {"origin": first["origin"] + 9}).mean)
    assert torch.equal(model.eval()(first).mean, model(first).mean)  # a forecast carries nothing


def test_truncated_backpropagation_fits(ring):
    model = GatedRNN(hidden=8, cell="gru", halo=2, rollout=RollOut(unroll=1, stateful=True))
    data = ring_data(ring, every=1, streams=True, batch_size=4)
    machine = fit(model, data)
    assert machine.callback_metrics["val_vpt"] > 0


@pytest.mark.parametrize(
    ("inference", "cell"), [(None, "none"), (Ensemble(members=2), "none"), (None, "gru")], ids=["one", "two", "gru"]
)
def test_sampled_trajectories_give_intervals_that_grow_with_the_lead(ring, inference, cell):
    rollout = RollOut(samples=8, unroll=2, unit="bilinear", scheme="rk4")
    likelihood = Normal(1e-5)
    model = GatedRNN(hidden=8, cell=cell, halo=2, rollout=rollout, likelihood=likelihood, inference=inference)
    fitted(model, ring_data(ring))
    forecast = stgate.backtest(model, ring, start=27.0, every=20, levels=[0.9])
    width = (forecast["x"].sel(quantile=0.95) - forecast["x"].sel(quantile=0.05)).mean(["init_time", "node", "member"])
    assert float(width[-1]) > 1.5 * float(width[0]) > 0
    assert "x_epistemic" not in forecast  # trajectories disagree for other reasons than a lack of data
    again = stgate.backtest(model, ring, start=27.0, every=20, levels=[0.9])
    xr.testing.assert_equal(forecast, again.assign_attrs(forecast.attrs))  # the same seed, the same bits


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback:UserWarning")
def test_averaged_weights_are_what_a_fit_leaves_and_a_checkpoint_holds(ring, tmp_path):
    model = GatedRNN(hidden=8, halo=2, rollout=RollOut(unroll=1))
    average = EMAWeightAveraging(decay=0.9)
    machine = fit(model, ring_data(ring), callbacks=[average])
    machine.save_checkpoint(tmp_path / "m.ckpt")
    loaded = Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")
    batch = batch_of(ring_data(ring))
    torch.testing.assert_close(loaded(batch).mean, model.eval()(batch).mean)
    plain = fitted(GatedRNN(hidden=8, halo=2, rollout=RollOut(unroll=1)), ring_data(ring))
    assert not torch.allclose(plain(batch).mean, loaded(batch).mean)


@pytest.mark.parametrize(
    "model",
    [
        GatedRNN(hidden=8, cell="rhn", attention=2, span=3, patch=2, halo=1, rollout=RollOut([1, 2], scheme="rk4")),
        GatedTransformer(hidden=8, norm="post", recurrence=True, gate="gated_unit", likelihood=Normal(1e-4, beta=0.5)),
    ],
    ids=["rnn", "transformer"],
)
def test_a_checkpoint_is_the_whole_model(ring, tmp_path, model):
    model = fitted(model, ring_data(ring), **FEW)
    model.save(tmp_path / "m.ckpt")
    loaded = Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")
    assert type(loaded) is type(model) and dict(loaded.hparams) == dict(model.hparams)
    batch = batch_of(ring_data(ring))
    assert torch.equal(loaded(batch).mean, model(batch).mean)


def test_a_lattice_is_forecast_by_square_patches():
    panel = lattice_panel()
    data = make_data(panel, targets=["u"], window=4)
    assert data.spec.lattice == (4, 6)
    model = GatedRNN(hidden=8, patch=2, halo=1, rollout=RollOut(unroll=2))
    fitted(model, data)
    assert model.predictor.built.patches.count == 6 and model.predictor.built.patches.reach == 16
    assert stgate.forecast(model, panel).sizes["node"] == 24


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda: RollOut(unroll=0), "rollout.unroll 0"),
        (lambda: RollOut(unroll=[]), "rollout.unroll"),
        (lambda: RollOut(noise=-1.0), "rollout.noise -1"),
        (lambda: RollOut(samples=-1), "rollout.samples -1"),
        (lambda: GatedRNN(rollout=True), r"rollout True: not a rollout; give an object such as nn.RollOut\(\)"),
        (lambda: GatedRNN(rollout=RollOut(stateful=True), inference=Ensemble()), "rollout.stateful"),
        (lambda: GatedRNN(cell="none", rollout=RollOut(stateful=True)), "rollout.stateful: without a cell"),
        (lambda: GatedRNN(hidden="8"), "hidden '8': must be a whole number"),
        (lambda: GatedRNN(halo=None), "halo None: must be a whole number"),
        (lambda: GatedRNN(patch=2.5), r"patch 2.5: must be a whole number"),
        (lambda: GatedRNN(dropout="0.1"), "dropout '0.1': must be a number"),
        (lambda: RollOut(unroll=[1, "a"]), r"rollout.unroll \[1, 'a'\]"),
        (lambda: RollOut(unroll="2"), "rollout.unroll '2'"),
        (lambda: RollOut(unroll=2.5), "rollout.unroll 2.5"),
        (lambda: RollOut(noise=float("nan")), "rollout.noise nan"),
        (lambda: RollOut(substeps=1.5), "rollout.substeps 1.5"),
        (lambda: Normal(0.0), "min_scale 0"),
        (lambda: Normal(beta=2.0), "beta 2"),
    ],
)
def test_an_option_out_of_range_is_refused_at_once(make_it, said):
    with pytest.raises(RequestError, match=said):
        make_it()


def test_streams_have_a_stride_of_their_own(ring):
    with pytest.raises(RequestError, match="every 3: with streams"):
        ring_data(ring, every=3, streams=True)


def test_half_of_what_carries_a_state_is_refused(ring):
    carrying = GatedRNN(hidden=8, rollout=RollOut(unroll=2, stateful=True))
    for model, streams in ((carrying, False), (GatedRNN(hidden=8, rollout=RollOut(unroll=2)), True)):
        with pytest.raises(RequestError, match="belong together"):
            model.adopt(ring_data(ring, streams=streams, every=4 if streams else 1))


def test_a_direct_forecast_needs_all_leads_in_training(ring):
    with pytest.raises(RequestError, match="train_horizon 2: all 12 leads are forecast at once"):
        GatedRNN(hidden=8).adopt(ring_data(ring, train_horizon=2))


def test_a_roll_out_that_leaves_all_bounds_is_warned_of_and_counted(ring):
    model = GatedRNN(cell="none", halo=2, rollout=RollOut(unroll=2, unit="bilinear"))
    model.adopt(ring_data(ring))
    with torch.no_grad():
        model.predictor.network.get_parameter("transition.tendency.weight").mul_(1e12)
    with pytest.warns(ForecastWarning, match="diverged"):
        hindcast = stgate.backtest(model.eval(), ring, start=20.0, every=40)
    scores = stgate.evaluate(hindcast)
    lost = (hindcast["x_truth"].notnull() & hindcast["x_mean"].isnull()).sum()
    assert float(scores["no_forecast"]) == pytest.approx(float(lost / hindcast["x_truth"].notnull().sum()))
    assert float(scores["no_forecast"]) > 0.5


def test_training_windows_can_be_shorter_than_a_forecast(ring):
    data = ring_data(ring, horizon=150, train_horizon=2, split=(1.0, 0.0, 0.0, 0.0))
    batch = next(iter(data.train_dataloader()))
    assert batch["target"].shape[1] == 2 and data.spec.horizon == 150
    last = max(int(b["origin"][:, 1].max()) for b in data.train_dataloader())
    assert last > ring.sizes["time"] - 2 - 4 - 2  # origins up to the end, but for the stride
    model = fitted(GatedRNN(hidden=8, rollout=RollOut(unroll=2)), data, limit_val_batches=0)
    assert stgate.forecast(model, ring).sizes["lead_time"] == 150
    with pytest.raises(RequestError, match=r"rollout.unroll 3: .* hold 2 leads"):
        fit(GatedRNN(hidden=8, rollout=RollOut(unroll=3)), data, limit_val_batches=0)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (GatedTransformer, {"span": 4}, "last 4 steps; earlier ones are read by the linear part alone"),
        (GatedTransformer, {"span": 3, "layers": 2}, "last 5 steps; earlier ones are read by the linear part alone"),
        (GatedTransformer, {"span": 4, "linear": False}, "read by the search for the last observation"),
        (GatedTransformer, {"span": 4, "imputation": "last"}, "by the linear part and the search for the last"),
        (GatedTransformer, {"span": 4, "transforms": [Difference()]}, "by the linear part and the search for the last"),
        (GatedRNN, {"span": 4, "cell": "none", "attention": 2}, "last 4 steps"),
    ],
)
def test_a_fit_warns_of_steps_of_the_window_that_the_network_does_not_see(kind, options, said):
    with pytest.warns(FitWarning, match=f"window 6: the network sees only its .*{said}"):
        built(kind(**{"layers": 1, "hidden": 8, "transforms": None} | options))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (GatedTransformer, {}),
        (GatedTransformer, {"layers": 1, "span": 6}),
        (GatedTransformer, {"layers": 1, "span": 2, "recurrence": True}),
        (GatedTransformer, {"layers": 1, "span": 2, "rollout": RollOut()}),
        (GatedRNN, {"attention": 2, "span": 2}),
        (GatedRNN, {"cell": "none", "attention": 2, "span": 6}),
    ],
)
def test_a_fit_whose_network_learns_from_the_whole_window_does_not_warn(kind, options):
    built(kind(hidden=8, transforms=None, **options))
