"""Recurrent and transformer stacks: exact reductions, and that a step at a time is the sequence."""

import pytest
import torch
from torch import nn

from stgate.errors import RequestError
from stgate.nn.gated.recurrent import CELLS, RecurrentStack, detached
from stgate.nn.gated.transformer import TransformerStack
from stgate.nn.gates import GATES

ROWS, TIME, CHANNELS = 3, 11, 8
STACKS = {
    **{f"{cell}": lambda cell=cell: RecurrentStack(CHANNELS, 2, cell=cell) for cell in CELLS if cell != "none"},
    **{
        f"{cell} attention": lambda cell=cell: RecurrentStack(CHANNELS, 2, cell=cell, heads=2, span=4) for cell in CELLS
    },
    "gated heads": lambda: RecurrentStack(CHANNELS, 1, heads=2, span=4, gated_heads=True),
    "free carry": lambda: RecurrentStack(CHANNELS, 1, cell="rhn", depth=3, free_carry=True),
    **{
        f"transformer {norm} {recurrent}": lambda norm=norm, recurrent=recurrent: TransformerStack(
            CHANNELS, 2, heads=2, span=4, norm=norm, recurrent=recurrent
        )
        for norm in ("pre", "post")
        for recurrent in (False, True)
    },
}


def make(name, seed=0):
    torch.manual_seed(seed)
    return STACKS[name]().double()


def sequence(seed=1):
    return torch.randn(ROWS, TIME, CHANNELS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", STACKS)
def test_a_step_at_a_time_is_the_whole_sequence(name):
    stack, x = make(name), sequence()
    whole, _ = stack(x)
    memory = None
    for step in range(TIME):
        made, memory = stack(x[:, step : step + 1], memory)
        torch.testing.assert_close(made[:, 0], whole[:, step])
    _, memory = stack(x[:, :6])
    torch.testing.assert_close(stack(x[:, 6:], detached(memory))[0], whole[:, 6:])


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("before", [0, 1, 6, 9])
def test_the_last_step_alone_is_that_of_the_sequence_and_so_is_the_memory(name, before):
    stack, x = make(name), sequence()
    memory = stack(x[:, :before])[1] if before else None
    (last, short), (whole, after) = stack(x[:, before:], memory, last=True), stack(x[:, before:], memory)
    torch.testing.assert_close(last, whole[:, -1:])
    torch.testing.assert_close(short, after)


@pytest.mark.parametrize("name", STACKS)
def test_the_last_step_reaches_as_far_back_as_the_stack_says(name):
    stack, x = make(name), sequence().requires_grad_()
    (seen,) = torch.autograd.grad(stack(x, last=True)[0].square().sum(), x)
    assert (seen.abs().sum((0, 2)) > 0).sum() == (TIME if stack.reach is None else stack.reach)


@pytest.mark.parametrize("name", STACKS)
def test_nothing_is_seen_of_what_comes_later(name):
    stack, x = make(name), sequence().requires_grad_()
    (seen,) = torch.autograd.grad(stack(x)[0][:, 5].square().sum(), x)
    assert seen[:, 5].abs().sum() > 0 and (seen[:, 6:] == 0).all()


@pytest.mark.parametrize("name", STACKS)
def test_every_parameter_gets_a_gradient(name):
    stack = make(name)
    out = stack(sequence())[0]
    (out * torch.randn_like(out)).sum().backward()
    without = [n for n, p in stack.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize(("cell", "kind"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_without_gates_a_stack_is_the_plain_layers_of_torch(cell, kind):
    torch.manual_seed(0)
    stack, plain = RecurrentStack(CHANNELS, 2, cell=cell, gate="none"), kind(CHANNELS, CHANNELS, 2, batch_first=True)
    for number, layer in enumerate(stack.layers):
        for name, weight in layer["cell"].named_parameters():
            getattr(plain, name.replace("_l0", f"_l{number}")).data.copy_(weight.data)
    x = sequence().float()
    torch.testing.assert_close(stack(x)[0], plain(x)[0])


def test_a_learned_rate_at_its_start_passes_the_input_on():
    stack = RecurrentStack(CHANNELS, 2, cell="rhn", gate="learned_rate", heads=2).double()
    torch.testing.assert_close(stack(sequence())[0], sequence())
    stack = TransformerStack(CHANNELS, 2, gate="learned_rate").double()
    torch.testing.assert_close(stack(sequence())[0], stack.final(sequence()))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("kind", [RecurrentStack, TransformerStack])
def test_every_gate_fits_everywhere(kind, gate):
    out, _ = kind(CHANNELS, 2, gate=gate)(sequence().float())
    assert out.shape == (ROWS, TIME, CHANNELS) and torch.isfinite(out).all()


def test_only_recurrence_lets_a_transformer_remember_beyond_its_spans():
    x = sequence().requires_grad_()
    for recurrent in (False, True):
        torch.manual_seed(0)
        stack = TransformerStack(CHANNELS, 1, heads=2, span=3, recurrent=recurrent).double()
        (seen,) = torch.autograd.grad(stack(x)[0][:, -1].square().sum(), x)
        assert bool(seen[:, 0].abs().sum() > 0) == recurrent


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda: RecurrentStack(8, cell="lstn"), "cell 'lstn': did you mean lstm"),
        (lambda: TransformerStack(8, norm="per"), "norm 'per'"),
        (lambda: RecurrentStack(8, heads=3), "heads 3"),
    ],
)
def test_an_option_out_of_range_is_refused(make_it, said):
    with pytest.raises(RequestError, match=said):
        make_it()
