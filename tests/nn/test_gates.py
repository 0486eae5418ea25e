"""Gates: one signature, exact limits."""

import pytest
import torch

from stgate.errors import RequestError
from stgate.nn.gates import GATES, Additive, Coupled, LearnedRate, make_gate

CHANNELS = 5


def pair(seed=0, shape=(2, 3, CHANNELS)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("shape", [(CHANNELS,), (4, CHANNELS), (2, 3, 4, CHANNELS)])
def test_every_gate_keeps_the_shape_of_its_skip(name, shape):
    skip, update = pair(shape=shape)
    assert make_gate(name, CHANNELS)(skip, update).shape == shape


@pytest.mark.parametrize("name", GATES)
def test_every_gate_passes_gradients_to_skip_and_to_its_own_parameters(name):
    skip, update = (x.requires_grad_() for x in pair())
    gate = make_gate(name, CHANNELS)
    gate(skip, update).square().sum().backward()
    assert skip.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gate.parameters())


def test_the_additive_gate_is_the_sum():
    skip, update = pair()
    assert torch.equal(Additive(CHANNELS)(skip, update), skip + update)


def test_a_learned_rate_starts_as_the_identity():
    skip, update = pair()
    assert torch.equal(LearnedRate(CHANNELS)(skip, 1e6 * update), skip)


def test_a_learned_rate_of_one_is_the_additive_gate():
    skip, update = pair()
    gate = LearnedRate(CHANNELS)
    torch.nn.init.ones_(gate.rate)
    assert torch.equal(gate(skip, update), skip + update)


@pytest.mark.parametrize("seed", range(5))
def test_the_coupled_gate_lies_between_skip_and_update(seed):
    skip, update = pair(seed)
    torch.manual_seed(seed)
    gated = Coupled(CHANNELS)(skip, update)
    assert (gated >= torch.minimum(skip, update) - 1e-6).all()
    assert (gated <= torch.maximum(skip, update) + 1e-6).all()


@pytest.mark.parametrize(("bias", "which"), [(-50.0, 0), (50.0, 1)])
def test_a_closed_coupled_gate_carries_and_an_open_one_replaces(bias, which):
    gate = Coupled(CHANNELS)
    torch.nn.init.constant_(gate.gate.bias, bias)
    torch.testing.assert_close(gate(*pair()), pair()[which])


def test_a_coupled_gate_without_weights_is_the_mean():
    gate = Coupled(CHANNELS)
    torch.nn.init.zeros_(gate.gate.weight)
    torch.nn.init.zeros_(gate.gate.bias)
    skip, update = pair()
    torch.testing.assert_close(gate(skip, update), (skip + update) / 2)


def test_a_context_takes_the_place_of_skip_and_update():
    gate, (skip, update), (context, _) = Coupled(CHANNELS), pair(), pair(1, (2, 3, 2 * CHANNELS))
    own = torch.cat([skip, update], -1)
    assert torch.equal(gate(skip, update, own), gate(skip, update))
    # The share taken from the update depends on the context alone.
    ones, zeros = torch.ones_like(skip), torch.zeros_like(skip)
    share = gate(zeros, ones, context)
    torch.testing.assert_close(gate(skip, update, context), torch.lerp(skip, update, share))


def test_an_unknown_gate_is_answered_with_the_nearest_name():
    with pytest.raises(RequestError, match="did you mean coupled"):
        make_gate("couple", CHANNELS)
