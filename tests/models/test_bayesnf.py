"""BayesNF is the published model, and CGLUBNF with everything off is BayesNF."""

import math

import numpy as np
import pytest
import torch
from helpers import built, field_data, field_panel

from stgate.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from stgate.errors import RequestError
from stgate.inference import Ensemble
from stgate.models import CGLUBNF, BayesNF


def softplus(z):
    return np.log1p(np.exp(z))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_hand(weights, member, time, covariates, periods):
    """Forward pass of one member (Saad et al. 2024) at covariates (row, D), of which the first is time."""
    w = {name: value[member].double().numpy() for name, value in weights.items()}
    xs = covariates / np.exp(w["features.log_units"])
    frequencies, harmonics = [], []
    for period, count in periods:
        for h in range(1, count + 1):
            if h / period not in frequencies:
                frequencies.append(h / period)
                harmonics.append(h)
    angles, scale = 2 * np.pi * time[:, None] * np.array(frequencies), softplus(w["features.scales"])
    octaves = [2 * np.pi * xs[:, i : i + 1] * 2.0 ** np.arange(5) for i in range(xs.shape[1])]
    waves = [[scale[i + 1] * f(z) / (np.arange(5) + 1) for f in (np.cos, np.sin)] for i, z in enumerate(octaves)]
    seasons = scale[-2] * np.hstack([np.cos(angles), np.sin(angles)]) / np.tile(harmonics, 2)
    # By what they belong to: time, then place (here without the first coordinate), then both.
    of_time = [scale[0] * xs[:, :1], *waves[0], seasons]
    of_place = [scale[0] * xs[:, 1:], *(wave[0] for wave in waves[1:]), *(wave[1] for wave in waves[1:])]
    h = np.hstack([*of_time, *of_place, scale[-1] * xs[:, [0]] * xs[:, [1]]])
    share = sigmoid(w["activation.logit"])
    for layer in ("layers.0.update", "layers.1.update"):
        z = softplus(w[f"{layer}.scale"]) * (h / np.sqrt(h.shape[1]) @ w[f"{layer}.weight"].T + w[f"{layer}.bias"])
        h = share * np.where(z > 0, z, np.expm1(z)) + (1 - share) * np.tanh(z)
    return softplus(w["out.scale"]) * (h / np.sqrt(h.shape[1]) @ w["out.weight"].T + w["out.bias"])


PERIODS = [(24.0, 4), (168.0, 4)]
PUBLISHED = {"width": 8, "seasons": {"day": 4, "168": 4}, "interactions": [["time", "lat"]]}


