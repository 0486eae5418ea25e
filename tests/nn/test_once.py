"""What is computed once from weights that do not change."""

import torch
from torch import nn

from stgate.nn.once import fixed_weights, once


def counted(layer, calls):
    def compute():
        calls.append(1)
        return layer.weight.sum()

    return once(layer, compute)


def test_a_tensor_is_computed_once_in_a_block_and_each_time_outside_of_it():
    layer, calls = nn.Linear(3, 2), []
    made = [counted(layer, calls) for _ in range(2)]
    assert len(calls) == 2 and not made[0].requires_grad
    for _ in range(2):
        with fixed_weights():
            assert [counted(layer, calls) for _ in range(3)] == [made[0]] * 3
    assert len(calls) == 4


def test_a_block_within_another_keeps_what_that_one_keeps():
    layer, calls = nn.Linear(3, 2), []
    with fixed_weights():
        for _ in range(3):
            with fixed_weights():
                counted(layer, calls)
    assert len(calls) == 1
    counted(layer, calls)
    assert len(calls) == 2


def test_other_weights_modes_and_layers_have_their_own():
    layer, other, calls = nn.Linear(3, 2), nn.Linear(3, 2), []
    with fixed_weights():
        one = counted(layer, calls)
        twice = {"weight": 2 * layer.weight}
        for _ in range(2):
            made = torch.func.functional_call(Counting(layer, calls), {f"layer.{n}": w for n, w in twice.items()}, ())
            torch.testing.assert_close(made, 2 * one)
        assert counted(other, calls) != one
        before = len(calls)
        layer.eval()
        assert counted(layer, calls) == one and len(calls) == before + 1
    layer.train()
    with torch.no_grad():
        layer.weight.mul_(3)
    with fixed_weights():
        torch.testing.assert_close(counted(layer, calls), 3 * one)


class Counting(nn.Module):
    def __init__(self, layer, calls):
        super().__init__()
        self.layer, self.calls = layer, calls

    def forward(self):
        return counted(self.layer, self.calls)


def test_members_that_share_a_pass_have_their_own():
    layer, weights = nn.Linear(3, 1), torch.randn(4, 1, 3)
    with fixed_weights():
        for scale in (1, 2):
            made = torch.vmap(lambda w: torch.func.functional_call(Counting(layer, []), {"layer.weight": w}, ()))(
                scale * weights
            )
            torch.testing.assert_close(made, scale * weights.sum((1, 2)))
