"""Fits in mixed precision: the network in bfloat16, all else in float32."""

import pytest
import torch
from helpers import SEPNET_NODES, SMALL_SEPNET, field_data, fitted, make_data, make_panel, small_field

import stgate
from stgate.distributions import Anomaly, NegativeBinomial, Quantiles, StudentT
from stgate.inference import Ensemble
from stgate.models import Forecaster, GatedRNN, GatedTransformer, Ridge, STHSepNet
from stgate.nn import RollOut
from stgate.nn.single import single_precision


def windows():
    return make_data(make_panel(steps=160), batch_size=32)


def counted():
    panel = make_panel(steps=160)
    return make_data(panel.assign(y=panel["y"].round().clip(min=0)), batch_size=32)


def sepnet():
    return make_data(make_panel(steps=160, nodes=SEPNET_NODES), batch_size=32)


FITS = {
    "rnn": (lambda: GatedRNN(hidden=8), windows),
    "lstm": (lambda: GatedRNN(hidden=8, cell="lstm"), windows),
    "transformer": (lambda: GatedTransformer(hidden=8), windows),
    "sepnet": (lambda: STHSepNet(**SMALL_SEPNET), sepnet),
    "field": (small_field, field_data),
    "ridge": (Ridge, windows),
    "rollout": (lambda: GatedRNN(hidden=8, rollout=RollOut(unroll=2, width=8)), windows),
    "t": (lambda: GatedRNN(hidden=8, likelihood=StudentT()), windows),
    "quantiles": (lambda: GatedRNN(hidden=8, likelihood=Quantiles()), windows),
    "counts": (lambda: GatedRNN(hidden=8, likelihood=NegativeBinomial()), counted),
    "anomalies": (lambda: GatedRNN(hidden=8, transforms=[Anomaly()]), windows),
    "members": (lambda: GatedRNN(hidden=8, inference=Ensemble(members=2)), windows),
}
TOLERANCE = 0.1
"""Share by which the CRPS of the validation part may differ from that of the fit in float32."""
OPTIONS = {"limit_train_batches": 3, "limit_val_batches": 2}


@pytest.mark.filterwarnings("ignore:members run one after another")  # a recurrent layer cannot be vectorised
@pytest.mark.parametrize("kind", FITS)
def test_a_mixed_fit_is_finite_and_nearly_as_good_and_its_forecasts_and_weights_are_float32(kind, tmp_path):
    make, data = FITS[kind]
    mixed, plain = (fitted(make(), data(), precision=name, **OPTIONS) for name in ("bf16-mixed", "32-true"))
    metrics = mixed.trainer.callback_metrics
    score, expected = (
        float(model.trainer.callback_metrics.get("val_crps", torch.tensor(1.0))) for model in (mixed, plain)
    )
    assert all(bool(torch.isfinite(value)) for name, value in metrics.items() if name != "val_vpt")
    assert score == pytest.approx(expected, rel=TOLERANCE)
    for name, value in plain.state_dict().items():
        assert mixed.state_dict()[name].dtype == value.dtype
    panel = data().panel
    stgate.calibrate(mixed, data(), levels=[0.5])
    made = stgate.forecast(mixed, panel, levels=[0.5])
    mixed.save(tmp_path / "m.ckpt")
    again = stgate.forecast(Forecaster.load_from_checkpoint(tmp_path / "m.ckpt"), panel, levels=[0.5])
    assert made["y"].dtype == "float32"
    assert bool(made["y"].notnull().all())
    assert made["y"].equals(again["y"])  # a fit in mixed precision forecasts in float32


@pytest.mark.parametrize("kind", ["rnn", "transformer", "sepnet", "anomalies"])
def test_under_autocast_everything_but_the_network_is_as_it_is_without(kind):
    make, data = FITS[kind]
    held = data()
    model = fitted(make(), held, **OPTIONS).eval()
    batch = next(iter(held.val_dataloader()))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        encoded = model.predictor.encode(batch)
        inputs = model.predictor.inputs_of(encoded)
        forecast = model(batch)
    with torch.no_grad():
        plain = model.predictor.inputs_of(model.predictor.encode(batch))
        expected = model(batch)
    for name, value in vars(plain).items():
        assert torch.equal(getattr(inputs, name), value), name
    assert forecast.mean.dtype == torch.float32
    torch.testing.assert_close(forecast.mean, expected.mean, rtol=0.02, atol=0.1)


def test_autocast_is_off_within_and_on_again_after_an_error():
    @single_precision()
    def product():
        return torch.ones(2, 2) @ torch.ones(2, 2)

    with torch.autocast("cpu", torch.bfloat16):
        assert product().dtype == torch.float32
        with pytest.raises(KeyError), single_precision():
            raise KeyError
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert product().dtype == torch.float32
