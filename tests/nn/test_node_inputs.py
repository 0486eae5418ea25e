"""Means over neighbours against loops, by a matrix and by gathers; node statistics as static inputs."""

import numpy as np
import pytest
import torch
from helpers import batch_of, built, fitted, make_data, make_panel

import stgate
from stgate.errors import RequestError
from stgate.models import GatedRNN, GatedTransformer, Ridge
from stgate.nn import RollOut, node_inputs
from stgate.nn.inputs import Inputs
from stgate.nn.node_inputs import NodeInputs
from stgate.panels.graph import Graph
from stgate.schema.spec import PanelSpec

SPEC = PanelSpec(
    targets=("y",), nodes=tuple("abcd"), step=3600.0, time="calendar", window=3, horizon=2,
    past_covariates=("p",), future_covariates=("f",), static_covariates=("lat",),
)  # fmt: skip
GRAPH = Graph(tuple("abcd"), np.array([0, 1, 2, 3, 3]), np.array([1, 2, 1, 3, 0]), np.array([1.0, 2.0, 3.0, 9.0, 0.5]))


def inputs_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn((2, 3, 4, 3), generator=generator)
    mask = (torch.rand(values.shape, generator=generator) > 0.3).float()
    since, nothing, future = torch.zeros(2, 3, 4, 1), torch.zeros(2, 3, 0), torch.zeros(2, 2, 4, 2)
    return Inputs(values * mask, mask, since, nothing, future, nothing, torch.zeros(4, 1))


@pytest.mark.parametrize("dense", [700, 0])
def test_means_over_neighbours_are_those_of_a_loop(dense, monkeypatch):
    monkeypatch.setattr(node_inputs, "DENSE", dense)
    module, inputs = NodeInputs(SPEC, statistics=False, directions=2), inputs_of()
    module.edges.fill(GRAPH)
    made = module(inputs)
    assert made.values.shape == made.mask.shape == (2, 3, 4, 5)
    assert torch.equal(made.values[..., [0, 1, 4]], inputs.values)  # target, past covariate, ..., future covariate
    for direction, (begin, end) in enumerate(((0, 1), (1, 0))):
        for node in range(4):
            total = share = known = torch.zeros(2, 3)
            for pair, weight in zip(np.stack([GRAPH.source, GRAPH.target], 1), GRAPH.weight, strict=True):
                if pair[0] != pair[1] and pair[end] == node:
                    seen = inputs.mask[:, :, pair[begin], 0]
                    total = total + weight * seen * inputs.values[:, :, pair[begin], 0]
                    share, known = share + weight * seen, known + weight
            mean = torch.where(share > 0, total / share.clamp(min=1e-9), 0.0)
            torch.testing.assert_close(made.values[:, :, node, 2 + direction], mean)
            torch.testing.assert_close(made.mask[:, :, node, 2 + direction], share / known.clamp(min=1e-9))


def test_the_spec_of_the_inputs_names_what_is_added():
    module = NodeInputs(SPEC, statistics=True, directions=1)
    assert module.spec.static_covariates == ("lat", "mean of y", "stddev of y")
    assert module.spec.channels == ("y", "p", "incoming mean of y", "f")
    module.edges.fill(GRAPH)
    assert module(inputs_of()).static.shape == (4, 3)


KNOWS = {"node_statistics": True, "neighbour_means": "auto"}
KINDS = {
    "rnn": lambda **o: GatedRNN(hidden=8, **o),
    "transformer": lambda **o: GatedTransformer(hidden=8, **o),
    "ridge": lambda **o: Ridge(**o),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecaster_that_knows_its_nodes_comes_back_from_its_checkpoint(kind, tmp_path):
    panel = make_panel(steps=160, nodes=tuple("abcdefghijkl"))  # whose nearest eight are no symmetric relation
    model = fitted(KINDS[kind](**KNOWS), make_data(panel))
    assert model.predictor.directions == 1  # nearest nodes have no direction
    statistics = model.predictor.node_inputs.statistics
    assert (statistics[:, 0].diff() > 0).all()  # node means rise by three from node to node
    made = stgate.forecast(model, panel)
    model.save(tmp_path / "m.ckpt")
    assert made.drop_attrs().identical(stgate.forecast(tmp_path / "m.ckpt", panel).drop_attrs())


def test_a_forecast_of_a_node_depends_on_its_neighbours_only_through_the_graph():
    panel = make_panel(steps=160, nodes=tuple("abcd"), missing=0)
    graph = Graph(tuple("abcd"), np.array([0]), np.array([1]), np.ones(1))
    data = make_data(graph.add_to(panel))
    model = built(Ridge(**KNOWS), data)
    assert model.predictor.directions == 2  # a directed graph
    batch = batch_of(data)
    linear, predictor = model.predictor.built.linear, model.predictor
    before = linear.features(predictor.inputs_of(batch))
    batch["past"][:, :, 0, 0] += 1.0
    changed = (linear.features(predictor.inputs_of(batch)) != before).any(-1).any(0)
    assert changed.tolist() == [True] * 4  # the mean over all nodes, which each node sees
    channel = [model.predictor.inputs_of(batch_of(data)).values[..., 1:3]]
    channel.append(model.predictor.inputs_of(batch).values[..., 1:3])
    assert (channel[0] != channel[1]).any(-1).any(0).any(0).tolist() == [False, True, False, False]


def test_where_there_is_no_graph_auto_takes_none_and_graph_is_refused():
    bare = make_data(make_panel(steps=160).drop_vars(["lat", "lon"]))
    assert built(Ridge(**KNOWS), bare).predictor.directions == 0
    with pytest.raises(RequestError, match="neighbour_means graph: the panel has neither edges nor coordinates"):
        built(Ridge(neighbour_means="graph"), bare)
    with pytest.raises(RequestError, match="neighbour_means 'grap': did you mean graph"):
        Ridge(neighbour_means="grap")
    assert built(GatedRNN(hidden=8, rollout=RollOut(), **KNOWS), make_data()).predictor.directions == 0


def test_the_state_is_small_where_little_is_observed(tmp_path):
    panel = make_panel(steps=160)
    small, large = (built(GatedRNN(hidden=hidden), make_data(panel)) for hidden in (None, 64))
    assert small.predictor.hidden == 16 and large.predictor.hidden == 64
    assert built(GatedRNN(rollout=RollOut()), make_data(panel)).predictor.hidden == 64
    small.save(tmp_path / "m.ckpt")
    assert stgate.load(tmp_path / "m.ckpt").hidden == 16


def test_nodes_that_are_often_observed_get_learned_numbers(tmp_path):
    seldom, often = make_panel(steps=160), make_panel(steps=1200)
    assert built(GatedRNN(hidden=8), make_data(seldom)).predictor.hybrid.embedding is None
    assert built(GatedRNN(hidden=8, node_embedding=3), make_data(seldom)).predictor.hybrid.embedding.shape == (3, 3)
    assert built(GatedRNN(hidden=8, node_embedding=0), make_data(often)).predictor.hybrid.embedding is None
    assert built(GatedRNN(hidden=8, rollout=RollOut()), make_data(often)).predictor.hybrid.embedding is None
    model = fitted(GatedRNN(hidden=8), make_data(often))
    assert model.predictor.hybrid.embedding.shape == (3, 8)
    model.save(tmp_path / "m.ckpt")
    made = stgate.forecast(model, often)
    assert made.drop_attrs().identical(stgate.forecast(tmp_path / "m.ckpt", often).drop_attrs())
    with pytest.raises(RequestError, match="node_embedding"):
        GatedRNN(node_embedding=-1)
