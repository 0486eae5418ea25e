"""Likelihoods: raw outputs as distributions in the target's own units."""

import pytest
import torch

from stgate.errors import CheckpointError
from stgate.nn.likelihoods import Likelihood, Normal

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
