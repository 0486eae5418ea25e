"""Members: one pass over several sets of weights is what a loop over networks would do."""

import warnings

import pytest
import torch
from torch import nn

from stgate.errors import InferenceWarning, RequestError
from stgate.inference.batch_loss import BatchLoss
from stgate.inference.members import Members


def perceptron(size=6):
    return nn.Sequential(nn.Linear(3, size), nn.GELU(), nn.LayerNorm(size), nn.Linear(size, 2))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrence, self.head = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x):
        return self.head(self.recurrence(x)[0][:, -1])


class Tied(nn.Module):
    """Two layers with one weight, and a frozen one."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.frozen = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(3, 4)
        self.second.weight = self.first.weight
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.second(torch.tanh(self.first(self.frozen(x))))


def alone(build, count, seed=0):
    """The networks that Members makes, one by one."""
    torch.manual_seed(seed)
    return [build() for _ in range(count)]


def together(build, count, seed=0, **options):
    torch.manual_seed(seed)
    return Members(build, count, **options)


@pytest.mark.parametrize("vectorized", [True, False])
@pytest.mark.parametrize("build", [perceptron, Tied])
def test_members_are_the_networks_that_would_have_been_made_one_by_one(build, vectorized):
    networks, members = alone(build, 4), together(build, 4, vectorized=vectorized)
    if build is Tied:  # what is frozen is shared
        for network in networks:
            network.frozen.load_state_dict(networks[0].frozen.state_dict())
    x = torch.randn(7, 3)
    torch.testing.assert_close(members(x), torch.stack([n(x) for n in networks]), atol=1e-6, rtol=1e-6)


def test_a_training_step_of_all_members_is_the_step_of_each_to_a_millionth():
    def step(parameters, network, x, y):
        optimizer = torch.optim.Adam(parameters, 0.01)
        for _ in range(5):
            optimizer.zero_grad()
            (network(x) - y).square().flatten(-2).mean(-1).sum().backward()
            optimizer.step()

    x, y = torch.randn(20, 3), torch.randn(20, 2)
    networks, members = alone(perceptron, 3), together(perceptron, 3)
    looped = together(perceptron, 3, vectorized=False)
    for network in networks:
        step(network.parameters(), network, x, y)
    for stack in (members, looped):
        step(stack.parameters(), stack, x, y)
        torch.testing.assert_close(stack(x), torch.stack([n(x) for n in networks]), atol=1e-6, rtol=1e-6)


def test_weights_have_their_own_names_and_a_frozen_one_is_kept_once():
    members = together(Tied, 3)
    shapes = {name: tuple(weight.shape) for name, weight in members.state_dict().items()}
    assert shapes["network.first.weight"] == shapes["network.second.weight"] == (3, 4, 4)
    assert shapes["network.frozen.weight"] == (4, 3)
    assert members.network.first.weight is members.network.second.weight
    assert sum(weight.requires_grad for weight in members.parameters()) == 3


def test_running_statistics_are_each_members_own():
    def build():
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

    networks, x = alone(build, 3), torch.randn(9, 3)
    expected = [network(x) for network in networks]
    for vectorized in (True, False):
        members = together(build, 3, vectorized=vectorized)
        torch.testing.assert_close(members(x), torch.stack(expected), atol=1e-5, rtol=1e-5)
        means = torch.stack([network[1].running_mean for network in networks])
        torch.testing.assert_close(members.network[1].running_mean, means)


def test_a_layer_that_cannot_be_vectorised_runs_in_a_loop_and_says_so_once():
    networks, members, x = alone(Recurrent, 3), together(Recurrent, 3), torch.randn(4, 6, 3)
    with pytest.warns(InferenceWarning, match=r"one after another, Recurrent cannot be vectorised: .*aten::gru"):
        made = members(x)
    torch.testing.assert_close(made, torch.stack([n(x) for n in networks]), atol=1e-6, rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        members(x).sum().backward()
    assert all((weight.grad.flatten(1).abs().sum(1) > 0).all() for weight in members.parameters())


def test_a_fallback_that_torch_only_warns_of_is_a_loop_as_well():
    def build():
        return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    networks, members, x = alone(build, 3), together(build, 3), torch.randn(4, 6, 8)
    with pytest.warns(InferenceWarning, match="cannot be vectorised: .*batching rule"):
        made = members(x)
    torch.testing.assert_close(made, torch.stack([n(x) for n in networks]), atol=1e-5, rtol=1e-5)


def test_what_would_leave_the_cache_runs_in_a_loop_without_a_word(monkeypatch):
    from stgate.inference import members as module

    calls = []
    monkeypatch.setattr(module, "vmap", lambda f, **o: calls.append(1) or torch.func.vmap(f, **o))
    members, small, large = together(perceptron, 2), torch.randn(10, 3), torch.randn(20_000, 3)
    members(large), members(large)
    assert not calls
    members.eval()(small)
    assert len(calls) == 2  # the trial, and the pass


def test_finding_out_whether_it_pays_leaves_no_trace():
    def build():
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))

    x = torch.randn(9, 3)
    first, second = together(build, 2), together(build, 2)
    second._together[True] = True
    torch.manual_seed(1)
    one = first(x)
    torch.manual_seed(1)
    torch.testing.assert_close(one, second(x), atol=0, rtol=0)
    assert int(first.network[1].num_batches_tracked[0]) == 1


def test_an_error_of_the_networks_own_is_not_taken_for_a_missing_rule():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        together(perceptron, 2)(torch.randn(4, 5))


def loss_of(members, x):
    """The mean over members of a batch's loss, added up by turns."""
    if not members.decided:
        with members.probing():
            members(x)
    total = BatchLoss(members)
    for turn in total.turns():
        with turn:
            squares = members(x).square()
            total.add(squares.sum(), torch.tensor(squares.numel()))
    return total.mean()


