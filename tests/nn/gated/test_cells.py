"""The recurrent highway: its equations, its limits, its gradients."""

import pytest
import torch

from stgate.errors import RequestError
from stgate.nn.gated.cells import RecurrentHighway

BATCH, TIME, INPUTS, HIDDEN = 3, 7, 4, 5
KINDS = pytest.mark.parametrize(("depth", "free"), [(1, False), (1, True), (3, False), (3, True)])


def make(depth=2, free=False, seed=0):
    torch.manual_seed(seed)
    return RecurrentHighway(INPUTS, HIDDEN, depth, free=free).double()


def sequence(seed=1):
    return torch.randn(BATCH, TIME, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@KINDS
def test_a_step_is_the_published_equations_one_number_at_a_time(depth, free):
    cell, x = make(depth, free), sequence()
    states, last = cell(x)
    w = cell.from_input.weight.view(cell.parts, HIDDEN, INPUTS)
    s = torch.zeros(HIDDEN, dtype=torch.float64)
    for t in range(TIME):
        for number, layer in enumerate(cell.from_state):
            r, b = layer.weight.view(cell.parts, HIDDEN, HIDDEN), layer.bias.view(cell.parts, HIDDEN)
            raw = [r[k] @ s + b[k] + (w[k] @ x[0, t] if number == 0 else 0.0) for k in range(cell.parts)]
            h, gate = torch.tanh(raw[0]), torch.sigmoid(raw[1])
            carry = torch.sigmoid(raw[2]) if free else 1 - gate
            s = h * gate + s * carry
        torch.testing.assert_close(states[0, t], s)
    torch.testing.assert_close(last, states[:, -1])


@KINDS
def test_every_parameter_gets_a_gradient(depth, free):
    cell = make(depth, free)
    cell(sequence())[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in cell.parameters())


@KINDS
def test_a_sequence_can_be_cut_and_gone_on_with(depth, free):
    cell, x = make(depth, free), sequence()
    whole, _ = cell(x)
    first, state = cell(x[:, :3])
    second, _ = cell(x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_it_begins_by_carrying_its_state():
    cell = make(depth=3)
    state = torch.randn(BATCH, HIDDEN, dtype=torch.float64)
    after, _ = cell(0.0 * sequence()[:, :1], state)
    assert (after[:, 0] - state).abs().mean() < 0.5 * state.abs().mean()


def test_a_closed_transform_carries_exactly():
    cell = make(depth=2)
    for layer in cell.from_state:
        layer.weight.data.zero_()
        layer.bias.data[HIDDEN:] = -1000.0
    cell.from_input.weight.data.zero_()
    state = torch.randn(BATCH, HIDDEN, dtype=torch.float64)
    assert torch.equal(cell(sequence(), state)[1], state)


def test_a_state_of_a_coupled_carry_stays_within_one():
    cell = make(depth=4, seed=3)
    for parameter in cell.parameters():
        parameter.data *= 20
    assert (cell(100 * sequence())[0].abs() <= 1).all()


def test_no_layer_at_all_is_refused():
    with pytest.raises(RequestError, match="depth 0"):
        RecurrentHighway(2, 2, 0)
