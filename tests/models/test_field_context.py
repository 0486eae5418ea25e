"""What a field sees of the places around: never the entry itself, nothing ahead, and what training hides."""

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import FIELD_NODES, built, field_data, field_panel, fitted, small_field

import stgate
from stgate.distributions import NegativeBinomial
from stgate.errors import RequestError
from stgate.models import CGLUBNF
from stgate.nn.field.context_masking import mask_context
from stgate.nn.field.network import with_latest


def test_the_entry_that_is_asked_for_is_never_seen():
    panel = field_panel(missing=0)
    model = built(small_field(), field_data(panel, context=4, horizon=2))
    before = stgate.reconstruct(model, panel)
    other = panel.copy(deep=True)
    other["y"][60, 2] += 100.0
    after = stgate.reconstruct(model, other)
    changed = (before["y_mean"] != after["y_mean"]).transpose("time", "node").values
    times = list(before["time"].values)
    row = times.index(panel["time"].values[60])
    assert not changed[row, 2] and changed[row].any()  # itself not, but those who look at it
    assert changed[row + 1, 2]  # and it is seen one step later
    assert not changed[:row].any() and not changed[row + 4 :].any()


def test_times_that_lack_the_context_are_left_out_and_told():
    panel = field_panel()
    model = built(small_field(), field_data(panel, context=4, horizon=2))
    made = stgate.reconstruct(model, panel)
    assert made.attrs["left_out"].startswith("3 steps at the start") and made["time"][0] == panel["time"][3]
    later = stgate.reconstruct(model, panel, start=str(panel["time"].values[10]))
    assert "left_out" not in later.attrs and later["time"][0] == panel["time"][10]


def test_a_forecast_sees_nothing_after_its_origin():
    panel = field_panel(missing=0)
    model = built(small_field(), field_data(panel, context=5, horizon=3))
    origin = panel["time"].values[80]
    cut = panel.where(panel["time"] <= origin)
    start = str(panel["time"].values[81])
    whole = stgate.forecast(model, panel, start=start)
    np.testing.assert_array_equal(whole["y_mean"], stgate.forecast(model, cut, start=start)["y_mean"])
    assert len(np.unique(whole["y_mean"].isel(lead_time=0))) > 1


def test_what_is_hidden_in_training_is_one_of_three_patterns():
    torch.manual_seed(0)
    gone = torch.isnan(mask_context(torch.zeros(600, 6, 8, 1), 3, ["late", "stations", "entries"])[0])[..., 0]
    late = (gone == gone[:, :, :1]).all(2).all(1) & gone[:, -1, 0] & ~gone[:, :3].any(2).any(1)
    nowhere = (gone == gone[:, :1]).all(2).all(1) & gone.any(2).any(1)
    assert 0.2 < late.float().mean() < 0.45 and 0.2 < nowhere.float().mean() < 0.45
    assert set(gone[late].sum(1)[:, 0].tolist()) == {1, 2, 3}


@pytest.mark.parametrize("nodes", [["a"], ["a", "b"]])
def test_the_entry_is_not_seen_through_a_twin_or_by_itself_alone(nodes):
    """A lone node has no neighbours; of two at one place neither is its own."""
    panel = field_panel(missing=0)
    model = built(small_field(), field_data(panel, context=4, horizon=2))
    few = panel.sel(node=nodes)
    few["lat"], few["lon"] = few["lat"] * 0 + 40.0, few["lon"] * 0 + 116.0
    before = stgate.reconstruct(model, few)
    for node in range(len(nodes)):
        other = few.copy(deep=True)
        other["y"][60, node] += 100.0
        changed = (before["y_mean"] != stgate.reconstruct(model, other)["y_mean"]).sel(time=panel["time"][60])
        assert changed.values.tolist() == [i != node for i in range(len(nodes))]


def test_training_hides_by_the_patterns_that_were_chosen(monkeypatch):
    asked = []

    def spy(past, horizon, patterns):
        asked.append((horizon, list(patterns)))
        return mask_context(past, horizon, patterns)

    monkeypatch.setattr("stgate.prediction.field.predictor.mask_context", spy)
    data = field_data(context=4, horizon=2)
    model = built(small_field(context_masking=["late"]), data)
    batch = next(iter(data.train_dataloader()))
    model.training_forward(batch)
    assert not asked  # while it is evaluated, nothing is hidden
    model.train().training_forward(batch)
    assert asked == [(2, ["late"])]


def test_a_field_can_be_taught_one_pattern_only():
    torch.manual_seed(0)
    gone = torch.isnan(mask_context(torch.zeros(100, 6, 8, 1), 3, ["stations"])[0])[..., 0]
    assert (gone == gone[:, :1]).all() and 0.3 < gone.float().mean() < 0.7
    assert CGLUBNF(context_masking=["stations"]).hparams["context_masking"] == ["stations"]


