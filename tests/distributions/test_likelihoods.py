"""Likelihoods: raw outputs as distributions in the target's own units."""

import pytest
import torch

from stgate.data.scaling import Moments
from stgate.distributions import LogNormal, NegativeBinomial, Normal, Quantiles, StudentT, ZeroInflatedNegativeBinomial
from stgate.distributions.likelihoods import Likelihood
from stgate.errors import CheckpointError, RequestError

CENTER, SCALE = torch.tensor([10.0, -3.0]), torch.tensor([2.0, 5.0])


def raw_outputs(seed=0):
    return torch.randn(4, 3, 5, 2, 2, generator=torch.Generator().manual_seed(seed))


def test_a_config_makes_the_same_likelihood_again():
    made = Likelihood.from_config(Normal(min_scale=0.25).config())
    assert isinstance(made, Normal)
    assert made.min_scale == 0.25
    assert made.config() == Normal(min_scale=0.25).config()


def test_an_unknown_likelihood_is_answered_with_the_nearest_name():
    with pytest.raises(CheckpointError, match="did you mean Normal"):
        Likelihood.from_config({"class_path": "Normall"})


def test_a_class_path_is_looked_up_by_name_and_never_imported():
    with pytest.raises(CheckpointError, match="system"):
        Likelihood.from_config({"class_path": "os.system", "init_args": {"command": "true"}})


def test_the_batch_shape_leaves_out_the_parameters():
    raw = raw_outputs()
    assert Normal()(raw, CENTER, SCALE).batch_shape == raw.shape[:-1]


@pytest.mark.parametrize("floor", [1e-3, 0.5])
def test_the_scale_never_falls_below_its_floor(floor):
    raw = raw_outputs()
    raw[..., 1] = -1e4
    spread = Normal(floor)(raw, CENTER, SCALE).stddev
    torch.testing.assert_close(spread, (floor * SCALE).expand_as(spread))


def test_location_and_scale_are_in_the_units_of_the_target():
    raw = raw_outputs()
    own = Normal()(raw, CENTER, SCALE)
    standard = Normal()(raw, torch.zeros(2), torch.ones(2))
    torch.testing.assert_close(own.mean, CENTER + SCALE * raw[..., 0])
    torch.testing.assert_close(own.stddev, SCALE * standard.stddev)
    # A change of units shifts the density by the logarithm of the scale, whatever the value.
    y = 10 * torch.randn(own.batch_shape)
    torch.testing.assert_close(own.log_prob(y), standard.log_prob((y - CENTER) / SCALE) - SCALE.log())


FAMILIES = [
    Normal(link="exp"),
    StudentT(),
    LogNormal(),
    NegativeBinomial(),
    ZeroInflatedNegativeBinomial(),
    Quantiles(),
]


def made_by(family, raw=None, center=None):
    center = CENTER.abs() if center is None else center
    raw = torch.randn(400, 2, family.parameters, generator=torch.Generator().manual_seed(0)) if raw is None else raw
    return family(raw, center, SCALE)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
def test_every_family_is_made_again_by_its_config_and_has_what_forecasts_need(family):
    again = Likelihood.from_config(family.config())
    assert again.config() == family.config()
    made = made_by(again)
    assert made.batch_shape == (400, 2)
    assert (made.stddev > 0).all()
    bounds = torch.stack([made.icdf(torch.tensor(q)) for q in (0.05, 0.5, 0.95)])
    assert (bounds.diff(dim=0) >= 0).all()
    assert torch.isfinite(bounds).all()
    assert (made.cdf(bounds[1]) >= 0.5 - 1e-5).all()
    if family.support != "real":
        assert (bounds >= 0).all()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
def test_every_raw_output_of_every_family_is_taught_also_by_extreme_values(family):
    raw = (3 * torch.randn(400, 2, family.parameters, generator=torch.Generator().manual_seed(1))).requires_grad_()
    truth = torch.tensor([[1.0, 40.0]]).expand(400, 2)
    family.loss(made_by(family, raw), truth).sum().backward()
    assert torch.isfinite(raw.grad).all()
    assert (raw.grad != 0).any(0).all()


@pytest.mark.parametrize("family", [LogNormal(), NegativeBinomial()], ids=lambda f: type(f).__name__)
def test_well_above_zero_the_location_is_in_the_targets_own_units(family):
    raw = torch.zeros(1, 2, family.parameters)
    raw[..., 1] = -3.0
    middle = made_by(family, raw, center=torch.tensor([100.0, 50.0])).icdf(torch.tensor(0.5))
    torch.testing.assert_close(middle, torch.tensor([[100.0, 50.0]]), rtol=0.05, atol=0)


def test_a_shift_lets_log_normal_values_be_zero():
    family = LogNormal(shift=2.0)
    family.check(("y",), torch.tensor([0.0]), torch.tensor([False]))
    raw = torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(0))
    made, bare = made_by(family, raw), made_by(LogNormal(), raw)
    assert torch.isfinite(made.log_prob(torch.zeros(5, 2))).all()
    torch.testing.assert_close(made.icdf(torch.tensor(0.5)), bare.icdf(torch.tensor(0.5)))
    for wrong in (-1.0, float("nan")):
        with pytest.raises(RequestError, match="shift"):
            LogNormal(shift=wrong)


def test_quantiles_learn_those_of_the_data():
    torch.manual_seed(0)
    truth = torch.distributions.Gumbel(0.0, 1.0).sample((4000, 1))
    raw = torch.zeros(1, 1, Quantiles().parameters, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.06)
    for _ in range(300):
        family = Quantiles()
        loss = family.loss(family(raw.expand(4000, -1, -1), torch.zeros(1), torch.ones(1)), truth).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = Quantiles()(raw.detach(), torch.zeros(1), torch.ones(1))
    for level in (0.05, 0.25, 0.5, 0.9, 0.975):
        found = float(made.icdf(torch.tensor(level)))
        assert (truth <= found).float().mean() == pytest.approx(level, abs=0.015)


@pytest.mark.parametrize(
    ("family", "values", "said"),
    [
        (LogNormal(), [0.0, 3.0], "takes values above zero only; a shift .* allows zero"),
        (LogNormal(shift=1.0), [-0.5, 3.0], "values of -0.5; it takes values of zero or above"),
        (NegativeBinomial(), [0.5, 3.0], "no whole numbers"),
        (ZeroInflatedNegativeBinomial(), [-1.0, 3.0], "values of -1"),
    ],
)
def test_values_that_a_family_gives_no_density_are_refused_by_name(family, values, said):
    moments = Moments()
    moments.add(torch.tensor(values)[:, None])
    with pytest.raises(RequestError, match=f"`cases` has .*{said}|{said}"):
        family.check(("cases",), moments.least, moments.whole)
    Normal().check(("cases",), moments.least, moments.whole)
