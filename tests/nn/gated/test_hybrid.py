"""The gated recurrent network: shapes, gradients and symmetries."""

import dataclasses

import pytest
import torch

from stgate.errors import RequestError
from stgate.nn.edges import EdgeList
from stgate.nn.features import StepFeatures
from stgate.nn.gated.network import HybridNetwork
from stgate.nn.gated.recurrent import RecurrentStack
from stgate.nn.gated.rollout import RollOut
from stgate.nn.gated.transformer import TransformerStack
from stgate.nn.gates import GATES
from stgate.nn.inputs import Inputs
from stgate.nn.patches import Patches
from stgate.schema.spec import PanelSpec

BATCH, WINDOW, HORIZON, NODES, OUTPUTS = 3, 5, 4, 6, 2
MODES = pytest.mark.parametrize("rollout", [False, True], ids=["direct", "roll-out"])


def make_spec(**options):
    options = {
        "targets": ("y", "z"),
        "nodes": tuple("abcdef"),
        "step": 3600.0,
        "time": "calendar",
        "window": WINDOW,
        "horizon": HORIZON,
        "future_covariates": ("u",),
        "static_covariates": ("lat",),
        "calendar": ("hour",),
    } | options
    return PanelSpec(**options)


def make_inputs(spec, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets, known = len(spec.targets), len(spec.future_covariates)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    mask = (torch.rand(BATCH, WINDOW, NODES, len(spec.channels), generator=generator) > 0.3).float()
    return Inputs(
        values=normal(BATCH, WINDOW, NODES, len(spec.channels)) * mask,
        mask=mask,
        since=normal(BATCH, WINDOW, NODES, targets).abs(),
        calendar=normal(BATCH, WINDOW, 2 * len(spec.calendar)),
        future=torch.cat([normal(BATCH, HORIZON, NODES, known), torch.ones(BATCH, HORIZON, NODES, known)], -1),
        future_calendar=normal(BATCH, HORIZON, 2 * len(spec.calendar)),
        static=normal(NODES, len(spec.static_covariates)),
    )


def make_network(spec, *, layers=1, gate="coupled", rollout=False, **options):
    torch.manual_seed(0)

    def core(channels):
        return RecurrentStack(channels, layers, gate=gate)

    step = RollOut(width=8) if rollout is True else rollout or None
    return HybridNetwork(spec, OUTPUTS, core, hidden=8, rollout=step, **options).eval()


def reordered(inputs, order):
    """The same inputs with the nodes in another order."""
    moved = {n: getattr(inputs, n)[:, :, order] for n in ("values", "mask", "since", "future")}
    return dataclasses.replace(inputs, **moved, static=inputs.static[order])


@MODES
@pytest.mark.parametrize(
    ("spec_options", "options"),
    [
        ({}, {}),
        ({}, {"layers": 2, "dropout": 0.2}),
        ({}, {"halo": 2}),
        ({}, {"gate": "additive"}),
        ({}, {"gate": "learned_rate"}),
        ({"targets": ("y",), "future_covariates": (), "static_covariates": (), "calendar": ()}, {}),
        ({"boundary": "periodic"}, {"halo": 1}),
    ],
    ids=["plain", "deep", "halo", "additive", "learned rate", "targets only", "ring"],
)
def test_the_output_is_batch_lead_node_target_parameter(rollout, spec_options, options):
    spec = make_spec(**spec_options)
    raw = make_network(spec, rollout=rollout, **options)(make_inputs(spec))
    assert raw.shape == (BATCH, HORIZON, NODES, len(spec.targets), OUTPUTS)
    assert torch.isfinite(raw).all()


def test_a_direct_forecast_takes_past_covariates():
    spec = make_spec(past_covariates=("v",))
    assert make_network(spec)(make_inputs(spec)).shape == (BATCH, HORIZON, NODES, 2, OUTPUTS)


@MODES
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("layers", [1, 2])
def test_every_parameter_gets_a_gradient(rollout, gate, layers):
    spec = make_spec()
    network = make_network(spec, rollout=rollout, gate=gate, layers=layers, halo=1)
    if gate == "learned_rate":  # at its start of zero the rate alone learns, by design
        for layer in network.core.layers:
            torch.nn.init.constant_(layer.gate.rate, 0.1)
    raw = network(make_inputs(spec))
    (raw * torch.randn_like(raw)).sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize(
    ("core", "reach"),
    [
        (lambda channels: TransformerStack(channels, 1, heads=2, span=3), 3),
        (lambda channels: TransformerStack(channels, 3, heads=2, span=2), 4),
        (lambda channels: TransformerStack(channels, 1, heads=2, span=2, recurrent=True), None),
        (lambda channels: RecurrentStack(channels, 2, cell="none", heads=2, span=2), 3),
        (lambda channels: RecurrentStack(channels, 1, heads=2, span=2), None),
    ],
)
@pytest.mark.parametrize("convolution", [None, "torch_geometric.nn.GraphConv"])
def test_the_steps_beyond_the_reach_are_left_out_and_change_nothing(core, reach, convolution):
    spec = make_spec()
    x, graph = make_inputs(spec), EdgeList(torch.tensor([[0, 1], [1, 2]]), torch.ones(2))
    network = HybridNetwork(spec, OUTPUTS, core, hidden=8, convolution=convolution).eval()
    assert network.reach == reach
    parts = (x.values, x.mask, x.since, x.calendar, x.static)
    last, whole = (network._absorb(*parts, last=last, graph=graph)[0] for last in (True, False))
    torch.testing.assert_close(last, whole[:, -1:])


@MODES
def test_fewer_leads_are_a_prefix_of_more(rollout):
    spec = make_spec()
    network, inputs = make_network(spec, rollout=rollout), make_inputs(spec)
    whole = network(inputs)
    for leads in range(1, HORIZON):
        torch.testing.assert_close(network(inputs, leads), whole[:, :leads])


@MODES
def test_a_window_with_no_observation_still_gives_a_finite_forecast(rollout):
    spec = make_spec()
    inputs = make_inputs(spec)
    blind = dataclasses.replace(inputs, values=0 * inputs.values, mask=0 * inputs.mask)
    assert torch.isfinite(make_network(spec, rollout=rollout)(blind)).all()


@MODES
def test_permuting_the_nodes_permutes_the_forecast(rollout):
    spec = make_spec()
    network, inputs, order = make_network(spec, rollout=rollout), make_inputs(spec), [3, 0, 5, 1, 4, 2]
    torch.testing.assert_close(network(reordered(inputs, order)), network(inputs)[:, :, order], atol=1e-5, rtol=1e-5)


@MODES
def test_turning_a_ring_turns_the_forecast(rollout):
    spec = make_spec(boundary="periodic")
    network, inputs = make_network(spec, rollout=rollout, halo=2), make_inputs(spec)
    order = torch.arange(NODES).roll(2)
    torch.testing.assert_close(network(reordered(inputs, order)), network(inputs)[:, :, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_a_halo_holds_the_neighbours_and_beyond_an_open_edge_nothing(boundary):
    spec = make_spec(boundary=boundary, static_covariates=(), calendar=())
    inputs = make_inputs(spec)
    features = StepFeatures(spec, Patches(spec, halo=2))
    seen = features(inputs.values, inputs.mask, inputs.since, inputs.calendar, inputs.static)
    assert seen.shape[-1] == features.size
    halo = seen[..., 2 * len(spec.channels) + 2 :].unflatten(-1, (5, 4))[..., :2]  # after values, masks and since
    target = inputs.values[..., :2]
    for node in range(NODES):
        near = range(node - 2, node + 3)
        expected = [
            target[:, :, n % NODES] if boundary == "periodic" or 0 <= n < NODES else torch.zeros(BATCH, WINDOW, 2)
            for n in near
        ]
        have = {tuple(x.flatten().tolist()) for x in halo[:, :, node].unbind(2)}
        assert have == {tuple(x.flatten().tolist()) for x in expected}


def test_a_roll_out_feeds_back_its_own_location():
    spec = make_spec(targets=("y",), future_covariates=(), static_covariates=(), calendar=())
    network, inputs = make_network(spec, rollout=True), make_inputs(spec)
    torch.nn.init.zeros_(network.transition.tendency.weight)
    torch.nn.init.constant_(network.transition.tendency.bias, 0.5)
    steps = 0.5 * torch.arange(1, HORIZON + 1).view(1, -1, 1, 1)
    complete = dataclasses.replace(inputs, mask=torch.ones_like(inputs.mask))
    raw = network(complete)
    torch.testing.assert_close(raw[..., 0], complete.last[:, None] + steps)


@pytest.mark.parametrize("halo", [3, 4, 99])
def test_a_halo_that_meets_itself_around_the_ring_is_refused(halo):
    with pytest.raises(RequestError, match=r"at most 2"):
        make_network(make_spec(), halo=halo)


def test_a_roll_out_with_past_covariates_is_refused_by_name():
    with pytest.raises(RequestError, match="`v` is a past covariate"):
        make_network(make_spec(past_covariates=("v",)), rollout=True)


GIVEN = EdgeList(torch.tensor([[0, 4, 1, 2, 3, 5], [1, 1, 2, 3, 4, 0]]), torch.tensor([1.0, 1.0, 0.5, 2.0, 1.0, 1.0]))
CONVOLVED = {"convolution": "torch_geometric.nn.TransformerConv", "convolution_options": {"heads": 2}}


@MODES
def test_a_convolution_mixes_nodes_before_the_core(rollout):
    spec, inputs = make_spec(boundary="open"), make_inputs(make_spec())
    network = make_network(spec, rollout=rollout, halo=1, **CONVOLVED)
    raw = network(inputs, graph=GIVEN)
    (raw * torch.randn_like(raw)).sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name
    heavier = EdgeList(GIVEN.index, GIVEN.weight * torch.tensor([3.0, 1, 1, 1, 1, 1]))
    changed = (network(inputs, graph=heavier) - raw).abs().amax((0, 1, 3, 4)) > 1e-7
    assert changed[1]  # where the edge ends
    if not rollout:
        assert changed.tolist() == [False, True, False, False, False, False]


def test_a_free_run_goes_along_the_graph_too():
    spec = make_spec(targets=("y",), future_covariates=(), static_covariates=(), calendar=())
    network, inputs = make_network(spec, rollout=True, **CONVOLVED), make_inputs(spec)
    run = network.run(inputs, GIVEN)
    free = torch.stack([next(run) for _ in range(HORIZON)], 1)
    torch.testing.assert_close(free, network(inputs, graph=GIVEN)[..., 0])


def test_a_convolution_needs_nodes_to_mix():
    with pytest.raises(RequestError, match="give patch 1"):
        make_network(make_spec(), patch=2, **CONVOLVED)
    with pytest.raises(RequestError, match="spatial_options: without a layer"):
        make_network(make_spec(), convolution_options={"heads": 2})
    bare = make_spec(targets=("y",), future_covariates=(), static_covariates=(), calendar=())
    with pytest.raises(RequestError, match="has no states to mix"):
        HybridNetwork(bare, OUTPUTS, None, hidden=8, rollout=RollOut(width=8), **CONVOLVED)
