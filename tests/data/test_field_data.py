"""Panels as fields: what a training batch holds, from memory and from a store."""

import numpy as np
import pytest
import torch
from helpers import make_panel

import stgate
from stgate.data import FieldData
from stgate.data.streaming import StoredSeries
from stgate.errors import PanelError, RequestError
from stgate.models import GatedRNN

NODES = tuple("abcdef")


def steps_of(data):
    return torch.cat([batch["origin"][:, 1] for batch in data.train_dataloader()])


@pytest.mark.parametrize("context", [0, 4])
def test_an_epoch_holds_every_step_with_an_observation_once_and_its_context(context):
    panel = make_panel(steps=200, nodes=NODES)
    panel["y"][5] = np.nan
    data = FieldData(panel, targets="y", context=context, batch_size=16)
    start, stop = data.parts.train
    expected = set(range(max(start, data.spec.window - 1), stop)) - {5}
    steps = steps_of(data).tolist()
    assert len(steps) == len(set(steps)) and set(steps) == expected
    batch = next(iter(data.train_dataloader()))
    assert batch["past"].shape[1] == data.spec.window and batch["target"].shape[1] == 0
    row = int(batch["origin"][0, 1])
    np.testing.assert_array_equal(batch["past"][0, -1, :, 0], panel["y"].values[row])
    seconds = panel["time"].values[row].astype("datetime64[s]").astype(int)
    assert float(batch["time"][0, -1]) == seconds


@pytest.mark.parametrize("context", [0, 4])
def test_a_store_larger_than_memory_gives_the_same_cases(context, tmp_path):
    panel = make_panel(steps=4000, nodes=NODES)
    stgate.write(panel, tmp_path / "p.zarr")
    options = {"context": context, "batch_size": 64, "covariates": ["u"]}
    held, read = (
        FieldData(panel, targets="y", **options),
        FieldData(tmp_path / "p.zarr", targets="y", **options, max_memory=0.15),
    )
    assert isinstance(read.series, StoredSeries)

    def values(data):
        batches = list(data.train_dataloader())
        order = torch.cat([b["origin"][:, 1] for b in batches]).argsort()
        return torch.cat([b["past"] for b in batches])[order], torch.cat([b["time"] for b in batches])[order]

    for one, two in zip(values(held), values(read), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_shuffle_comes_from_seed_and_epoch():
    panel = make_panel(steps=200, nodes=NODES)
    one, two, other = (steps_of(FieldData(panel, targets="y", seed=s)).tolist() for s in (1, 1, 2))
    assert one == two and one != other


def test_validation_may_take_fewer_origins():
    panel = make_panel(steps=200)
    every, some = (len(FieldData(panel, targets="y", eval_every=k).val_dataloader().dataset) for k in (1, 5))
    assert some == -(-every // 5)


def test_nodes_are_known_by_their_places():
    panel = make_panel(steps=100, nodes=NODES)
    spec = FieldData(panel, targets="y").spec
    assert spec.places == ("lat", "lon") and spec.static_covariates == ("lat", "lon")
    fewer = spec.check(panel.isel(node=[4, 1]))
    assert fewer["node"].values.tolist() == ["e", "b"]
    assert spec.from_dict(spec.to_dict()) == spec


def test_a_place_that_is_not_known_is_named():
    panel = make_panel(steps=100, nodes=NODES)
    panel["lat"][2] = np.nan
    with pytest.raises(PanelError, match="`lat`: missing at node 'c'"):
        FieldData(panel, targets="y").setup()
    spec = FieldData(make_panel(steps=100, nodes=NODES), targets="y").spec
    with pytest.raises(PanelError, match="`lat`: missing at node 'c'"):
        spec.check(panel)
    with pytest.raises(PanelError, match=r"`lat`: the nodes have no such coordinate.*--coords"):
        spec.check(panel.drop_vars("lat"))


def test_a_target_that_a_forecast_would_hide_is_refused():
    panel = make_panel(steps=100, nodes=NODES)
    with pytest.raises(RequestError, match="`y_truth`: a forecast of `y` has a variable of this name"):
        FieldData(panel.assign(y_truth=panel["y"]), targets=["y", "y_truth"])


def test_a_forecaster_of_windows_takes_no_field_data():
    with pytest.raises(RequestError, match="GatedRNN forecasts from windows"):
        GatedRNN().adopt(FieldData(make_panel(steps=100, nodes=NODES), targets="y"))


@pytest.mark.parametrize("bad", [-1, 1.5, "a", np.nan])
@pytest.mark.parametrize("option", ["context", "ahead", "horizon", "num_workers"])
def test_counts_of_a_field_are_whole(option, bad):
    with pytest.raises(RequestError, match=f"{option} "):
        FieldData(make_panel(steps=50), targets="y", **{option: bad})
