"""Parts of neural fields: features, channel gated units, graph attention."""

import numpy as np
import pytest
import torch
from torch.nn.functional import elu, softplus

from stgate.errors import RequestError
from stgate.nn.field.cglu import ChannelGatedUnit, MixedActivation, UnitLinear
from stgate.nn.field.factored import Factored
from stgate.nn.field.fourier import FieldFeatures
from stgate.nn.field.graph_attention import GraphAttention
from stgate.nn.field.network import TemporalEmbedding
from stgate.nn.gates import GATES


def test_features_are_those_of_the_notes():
    features = FieldFeatures(1, 1, [2, 0, 1], [(12.0, 2), (6.0, 1), (4.0, 2)], [(0, 1)], more=(0, 1, 2))
    with torch.no_grad():
        features.log_units.copy_(torch.tensor([0.3, -0.2, 0.1]))
        features.scales.copy_(torch.tensor([0.1, 0.5, -0.4, 1.0, 0.0, 0.7, -0.3]))
    time = torch.tensor([0.0, 5.0, 17.0], dtype=torch.float64)
    which, place = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 1, 1])
    x = torch.tensor([[0.0], [0.2], [0.7]]), torch.tensor([[0.4], [-1.0]]), torch.randn(4, 1)
    of_place, of_row = torch.tensor([[1.0], [2.0]]), torch.randn(4, 2)
    made = features(time, x, which, place, (None, of_place, of_row)).rows()
    joined = np.column_stack([x[0].numpy()[which], x[1].numpy()[place], x[2].numpy()])
    t, xs = time.numpy()[which], joined / np.exp([0.3, -0.2, 0.1])
    # 2/12 and 1/6 are one frequency: the first counts, with its harmonic; 2/4 is the fastest there is.
    frequencies, harmonics = np.array([1 / 12, 2 / 12, 1 / 4, 2 / 4]), np.array([1, 2, 1, 2])
    angles = 2 * np.pi * t[:, None] * frequencies
    octaves = 2 * np.pi * xs[:, :1] * 2.0 ** np.arange(2)
    groups = [  # by what they belong to: time, place, row
        (0, xs[:, :1]),
        (1, np.hstack([np.cos(octaves), np.sin(octaves)]) / np.array([1, 2, 1, 2])),
        (3, np.hstack([np.cos(angles) / harmonics, np.sin(angles) / harmonics])),
        (0, xs[:, 1:2]),
        (5, of_place.numpy()[place]),
        (0, xs[:, 2:]),
        (2, np.hstack([np.cos(2 * np.pi * xs[:, 2:]), np.sin(2 * np.pi * xs[:, 2:])])),
        (4, xs[:, :1] * xs[:, 1:2]),
        (6, of_row.numpy()),
    ]
    scales = np.log1p(np.exp(features.scales.detach().numpy()))
    expected = np.hstack([scales[i] * group for i, group in groups])
    assert features.size == expected.shape[1]
    np.testing.assert_allclose(made.detach(), expected, rtol=1e-5, atol=1e-6)


def test_a_linear_map_of_shared_parts_is_that_of_the_rows():
    torch.manual_seed(0)
    which, place = torch.randint(3, (40,)), torch.randint(60, (40,))  # fewer times than rows, more places
    h = Factored([torch.randn(3, 2), torch.randn(60, 4), torch.randn(40, 1)], [which, place, None])
    layer = UnitLinear(7, 5)
    torch.testing.assert_close(layer(h), layer(h.rows()))
    unit = ChannelGatedUnit(7, 7, "layer", gate=True, residual="coupled")
    torch.testing.assert_close(unit(h), unit(h.rows()))


def test_a_path_is_straight_between_its_knots_and_zero_beyond_them():
    path = TemporalEmbedding(4, 2).eval()
    with torch.no_grad():
        path.values.copy_(torch.tensor([[0.0, 1.0], [3.0, 1.0], [6.0, 1.0], [0.0, 2.0]]))
    elapsed = torch.tensor([[0.0], [1 / 6], [2 / 3], [5 / 6], [1.0], [1.01], [-0.01]])
    expected = torch.tensor([[0.0, 1.0], [1.5, 1.0], [6.0, 1.0], [3.0, 1.5], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(path(elapsed), expected, atol=1e-5, rtol=0)
    single = TemporalEmbedding(1, 1).eval()
    with torch.no_grad():
        single.values.fill_(2.0)
    torch.testing.assert_close(single(elapsed)[:5], torch.full((5, 1), 2.0))
    torch.manual_seed(0)
    left_out = (path.train()(torch.full((4000, 1), 0.5)) == 0).all(1).float().mean()
    assert abs(float(left_out) - TemporalEmbedding.LEFT_OUT) < 0.03


def test_a_season_keeps_its_phase_over_millions_of_steps():
    features = FieldFeatures(0, 0, [0], [(24.0, 1)])
    day = torch.arange(24, dtype=torch.float64)
    x, own = (torch.zeros(24, 1), torch.zeros(1, 0), torch.zeros(24, 0)), torch.arange(24)
    early, late = (features(start + day, x, own, 0 * own).rows() for start in (0.0, 24.0 * 1_000_000))
    torch.testing.assert_close(early, late)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seasons": [(4.0, 3)]}, "a period of 4 steps cannot have 3 harmonics; give 1 to 2"),
        ({"seasons": [(0.0, 1)]}, "a period of 0 steps"),
        ({"degrees": [1]}, "degrees"),
        ({"interactions": [(0, 5)]}, "interactions"),
    ],
)
def test_features_out_of_range_are_refused(options, said):
    with pytest.raises(RequestError, match=said):
        FieldFeatures(**({"places": 1, "others": 0, "degrees": [1, 1]} | options))


