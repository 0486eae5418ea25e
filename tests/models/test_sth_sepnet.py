"""STH-SepNet: each branch alone, both and their gate; graphs of the panel; gradients; nodes in another order."""

import numpy as np
import pytest
import torch
from helpers import FEW, SEPNET_NODES, SMALL_SEPNET, batch_of, built, fit, fitted, make_panel, sepnet_data

import stgate
from stgate.distributions import StudentT
from stgate.errors import RequestError
from stgate.inference import Ensemble
from stgate.models import STHSepNet
from stgate.nn.sepnet.neighbours import strongest
from stgate.panels.own_graph import find_graph


@pytest.mark.parametrize("fusion", ["adaptive", "attention", "lstm"])
@pytest.mark.parametrize("soft", [True, False])
def test_every_parameter_gets_a_gradient(fusion, soft):
    data = sepnet_data()
    model = built(STHSepNet(**SMALL_SEPNET, fusion=fusion, soft=soft, likelihood=StudentT()), data).train()
    for weight in model.parameters():  # a correction begins at zero, which lets nothing through
        weight.data += 0.05 * torch.randn_like(weight)
    model(batch_of(data)).mean.square().sum().backward(retain_graph=True)
    forecast = model(batch_of(data))
    (forecast.mean.square().sum() + forecast.stddev.sum()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_a_branch_alone_is_what_the_gate_gets_of_it():
    data = sepnet_data()
    both, batch = built(STHSepNet(**SMALL_SEPNET, linear=False), data), batch_of(data)
    inputs = both.predictor.inputs_of(batch)
    for alone, method in (({"backbone": None}, "in_space"), ({"spatial": False}, "in_time")):
        model = built(STHSepNet(**SMALL_SEPNET, **alone, linear=False), data)
        kept = {name: value for name, value in both.state_dict().items() if name in model.state_dict()}
        model.load_state_dict(kept)
        graph = (both.predictor.edges(),) * (method == "in_space")
        made = getattr(both.predictor.built, method)(inputs, *graph)
        expected = both.predictor.distribution(made[0] if method == "in_space" else made)
        torch.testing.assert_close(model(batch).mean, expected.mean)


def test_hyperedges_change_while_a_model_learns():
    data = sepnet_data()
    model = built(STHSepNet(**SMALL_SEPNET, optimizer=lambda w: torch.optim.Adam(w, lr=0.05)), data)
    hypergraph = model.predictor.built.spatial.hypergraph
    before = hypergraph().matrix() > 0
    fit(model, data)
    assert ((hypergraph().matrix() > 0) != before).any()


@pytest.mark.parametrize("fusion", ["adaptive", "attention", "lstm"])
def test_nodes_in_another_order_with_all_that_is_known_of_each_get_the_same_forecasts(fusion):
    panel = make_panel(steps=200, nodes=SEPNET_NODES)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(SEPNET_NODES)))
    one, two = (sepnet_data(p) for p in (panel, panel.isel(node=order.numpy())))
    model = fitted(STHSepNet(**SMALL_SEPNET, fusion=fusion), one, **FEW)
    other = built(STHSepNet(**SMALL_SEPNET, fusion=fusion), two)
    of_nodes = ("level", "scale", "spatial.node", "gain", "shift", "graph.first", "graph.second", "embedding")
    network = {n: w[order] if n.endswith(of_nodes) else w for n, w in model.predictor.network.state_dict().items()}
    other.predictor.network.load_state_dict(network)  # its edges are of its own panel
    made = other(batch_of(two)).mean
    torch.testing.assert_close(made, model(batch_of(one)).mean[:, :, order], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_short_windows_and_a_lone_node_are_forecast(window):
    for nodes in (SEPNET_NODES, ("a",)):
        data = sepnet_data(make_panel(steps=200, nodes=nodes), window=window)
        assert torch.isfinite(built(STHSepNet(**SMALL_SEPNET), data)(batch_of(data)).mean).all()


def test_the_panels_own_edges_come_before_its_nearest_nodes():
    panel = make_panel(steps=200, nodes=SEPNET_NODES)
    near = strongest(find_graph(panel, 3), 3)
    assert near.index.shape == (7, 3) and (near.weight > 0).all()
    graph = stgate.panels.graph.Graph.of_matrix(SEPNET_NODES, np.eye(7, k=1) + 2 * np.eye(7, k=2) + np.eye(7))
    own = strongest(find_graph(graph.add_to(panel), 3), 3)
    expected = np.triu(np.eye(7, k=1) + 2 * np.eye(7, k=2), 1).T  # rows are targets
    np.testing.assert_array_equal(own.matrix(), expected)
    one = strongest(find_graph(graph.add_to(panel), 1), 1).matrix()
    np.testing.assert_array_equal(one, np.where(expected == expected.max(1, keepdims=True), expected, 0))
    assert find_graph(panel.drop_vars(["lat", "lon"]), 3) is None


def test_it_is_saved_and_loaded_whole_and_an_ensemble_of_it_too(tmp_path):
    data = sepnet_data()
    for inference in (None, Ensemble(members=2)):
        model = fitted(STHSepNet(**SMALL_SEPNET, inference=inference), data, **FEW)
        model.save(tmp_path / "m.ckpt")
        again = STHSepNet.load_from_checkpoint(tmp_path / "m.ckpt")
        torch.testing.assert_close(again(batch_of(data)).mean, model(batch_of(data)).mean)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"graph": "statik"}, "did you mean static"),
        ({"backbone": None, "spatial": False}, "backbone"),
        ({"width": 30}, "width 30"),
        ({"fusion": "adaptiv"}, "adaptive"),
        ({"dropout": 1.0}, "dropout"),
        ({"hops": 0}, "hops"),
        ({"order": 1}, "order 1: a hyperedge needs 2 nodes"),
        ({"depth": 0}, "depth 0: must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, named):
    with pytest.raises(RequestError, match=named):
        STHSepNet(**({"heads": 4} | options)).adopt(sepnet_data())


def test_a_static_graph_is_asked_for_in_vain_where_there_is_none():
    with pytest.raises(RequestError, match="neither edges nor coordinates"):
        STHSepNet(**SMALL_SEPNET, graph="static").adopt(
            sepnet_data(make_panel(steps=200, nodes=SEPNET_NODES).drop_vars(["lat", "lon"]))
        )


def test_what_a_panel_says_of_itself_is_kept_but_is_no_option(tmp_path):
    """Else a fit could not be resumed without repeating what was never given."""
    data = sepnet_data(make_panel(steps=200, nodes=SEPNET_NODES).assign_attrs(title="Speeds"))
    model = fitted(STHSepNet(**SMALL_SEPNET), data, **FEW)
    assert model.predictor.description == "Speeds." and model.hparams["description"] is None
    model.save(tmp_path / "m.ckpt")
    assert STHSepNet.load_from_checkpoint(tmp_path / "m.ckpt").predictor.description == "Speeds."


def test_it_computes_in_mixed_precision():
    data = sepnet_data()
    model = built(STHSepNet(**SMALL_SEPNET), data).train()
    with torch.autocast("cpu", torch.bfloat16):
        model(batch_of(data)).mean.square().sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


def test_all_leads_are_forecast_at_once():
    with pytest.raises(RequestError, match="train_horizon 2: all 5 leads are forecast at once"):
        STHSepNet(**SMALL_SEPNET).adopt(sepnet_data(train_horizon=2))