def random_weights(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.predictor.network.parameters():
            weight.copy_(0.7 * torch.randn(weight.shape, generator=generator))
    return {name: weight.detach() for name, weight in model.predictor.network.network.named_parameters()}


def observed_rows(model, data):
    """Time in steps, covariates and values of the observed training entries of all batches, as the notes say."""
    start, stop = data.parts.train
    y = data.panel["y"].values[start:stop]
    time, node = np.nonzero(~np.isnan(y))
    latlon = np.stack([data.panel["lat"].values, data.panel["lon"].values], 1)[node]
    latlon = (latlon - latlon.mean(0)) / latlon.std(0)
    return time.astype(float), np.column_stack([time / time.max(), latlon]), y[time, node]


@pytest.mark.parametrize(
    ("likelihood", "log_density"),
    [
        (None, lambda f, c, y: -0.5 * ((y - f) / (0.01 + np.exp(c[0]))) ** 2 - np.log(0.01 + np.exp(c[0])) - 0.9189385),
        (NegativeBinomial(), lambda f, c, y: negative_binomial(softplus(f), softplus(c[0]), y)),
        (
            ZeroInflatedNegativeBinomial(),
            lambda f, c, y: np.where(
                y == 0,
                np.log(sigmoid(c[1]) + (1 - sigmoid(c[1])) * np.exp(negative_binomial(softplus(f), softplus(c[0]), y))),
                np.log(1 - sigmoid(c[1])) + negative_binomial(softplus(f), softplus(c[0]), y),
            ),
        ),
    ],
    ids=["normal", "nb", "zinb"],
)
def test_bayesnf_is_the_published_model_to_its_forward_pass_likelihood_and_prior(likelihood, log_density):
    panel = field_panel()
    if likelihood is not None:
        panel = panel.assign(y=(panel["y"] - 8).clip(0).round())
    data = field_data(panel, batch_size=1000)
    model = built(BayesNF(**PUBLISHED, likelihood=likelihood, inference=Ensemble(3, prior="logistic")), data)
    weights = random_weights(model)
    batch = next(iter(data.train_dataloader()))
    time, covariates, y = observed_rows(model, data)
    order = np.lexsort((np.arange(len(y)), time))
    made = model.training_forward(batch)
    truth = model.training_target(batch).flatten().numpy()
    expected, prior = [], []
    for member in range(3):
        f = by_hand(weights, member, time, covariates, PERIODS)[:, 0]
        constant = weights["constant"][member].double().numpy()
        expected.append(log_density(f, constant, y)[order].mean())
        if likelihood is None:
            found = np.sort(made.mean[member].flatten().detach().numpy())
            np.testing.assert_allclose(found, np.sort(f), rtol=1e-4, atol=1e-4)
        z = np.concatenate([weight[member].double().numpy().ravel() for weight in weights.values()])
        prior.append((-z - 2 * softplus(-z)).sum())
    assert sorted(truth) == sorted(y)
    model.train()
    loss = model.training_step(batch, 0)
    # Per case: minus the mean log likelihood of each member, and minus its log prior over the number of cases.
    assert float(loss.detach()) == pytest.approx(-sum(expected) - sum(prior) / len(y), rel=2e-4)


def negative_binomial(mean, shape, y):
    r = 1 / shape
    gammaln = np.vectorize(math.lgamma)
    return gammaln(y + r) - gammaln(r) - gammaln(y + 1) + r * np.log(r / (r + mean)) + y * np.log(mean / (r + mean))


def test_the_fourier_degree_is_one_number_or_named_by_coordinate():
    features = [
        built(BayesNF(width=8, degree=degree)).predictor.network.network.features
        for degree in (3, {"time": 8, "lat": 0})
    ]
    assert [[f.get_buffer(f"turns{kind}").shape[-1] for kind in (0, 1)] for f in features] == [[3, 6], [8, 5]]
    with pytest.raises(RequestError, match="degree 'tiem'"):
        built(BayesNF(width=8, degree={"tiem": 3}))
    with pytest.raises(RequestError, match="degree -1"):
        BayesNF(width=8, degree={"time": -1})


def test_bayesnf_starts_where_the_published_model_does():
    data = field_data()
    model = built(BayesNF(width=64), data)
    weights = dict(model.predictor.network.network.named_parameters())
    start, stop = data.parts.train
    spread = np.nanstd(data.panel["y"].values[start:stop])
    np.testing.assert_allclose(weights["constant"].detach(), np.log(spread / 2), rtol=1e-4)
    for name, weight in weights.items():
        if name.endswith("weight"):
            assert weight.abs().max() <= 2 and 0.8 < weight.std() < 0.95  # a normal cut off at two
        elif name != "constant":
            assert (weight == 0).all()


def test_a_cglubnf_with_everything_off_is_a_bayesnf():
    off = {"kriging": False, "graph": 0, "gate": False, "residual": "none", "activation": "shared", "varying": False}
    ours = built(CGLUBNF(width=16, inference=Ensemble(2), **off))
    theirs = built(BayesNF(width=16, inference=Ensemble(2)))
    ours.predictor.network.load_state_dict(theirs.predictor.network.state_dict())
    batch = next(iter(field_data().part_dataloader("test")))
    center, scale = ours.predictor.scaler.target_center, ours.predictor.scaler.target_scale
    expected = center + scale * theirs(batch).mean  # it speaks in units of the spread
    torch.testing.assert_close(ours(batch).mean, expected)