def test_the_activation_goes_from_tanh_to_elu():
    z = torch.linspace(-3, 3, 50)
    for logit, expected in ((-30.0, torch.tanh(z)), (30.0, elu(z)), (0.0, (torch.tanh(z) + elu(z)) / 2)):
        mixed = MixedActivation()
        with torch.no_grad():
            mixed.logit.fill_(logit)
        torch.testing.assert_close(mixed(z), expected)
    torch.testing.assert_close(MixedActivation(0)(z), (torch.tanh(z) + elu(z)) / 2)
    assert not list(MixedActivation(0).parameters())


@pytest.mark.parametrize("channels", [1, 5])
def test_the_activation_has_its_gradients_alone_and_of_many_members_at_once(channels):
    torch.manual_seed(0)
    mixed, z = MixedActivation(channels).double(), torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        mixed.logit.normal_()

    def plain(z, logit):
        share = torch.sigmoid(logit)
        return share * elu(z) + (1 - share) * torch.tanh(z)

    def through(z, logit):
        return torch.func.functional_call(mixed, {"logit": logit}, (z,))

    assert torch.autograd.gradcheck(through, (z, mixed.logit))
    many, logits = torch.randn(3, 2, 7, 5, dtype=torch.float64), torch.randn(3, channels, dtype=torch.float64)
    for inputs, dims in (((many, logits), (0, 0)), ((many[0], logits), (None, 0)), ((many, logits[0]), (0, None))):
        found = [
            torch.func.vmap(torch.func.grad(lambda *a, f=f: f(*a).square().sum(), argnums=(0, 1)), dims)(*inputs)
            for f in (through, plain)
        ]
        torch.testing.assert_close(*found)


def test_a_unit_without_gate_and_residual_is_a_layer_of_a_bayesian_neural_field():
    unit, shared, h = (
        ChannelGatedUnit(6, 4, "shared", gate=False, residual="none"),
        MixedActivation(),
        torch.randn(9, 6),
    )
    with torch.no_grad():
        unit.update.scale.fill_(0.7)
        unit.update.bias.normal_()
    w, b = unit.update.weight, unit.update.bias
    torch.testing.assert_close(unit(h, shared), shared(softplus(torch.tensor(0.7)) * ((h / 6**0.5) @ w.T + b)))
    assert {name for name, _ in unit.named_parameters()} == {"update.weight", "update.bias", "update.scale"}


def test_an_open_gate_is_no_gate_and_a_closed_one_lets_nothing_pass():
    torch.manual_seed(0)
    unit, h = ChannelGatedUnit(6, 4, "layer", gate=True, residual="none"), torch.randn(9, 6)
    bare = unit.activation(unit.update(h))
    for bias, expected in ((30.0, bare), (-200.0, torch.zeros(9, 4))):
        with torch.no_grad():
            unit.gate.weight.zero_()
            unit.gate.bias.fill_(bias)
        torch.testing.assert_close(unit(h), expected)


@pytest.mark.parametrize("activation", ["shared", "layer", "channel", "fixed"])
@pytest.mark.parametrize("residual", list(GATES))
def test_gradients_reach_every_weight_of_every_unit(residual, activation):
    torch.manual_seed(0)
    units = [ChannelGatedUnit(n, 8, activation, gate=True, residual=residual) for n in (6, 8)]
    shared = MixedActivation()
    h = torch.randn(64, 6)
    for unit in units:
        h = unit(h, shared)
    (h.square().sum() + h.sum()).backward()
    for unit in units:
        for name, weight in unit.named_parameters():
            if residual == "learned_rate" and not name.startswith(("skip", "residual")):
                continue  # the rate starts at zero
            assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_weights_start_of_order_one_so_that_any_width_gives_out_numbers_of_order_one():
    torch.manual_seed(0)
    for inputs in (10, 1000):
        layer = UnitLinear(inputs, 50, scaled=False)
        assert float(layer.weight.detach().abs().max()) <= 2
        assert 0.6 < float(layer(torch.randn(200, inputs)).detach().std()) < 1.1


def test_graph_attention_is_that_of_pytorch_geometric():
    conv = pytest.importorskip("torch_geometric.nn").GATv2Conv((5, 5), 3, heads=2, edge_dim=4, add_self_loops=False)
    ours = GraphAttention(5, 6, 4, heads=2)
    with torch.no_grad():
        ours.source.weight.copy_(conv.lin_l.weight)
        ours.source.bias.copy_(conv.lin_l.bias)
        ours.target.weight.copy_(conv.lin_r.weight)
        ours.target.bias.copy_(conv.lin_r.bias)
        ours.edge.weight.copy_(conv.lin_edge.weight)
        ours.attention.copy_(conv.att[0])
    stations, places, near = (
        torch.randn(7, 5),
        torch.randn(4, 5),
        torch.tensor([[0, 1, 2], [3, 4, 5], [6, 0, 3], [1, 5, 6]]),
    )
    edges = torch.randn(4, 3, 4)
    index = torch.stack([near.flatten(), torch.arange(4).repeat_interleave(3)])
    expected = conv((stations, places), index, edges.flatten(0, 1))
    torch.testing.assert_close(ours(places, stations[near], edges), expected)


def test_attention_looks_past_what_is_not_there():
    torch.manual_seed(0)
    layer = GraphAttention(3, 4, 2, heads=2)
    x, near, edges = torch.randn(2, 3), torch.randn(2, 5, 3), torch.randn(2, 5, 2)
    there = torch.tensor([[True, True, False, False, False], [False] * 5])
    made = layer(x, near, edges, there)
    torch.testing.assert_close(made[0], layer(x[:1], near[:1, :2], edges[:1, :2])[0])
    torch.testing.assert_close(made[1], layer.bias)