def test_a_node_that_sees_nothing_of_its_own_is_seen_by_the_others():
    """Trained so, a field gives a node what it would if the node had never observed anything."""
    data = field_data(field_panel(missing=0), context=4, horizon=2)
    model = built(small_field(context_masking=["own"]), data)
    batch = next(iter(data.train_dataloader()))
    made = model.train().training_forward(batch).mean.reshape(len(batch["past"]), len(FIELD_NODES))
    model.eval()
    for node in range(len(FIELD_NODES)):
        nothing = batch | {"past": batch["past"].clone()}
        nothing["past"][:, :, node, 0] = torch.nan
        expected = model.predictor.reconstruction(nothing).mean[:, 0, node, 0]
        torch.testing.assert_close(made[:, node], expected)


def test_the_latest_value_has_a_place_of_its_own_and_fades_with_its_age():
    nan = float("nan")
    seen = with_latest(torch.tensor([[5.0, 3.0, nan, nan], [nan, nan, nan, 7.0], [nan] * 4]).unsqueeze(-1))
    values, masks = seen.chunk(2, -1)
    np.testing.assert_allclose(values, [[5, 3, 0, 0, 1], [0, 0, 0, 7, 7], [0] * 5])  # 3, two steps old, is 3 / 3
    np.testing.assert_allclose(masks, [[1, 1, 0, 0, 1 / 3], [0, 0, 0, 1, 1], [0] * 5])


def test_counts_are_seen_by_their_logarithms_where_that_is_asked_for():
    """A context ten times as large is seen as a constant more."""
    panel = field_panel(missing=0.1)
    panel["y"] = (panel["y"].clip(0) * 20).round()
    seen = {}
    for log_context in (False, True):
        model = built(small_field(likelihood=NegativeBinomial(), log_context=log_context), field_data(panel, context=3))
        batch = next(iter(field_data(panel, context=3).train_dataloader()))
        near = torch.arange(1, 6).expand(6, 5)
        rows = torch.arange(len(batch["past"]) * 6)
        more = batch | {"past": 10 * batch["past"]}
        half = [model.predictor._seen(b, 0, rows // 6, rows % 6, near).chunk(2, -1) for b in (batch, more)]
        (few, there), (many, _) = half
        seen[log_context] = (many - few)[there == 1]
        assert torch.isfinite(few).all()
    assert seen[True].std() < 0.05 and seen[False].std() > 0.5
    assert seen[True].mean() == pytest.approx(np.log(10), abs=0.05)
    with pytest.raises(RequestError, match="with kriging the context is transformed"):
        CGLUBNF(log_context=True)
    with pytest.raises(RequestError, match="log_context: likelihood Normal"):
        CGLUBNF(kriging=False, log_context=True)


def test_a_place_looks_at_nodes_that_observe_something_however_many_others_are_near():
    panel = field_panel()
    model = fitted(small_field(), field_data(panel, context=2))
    few = panel.sel(node=list(FIELD_NODES[3:]))  # two stations, and a place without one
    few = few.where(few["node"] != FIELD_NODES[5])
    crowd = xr.concat([few] + [_moved(few, FIELD_NODES[5], 1e-4 * i) for i in range(1, 9)], "node", join="outer")
    alone, crowded = (stgate.reconstruct(model, p)["y_mean"].sel(node=list(FIELD_NODES[3:])) for p in (few, crowd))
    np.testing.assert_allclose(crowded, alone, rtol=1e-5)
    # A panel's only station: seen from the place, and not by itself.
    one = few.where(few["node"] == FIELD_NODES[3])
    changed = one.assign(y=one["y"] + 30)
    first, second = (stgate.reconstruct(model, p)["y_mean"].isel(time=60) for p in (one, changed))
    assert not np.allclose(first[2], second[2])
    at_itself = changed.where(changed["time"] == changed["time"][60], one)
    np.testing.assert_array_equal(stgate.reconstruct(model, at_itself)["y_mean"].isel(time=60)[0], first[0])


def _moved(panel, node, gap):
    return panel.sel(node=[node]).assign_coords(
        node=[f"{node}{gap:g}"], lat=("node", panel["lat"].sel(node=[node]).values + gap)
    )


def test_a_field_that_is_fitted_anew_looks_at_its_places_anew():
    panel = field_panel(missing=0.1)
    data = field_data(panel, context=3)
    model = built(small_field(), data)
    batch = next(iter(data.train_dataloader()))
    before = model.predictor.neighbourhoods.of(batch["static"], batch["ever"])[0].static
    data = field_data(panel.where((panel["node"] != "a") | (panel["time"] < panel["time"][9])), context=3)
    data.setup("fit")
    model.prepare(data)
    assert not torch.equal(before, model.predictor.neighbourhoods.of(batch["static"], batch["ever"])[0].static)
