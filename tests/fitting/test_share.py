"""The share of a network's correction: none of noise, all of what is right, the same in later fits."""

import numpy as np
import pytest
import torch
from helpers import HORIZON, built, fitted, make_data, make_panel

import stgate
from stgate.fitting.attempts import kept
from stgate.fitting.share import choose_share
from stgate.fitting.training import Length, train
from stgate.models import GatedRNN, Ridge
from stgate.nn.direct import Direct
from stgate.prediction.checkpoint import read_checkpoint, write_checkpoint


def bent(steps=800):
    """A panel that no linear forecast knows: each value is far from zero if the one before was near it."""
    panel, rng = make_panel(steps=steps, missing=0.0), np.random.default_rng(2)
    values = np.zeros((steps, 3))
    for step in range(1, steps):
        values[step] = 1 - 1.7 * values[step - 1] ** 2 + 0.02 * rng.standard_normal(3)
        values[step] = np.clip(values[step], -1, 1)
    return panel.assign(y=panel["y"].copy(data=values.astype("float32")))


def shaken(data, size):
    """A network whose corrections are noise."""
    model = built(GatedRNN(hidden=8), data)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.predictor.built.parameters():
            weight.add_(size * torch.randn_like(weight))
    return model.eval()


def test_a_correction_that_is_noise_is_left_out_and_the_linear_part_remains():
    data = make_data(make_panel())
    noise, linear = shaken(data, 2.0), built(GatedRNN(hidden=8), data)
    assert choose_share(noise.predictor, data) == ((0.0,),) * HORIZON
    one, two = (stgate.forecast(model.eval(), data.panel, levels=[0.5, 0.9]) for model in (noise, linear))
    np.testing.assert_allclose(one["y"], two["y"], rtol=1e-5)


def test_a_network_that_knows_more_than_a_linear_forecast_keeps_all():
    data = make_data(bent(), horizon=1)
    model = GatedRNN(hidden=16)
    length = train(model, data, seed=0, epochs=25)
    assert length.share == ((1.0,),) and float(model.predictor.share) == 1.0


def test_each_lead_has_a_share_of_its_own():
    data = make_data(bent(), horizon=2)
    model = GatedRNN(hidden=16)
    train(model, data, seed=0, epochs=25)
    with torch.no_grad():
        head = model.predictor.part(Direct)
        usual = head.forward
        head.forward = lambda *given: usual(*given) * torch.tensor([1.0, -1.0])[:, None, None, None]
    assert choose_share(model.predictor, data) == ((1.0,), (0.0,))


def test_later_fits_and_fits_that_are_kept_have_the_share_of_the_first(tmp_path):
    data = make_data(make_panel())
    model = GatedRNN(hidden=4)
    length = Length(1, 1, ((0.25,), (0.5,), (1.0,)))
    assert train(model, data, seed=0, length=length) == length
    assert model.predictor.share.flatten().tolist() == [0.25, 0.5, 1.0]
    made = [kept(tmp_path / "m.ckpt", "key", lambda: (model, length, {})) for _ in range(2)]
    assert made[0].length == made[1].length == length
    assert made[1].predictor.share.flatten().tolist() == [0.25, 0.5, 1.0]


def test_a_forecaster_without_a_linear_part_or_a_validation_part_keeps_all():
    data = make_data(make_panel())
    assert choose_share(fitted(Ridge(), data).predictor, data) == ()
    assert choose_share(built(GatedRNN(hidden=4, linear=False), data).eval().predictor, data) == ()
    without = make_data(make_panel(), split=(0.7, 0.0, 0.15, 0.15))
    assert choose_share(shaken(without, 0.5).predictor, without) == ()


@pytest.mark.filterwarnings("ignore::stgate.errors.FitWarning")
def test_the_command_says_and_stores_it_and_a_fit_that_goes_on_trains_the_whole_network(
    stgate_command, tmp_path, monkeypatch
):
    def half(predictor, data):
        predictor.share.fill_(0.5)
        return ((0.5,),) * 3

    monkeypatch.setattr("stgate.commands.fit.completion.choose_share", half)
    stgate.write(make_panel(), tmp_path / "panel.nc")
    fit = ("fit", "--model", "GatedRNN", "--model.hidden", 4, "--data.panel", tmp_path / "panel.nc")
    fit += ("--data.targets", "[y]", "--data.window", 6, "--data.horizon", 3, "--trainer.max_epochs", 1)
    for how in ("split", "refit"):
        out = tmp_path / how
        code, _, error = stgate_command(*fit, "--calibration", how, "--out", out)
        assert code == 0 and "correction to its linear part counts 50 %" in error, error
        assert (read_checkpoint(out / "best.ckpt")["state_dict"]["predictor.share"] == 0.5).all()
        assert (stgate.load(out / "best.ckpt").share == 0.5).all()
    checkpoint = read_checkpoint(out / "best.ckpt")
    checkpoint["state_dict"]["predictor.share"].zero_()
    write_checkpoint(checkpoint, tmp_path / "none.ckpt")
    again = stgate.models.Forecaster.load_from_checkpoint(tmp_path / "none.ckpt")
    before = [weight.clone() for weight in again.predictor.built.parameters()]
    fitted(again, make_data(make_panel()))
    moved = [not torch.equal(old, new) for old, new in zip(before, again.predictor.built.parameters(), strict=True)]
    assert all(moved) and (again.predictor.share == 1.0).all()
