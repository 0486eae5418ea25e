"""Convolutions of torch-geometric in forecasters: gradients, checkpoints, the command, and refusals."""

import numpy as np
import pytest
import torch
from helpers import built, make_data, make_panel, trainer

import stgate
from stgate.errors import RequestError
from stgate.inference import Ensemble
from stgate.models import GatedRNN, GatedTransformer, STHSepNet
from stgate.nn import RollOut
from stgate.panels.graph import Graph

LAYERS = {
    "torch_geometric.nn.GCNConv": None,
    "torch_geometric.nn.GraphConv": None,
    "torch_geometric.nn.GATv2Conv": {"heads": 2},
    "torch_geometric.nn.TransformerConv": {"heads": 2},
    "torch_geometric.nn.ChebConv": {"K": 2},
}
NODES = tuple("abcde")
KINDS = {
    "recurrent": lambda **options: GatedRNN(hidden=8, **options),
    "transformer": lambda **options: GatedTransformer(hidden=8, heads=2, layers=1, **options),
    "sepnet": lambda **options: STHSepNet(hidden=8, width=8, heads=2, depth=1, prototypes=5, embedding=4, **options),
}


def panel_with_edges():
    panel = make_panel(steps=120, nodes=NODES)
    return Graph.of_matrix(list(NODES), np.eye(5, k=1) + 0.5 * np.eye(5, k=-1)).add_to(panel)


def data_of(panel=None, **options):
    return make_data(panel_with_edges() if panel is None else panel, **({"batch_size": 32} | options))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_missing_values_none(kind, layer):
    data = data_of()
    model = built(KINDS[kind](spatial=layer, spatial_options=LAYERS[layer]), data).train()
    batch = next(iter(data.part_dataloader("train")))
    assert torch.isnan(batch["past"]).any()
    for _ in range(2):  # gates may begin at zero, and let no gradient behind them until they have moved
        model.zero_grad()
        model.training_step(batch, 0).backward()
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.01 * torch.randn_like(weight)
    for name, weight in model.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_is_told_of_by_its_incoming_edges(kind):
    data = data_of()
    model = built(KINDS[kind](spatial="torch_geometric.nn.GraphConv"), data)
    batch = next(iter(data.part_dataloader("test")))
    with torch.no_grad():
        for weight in model.parameters():  # gates may begin at zero
            weight += 0.1 * torch.randn_like(weight)
    before = model(batch).mean
    model.predictor.edges.weight = 3.0 * model.predictor.edges.weight
    assert not torch.allclose(before, model(batch).mean)


@pytest.mark.filterwarnings("ignore::stgate.errors.InferenceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_edges_and_options_come_back_from_the_checkpoint(kind, tmp_path):
    data = data_of()
    model = KINDS[kind](spatial="torch_geometric.nn.GATv2Conv", spatial_options={"heads": 2}, inference=Ensemble(2))
    trainer().fit(model, data)
    model.save(tmp_path / "m.ckpt")
    again = stgate.load(tmp_path / "m.ckpt")
    one, two = (stgate.forecast(m, panel_with_edges()) for m in (model, again))
    assert one.drop_attrs().identical(two.drop_attrs())
    assert again.edges.index.shape == (2, 8)


def test_a_roll_out_mixes_nodes_at_each_step():
    data = data_of()
    model = built(GatedRNN(hidden=8, rollout=RollOut(samples=2), spatial="torch_geometric.nn.GCNConv"), data)
    assert torch.isfinite(model(next(iter(data.part_dataloader("test")))).mean).all()


def test_where_a_panel_has_no_edges_its_nearest_nodes_are_taken():
    model = built(GatedRNN(hidden=8, spatial="torch_geometric.nn.GCNConv"), data_of(make_panel(nodes=NODES)))
    assert model.predictor.edges.index.shape == (2, 20)


def test_what_cannot_be_mixed_is_refused_by_name():
    bare = data_of(make_panel(nodes=NODES).drop_vars(["lat", "lon"]))
    for kind in KINDS.values():
        with pytest.raises(
            RequestError, match=r"spatial torch_geometric\.nn\.GCNConv: the panel has neither edges nor"
        ):
            built(kind(spatial="torch_geometric.nn.GCNConv"), bare)
        with pytest.raises(RequestError, match="GCNConf"):
            built(kind(spatial="torch_geometric.nn.GCNConf"), data_of())
    for spatial in ("", 3, None):
        with pytest.raises(RequestError, match=r"spatial .*: must be true, false, or a class path"):
            STHSepNet(spatial=spatial)
    for spatial in (True, False):
        with pytest.raises(RequestError, match=f"spatial_options: spatial {spatial} has none"):
            STHSepNet(spatial=spatial, spatial_options={"heads": 2})
    with pytest.raises(RequestError, match="patch 1"):
        built(GatedRNN(hidden=8, patch=5, spatial="torch_geometric.nn.GCNConv"), data_of())


def test_a_refused_panel_leaves_nothing_behind():
    model = GatedRNN(hidden=8, spatial="torch_geometric.nn.GCNConv")
    with pytest.raises(RequestError, match="neither edges nor"):
        built(model, data_of(make_panel(nodes=NODES).drop_vars(["lat", "lon"])))
    assert model.spec is None
    assert built(model, data_of()).predictor.edges.index.shape[1] > 0


def test_the_command_takes_a_class_path(stgate_command, tmp_path):
    stgate.write(panel_with_edges(), tmp_path / "p.nc")
    common = ["--data.panel", tmp_path / "p.nc", "--data.targets", "[y]", "--data.window", 6, "--data.horizon", 3]
    common += ["--trainer.max_epochs", 1, "--model.hidden", 8]
    for model, layer in (("GatedRNN", "GCNConv"), ("STHSepNet", "GATv2Conv")):
        out = tmp_path / model
        layer = f"torch_geometric.nn.{layer}"
        code, _, error = stgate_command("fit", "--model", model, *common, "--model.spatial", layer, "--out", out)
        assert code == 0, error
        made = stgate_command("forecast", tmp_path / "p.nc", "--checkpoint", out / "best.ckpt", "--out", out / "f.nc")
        assert made[0] == 0, made[2]
    code, _, error = stgate_command(
        "fit", "--model", "GatedRNN", *common, "--model.spatial", "os.system", "--out", tmp_path / "x"
    )
    assert code == 2 and "os.system" in error
