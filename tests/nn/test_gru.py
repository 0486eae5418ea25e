"""The gated recurrent unit of windows: torch's numbers and gradients, by another road."""

import pytest
import torch
from torch import nn

from stgate.nn.gated.gru import GRU, _Steps, rows_last


def pair(inputs, hidden, dtype=torch.float32):
    torch.manual_seed(0)
    ours, theirs = GRU(inputs, hidden).to(dtype), nn.GRU(inputs, hidden, batch_first=True).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("used", ["states", "last", "both"])
@pytest.mark.parametrize(("inputs", "hidden", "rows", "steps"), [(3, 5, 7, 6), (5, 2, 1, 2), (1, 1, 4, 3)])
def test_states_and_gradients_are_those_of_torch(inputs, hidden, rows, steps, used, state):
    results = []
    for cell in pair(inputs, hidden, torch.float64):
        torch.manual_seed(1)
        x = torch.randn(rows, steps, inputs, dtype=torch.float64, requires_grad=True)
        before = torch.randn(1, rows, hidden, dtype=torch.float64, requires_grad=True) if state else None
        states, last = cell(x, before)
        weights = [torch.randn(made.shape, dtype=torch.float64) for made in (states, last)]
        kinds = {"states": (0,), "last": (1,), "both": (0, 1)}[used]
        sum(((states, last)[k] * weights[k]).sum() for k in kinds).backward()
        grads = [x.grad, *([before.grad] if state else []), *(weight.grad for weight in cell.parameters())]
        results.append([states, last, *grads])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_differences():
    cell, entry = GRU(2, 3).double(), nn.Linear(5, 2).double()
    x, before = torch.randn(2, 4, 2).double().requires_grad_(), torch.randn(2, 3).double().requires_grad_()
    given = (x, before, *cell.parameters())
    assert torch.autograd.gradcheck(lambda *given: _Steps.apply(True, *given, None, None), given)
    features = torch.randn(2, 4, 5).double().requires_grad_()
    given = (features, before, *cell.parameters(), *entry.parameters())
    assert torch.autograd.gradcheck(lambda *given: _Steps.apply(True, *given), given)


def test_only_the_gradients_that_are_asked_for_are_computed():
    cell, x = GRU(2, 3), torch.randn(5, 4, 2)
    cell(x)[1].sum().backward()
    assert x.grad is None and all(weight.grad is not None for weight in cell.parameters())
    for weight in cell.parameters():
        weight.requires_grad_(False)
    cell(x.requires_grad_())[0].sum().backward()
    assert x.grad is not None
    assert not cell(x.detach())[0].requires_grad


def test_forecasts_without_gradients_have_the_bits_of_training():
    cell, x = GRU(4, 8), torch.randn(50, 24, 4)
    with torch.no_grad():
        quiet = cell(x)
    for one, other in zip(cell(x), quiet, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_gradients_that_fade_in_a_long_window_are_normal_numbers_or_zero():
    cell, x = GRU(4, 8), torch.randn(50, 400, 4, requires_grad=True)
    cell(x)[1].sum().backward()
    size = x.grad.abs()
    faint = (size > 0) & (size < torch.finfo(torch.float32).tiny)
    assert faint.float().mean() < 1e-3
    assert (size[:, :100] == 0).float().mean() > 0.5 and (size[:, -20:] > 0).all()


def test_a_window_in_two_parts_is_the_window():
    cell, x = GRU(3, 6), torch.randn(9, 10, 3)
    whole, _ = cell(x)
    early, state = cell(x[:, :9])
    late, last = cell(x[:, 9:], state)  # one step is torch's own
    torch.testing.assert_close(torch.cat([early, late], 1), whole)
    torch.testing.assert_close(last[0], whole[:, -1])


def test_it_is_torchs_in_other_hands():
    ours, theirs = pair(3, 4)
    x = torch.randn(6, 5, 3)
    for cell in (ours, theirs):  # no member of an ensemble is evaluated with others
        stacks = {name: torch.stack([weight, 2 * weight]) for name, weight in cell.named_parameters()}
        with pytest.raises(RuntimeError, match="Batching rule not implemented for aten::gru"):
            torch.func.vmap(lambda own, cell=cell: torch.func.functional_call(cell, own, (x,))[0])(stacks)
    torch.testing.assert_close(ours(x[0])[0], theirs(x[0])[0])  # without rows


class Drawn(nn.Linear):
    """A layer that draws its outputs."""

    def forward(self, input):
        return super().forward(input) + 1


def without_bias(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


ENTRIES = {"own": (nn.Linear, "none"), "drawn": (Drawn, "none"), "other": (nn.Linear, "tanh")}
ENTRIES |= {"without a bias": (without_bias, "none")}


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("features", [False, True])
def test_layers_before_the_unit_have_the_values_and_gradients_of_their_own(steps, kind, features):
    torch.manual_seed(0)
    layer, approximate = ENTRIES[kind]
    cell, entry, made = GRU(3, 4).double(), nn.Sequential(layer(7, 3), nn.GELU(approximate)).double(), []
    x = torch.randn(5, steps, 7, dtype=torch.float64, requires_grad=features)
    for together in (True, False):
        parts = cell.ends(x, None, entry) if together else cell.ends(entry(x))
        weights = [*cell.parameters(), *entry.parameters(), *([x] if features else [])]
        loss = sum((number + 1) * part.square().sum() for number, part in enumerate(parts))
        made.append([*parts, *torch.autograd.grad(loss, weights)])
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        for one, other in zip(cell.ends(x, None, entry), made[0], strict=False):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_autocast_leaves_the_unit_in_the_precision_of_its_weights():
    cell, entry, x = GRU(3, 4), nn.Sequential(nn.Linear(7, 3), nn.GELU()), torch.randn(5, 6, 7)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = cell.ends(x, None, entry)
        low = cell(x.bfloat16()[..., :3])[0]
    for one, other in zip(mixed, cell.ends(x, None, entry), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert low.dtype == torch.float32
    sum(part.sum() for part in mixed).backward()
    assert all(weight.grad is not None for weight in (*cell.parameters(), *entry.parameters()))


@pytest.mark.parametrize("steps", [1, 6])
def test_the_ends_of_a_sequence_have_the_values_and_gradients_of_slices(steps):
    cell, made = GRU(3, 4).double(), []
    for ends in (True, False):
        torch.manual_seed(0)
        x = torch.randn(5, steps, 3, dtype=torch.float64, requires_grad=True)
        if ends:
            entered, state, last = cell.ends(x)
        else:
            states, last = cell(x)
            entered, state = x[:, -1:], states[:, -1:]
        cell.zero_grad()
        (2 * entered.square().sum() + state.sum() + last.square().sum()).backward()
        made.append([entered, state, last, x.grad, *(weight.grad.clone() for weight in cell.parameters())])
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other)


def test_a_layer_that_draws_its_outputs_is_applied_as_it_is():
    plain, drawn, x = nn.Linear(3, 4), Drawn(3, 4), torch.randn(5, 6, 3)
    drawn.load_state_dict(plain.state_dict())
    torch.testing.assert_close(rows_last(plain, x), plain(x))
    torch.testing.assert_close(rows_last(drawn, x), plain(x) + 1)