@pytest.mark.parametrize("build", [perceptron, Tied, lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))])
def test_members_that_take_turns_have_the_gradients_and_the_loss_of_all_at_once(build):
    """Each one's gradient is taken before the next begins, so that no graph but one is ever kept."""
    x = torch.randn(9, 3)
    turns, once = together(build, 3, vectorized=False), together(build, 3)
    loss = loss_of(turns, x)
    (2 * loss).backward()
    expected = once(x).square().mean()
    (2 * expected).backward()
    torch.testing.assert_close(loss, expected)
    for name, weight in turns.named_parameters():
        torch.testing.assert_close(weight.grad, once.get_parameter(name).grad, atol=1e-6, rtol=1e-5)
    for name, held in turns.named_buffers():
        torch.testing.assert_close(held, once.get_buffer(name))
    assert turns(x).shape[0] == 3


def test_dropout_differs_between_members():
    members = together(lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), 2)
    members.network[0].weight.data[:], members.network[0].bias.data[:] = 0.0, 1.0
    first, second = members(torch.zeros(50, 3))
    assert not torch.equal(first, second)


def test_gradients_are_clipped_for_each_member_as_if_it_were_alone():
    """One norm over all, the usual way, would let the wildest member stop the others."""
    x, y = torch.randn(20, 3), torch.randn(20, 2)
    scale = torch.tensor([0.01, 1.0, 1000.0])
    networks, members = alone(perceptron, 3), together(perceptron, 3)
    ((members(x) - y).square().flatten(1).mean(1) * scale).sum().backward()
    members.clip_gradients(0.5)
    for member, network in enumerate(networks):
        ((network(x) - y).square().mean() * scale[member]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        for own, stack in zip(network.parameters(), members.parameters(), strict=True):
            torch.testing.assert_close(stack.grad[member], own.grad, atol=1e-6, rtol=1e-5)


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(RequestError, match="members 0: must be at least 1"):
        Members(perceptron, 0)
