"""Causal attention: what a step may see, what a distance adds, and that a step at a time is the sequence."""

import math

import pytest
import torch

from stgate.errors import RequestError
from stgate.nn.attention import CausalAttention, steps_needed

BATCH, TIME, CHANNELS, HEADS, SPAN = 2, 9, 8, 2, 4
GATED = pytest.mark.parametrize("gated", [False, True])


def make(span=SPAN, gated=False, seed=0):
    torch.manual_seed(seed)
    attention = CausalAttention(CHANNELS, HEADS, span, gated=gated).double()
    torch.nn.init.normal_(attention.bias)
    return attention


def sequence(seed=1, time=TIME):
    return torch.randn(BATCH, time, CHANNELS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_all_pairs(attention, x):
    """The attention of every step to every step, those out of its span masked."""
    q, k, v = (p.unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in attention.project(x).chunk(3, -1))
    steps = torch.arange(x.shape[1])
    distance = steps[:, None] - steps
    inside = (distance >= 0) & (distance < attention.span)
    bias = torch.where(inside, attention.bias[:, distance.clamp(0, attention.span - 1)], -torch.inf)
    made = torch.nn.functional.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2)
    return attention.mix(made if attention.gate is None else made * torch.sigmoid(attention.gate(x)))


@GATED
def test_a_step_sees_itself_and_the_span_before_and_nothing_else(gated):
    attention, x = make(gated=gated), sequence().requires_grad_()
    for step in range(TIME):
        (seen,) = torch.autograd.grad(attention(x)[0][:, step].square().sum(), x)
        reached = [t for t in range(TIME) if seen[:, t].abs().sum() > 0]
        assert reached == list(range(max(step - SPAN + 1, 0), step + 1))


@GATED
def test_it_is_the_published_sum_one_step_and_head_at_a_time(gated):
    attention, x = make(gated=gated), sequence()
    step, size = 6, CHANNELS // HEADS
    q, k, v = attention.project(x[0]).chunk(3, -1)
    parts = []
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        scores = [q[step, own] @ k[step - d, own] / math.sqrt(size) + attention.bias[head, d] for d in range(SPAN)]
        weights = torch.softmax(torch.stack(scores), 0)
        parts.append(sum(weights[d] * v[step - d, own] for d in range(SPAN)))
    made = torch.cat(parts)
    if gated:
        made = made * torch.sigmoid(attention.gate(x[0, step]))
    torch.testing.assert_close(attention(x)[0][0, step], attention.mix(made))


@GATED
def test_a_step_at_a_time_with_what_was_before_is_the_whole_sequence(gated):
    attention, x = make(gated=gated), sequence()
    whole, _ = attention(x)
    past = None
    for step in range(TIME):
        made, past = attention(x[:, step : step + 1], past)
        torch.testing.assert_close(made[:, 0], whole[:, step])
        assert past[0].shape[2] <= SPAN - 1  # no more than the next step may see
    _, past = attention(x[:, :5])
    torch.testing.assert_close(attention(x[:, 5:], past)[0], whole[:, 5:])


@GATED
@pytest.mark.parametrize("span", [1, 2, 4, 5, 16, 40])
@pytest.mark.parametrize("time", [1, 3, 8, 9, 33, 168])
def test_blocks_of_a_long_sequence_are_the_attention_of_all_pairs(gated, span, time):
    attention, x = make(span, gated), sequence(time=time).requires_grad_()
    made, whole = attention(x)[0], of_all_pairs(attention, x)
    torch.testing.assert_close(made, whole)
    weights = [*attention.parameters(), x]
    ours, theirs = (torch.autograd.grad(one.square().sum(), weights) for one in (made, whole))
    torch.testing.assert_close(ours, theirs)


@GATED
@pytest.mark.parametrize("before", [0, 2, 5, 20])
@pytest.mark.parametrize("needed", [1, 2, 4, 15, 30, 99])
def test_the_last_outputs_alone_are_those_of_all_and_leave_the_same_past(gated, before, needed):
    attention, x = make(gated=gated), sequence(time=30)
    past = attention(sequence(2, before))[1] if before else None
    (made, left), (whole, after) = attention(x, past, needed), attention(x, past)
    torch.testing.assert_close(made, whole[:, -needed:])
    torch.testing.assert_close(left, after)


def test_what_a_backward_pass_keeps_grows_as_the_sequence():
    def kept(time):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            make()(sequence(time=time).requires_grad_())
        return sum(sizes)

    assert kept(320) < 2.1 * kept(160)


@pytest.mark.parametrize(("after", "span", "steps"), [(0, 16, 1), (1, 16, 16), (2, 16, 31), (3, 1, 1), (3, 4, 10)])
def test_as_many_steps_are_needed_as_layers_of_attention_reach_back(after, span, steps):
    assert steps_needed(after, span) == steps


def test_a_span_of_one_is_a_linear_map_of_the_step():
    attention, x = make(span=1), sequence()
    torch.testing.assert_close(attention(x)[0], attention.mix(attention.project(x).chunk(3, -1)[2]))


def test_what_comes_later_by_any_shift_is_treated_alike():
    attention, x = make(), sequence()
    torch.testing.assert_close(attention(x[:, 2:])[0][:, SPAN - 1 :], attention(x)[0][:, 2 + SPAN - 1 :])


@GATED
def test_every_parameter_gets_a_gradient(gated):
    attention = make(gated=gated)
    attention(sequence())[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in attention.parameters())


@pytest.mark.parametrize(("options", "said"), [({"heads": 3}, "heads 3"), ({"span": 0}, "span 0")])
def test_an_option_out_of_range_is_refused(options, said):
    with pytest.raises(RequestError, match=said):
        CausalAttention(CHANNELS, **options)
