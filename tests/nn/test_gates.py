"""Gates: one signature, exact limits."""

import pytest
import torch

from stgate.errors import RequestError
from stgate.nn.gates import GATES, Additive, Bilinear, Coupled, GatedUnit, Highway, LearnedRate, make_gate

CHANNELS = 5


def pair(seed=0, shape=(2, 3, CHANNELS)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("shape", [(CHANNELS,), (4, CHANNELS), (2, 3, 4, CHANNELS)])
def test_every_gate_keeps_the_shape_of_its_skip(name, shape):
    skip, update = pair(shape=shape)
    assert make_gate(name, CHANNELS)(skip, update).shape == shape


@pytest.mark.parametrize("name", [name for name in GATES if name != "none"])
def test_every_gate_passes_gradients_to_skip_and_to_its_own_parameters(name):
    skip, update = (x.requires_grad_() for x in pair())
    gate = make_gate(name, CHANNELS)
    gate(skip, update).square().sum().backward()
    assert skip.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gate.parameters())


def test_no_gate_lets_nothing_skip():
    skip, update = pair()
    assert make_gate("none", CHANNELS)(skip, update) is update


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


@pytest.mark.parametrize("kind", [Highway, GatedUnit])
def test_a_gate_that_carries_is_nearly_the_identity_to_begin_with(kind):
    skip, update = pair()
    torch.manual_seed(0)
    gate = kind(CHANNELS)
    apart = (gate(skip, update) - skip).abs().mean()
    assert apart < 0.5 * (update - skip).abs().mean()
    torch.nn.init.zeros_(gate.gates.weight)
    torch.nn.init.constant_(gate.gates.bias, 50.0)
    gate.gates.bias.data[-CHANNELS:] = -50.0
    torch.testing.assert_close(gate(skip, update), skip)


def test_an_open_highway_is_the_sum_and_a_coupled_one_the_coupled_gate():
    (skip, update), highway, coupled = pair(), Highway(CHANNELS), Coupled(CHANNELS)
    torch.nn.init.constant_(highway.gates.bias, 50.0)
    torch.testing.assert_close(highway(skip, update), skip + update)
    with torch.no_grad():  # sigmoid(-a) = 1 - sigmoid(a)
        highway.gates.weight.copy_(torch.cat([-coupled.gate.weight, coupled.gate.weight]))
        highway.gates.bias.copy_(torch.cat([-coupled.gate.bias, coupled.gate.bias]))
    torch.testing.assert_close(highway(skip, update), coupled(skip, update))


def test_a_gated_unit_is_a_step_of_torchs_gru_but_for_where_its_reset_gate_stands():
    """torch resets after the matrix product; with a reset that is open the two are the same."""
    torch.manual_seed(0)
    gate, cell, (skip, update) = GatedUnit(CHANNELS), torch.nn.GRUCell(CHANNELS, CHANNELS), pair(shape=(4, CHANNELS))
    with torch.no_grad():
        for own in (cell.bias_ih, cell.bias_hh):
            own.zero_()
        cell.weight_ih[:CHANNELS], cell.weight_hh[:CHANNELS] = 0.0, 0.0
        cell.bias_ih[:CHANNELS] = 50.0
        gate.gates.weight[:CHANNELS], gate.gates.bias[:CHANNELS] = 0.0, 50.0
        # torch's z is the share that is kept.
        ih, hh = cell.weight_ih.chunk(3), cell.weight_hh.chunk(3)
        gate.gates.weight[CHANNELS:], gate.gates.bias[CHANNELS:] = -torch.cat([hh[1], ih[1]], 1), 0.0
        gate.from_update.weight.copy_(ih[2])
        gate.from_skip.weight.copy_(hh[2])
    torch.testing.assert_close(gate(skip, update), cell(update, skip))


def test_the_bilinear_gate_starts_as_the_sum_and_can_be_a_quadratic_tendency():
    """Lorenz-96: (x[j+1] - x[j-2]) x[j-1] - x[j] + F, from an update that is linear in the state."""
    gate, (skip, update) = Bilinear(CHANNELS), pair()
    assert torch.equal(gate(skip, update), skip + update)
    state = torch.randn(7, CHANNELS, dtype=torch.float64)
    gate = gate.double()
    difference = state.roll(-1, -1) - state.roll(2, -1)
    with torch.no_grad():  # W [skip; update] picks x[j-1]
        gate.map.weight[:, :CHANNELS] = torch.eye(CHANNELS).roll(-1, 1)
        gate.map.bias.zero_()
    tendency = gate(state, difference) - state
    torch.testing.assert_close(tendency, difference * state.roll(1, -1))


@pytest.mark.parametrize("kind", [Highway, GatedUnit, Bilinear])
def test_a_context_of_its_own_inputs_changes_nothing(kind):
    gate, (skip, update) = kind(CHANNELS), pair()
    assert torch.equal(gate(skip, update, torch.cat([skip, update], -1)), gate(skip, update))


def test_an_unknown_gate_is_answered_with_the_nearest_name():
    with pytest.raises(RequestError, match="did you mean coupled"):
        make_gate("couple", CHANNELS)
