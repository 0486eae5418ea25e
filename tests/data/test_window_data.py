"""The data module: parts that share no target row, scales of what training observed, batches that can be told again."""

import helpers
import numpy as np
import pytest
import torch
import xarray as xr
from helpers import make_panel, refusal

from stgate.data.window_data import WindowData
from stgate.errors import PanelError, RequestError, StgateError
from stgate.io.store import write

PARTS = ("train", "validation", "calibration", "test")


def make_data(panel=None, **options):
    """Windows of 200 steps: longer ones than elsewhere, so that parts have edges to look at."""
    panel = make_panel(steps=200) if panel is None else panel
    return helpers.make_data(panel, **{"window": 12, "horizon": 6, **options})


def origins(loader) -> list[tuple[int, int]]:
    return [tuple(o) for batch in loader for o in batch["origin"].tolist()]


def on_model_time(members=1) -> xr.Dataset:
    panel = make_panel(steps=200).drop_vars(["lat", "lon"]).assign_coords(time=np.arange(200) * 0.05)
    panel["time"].attrs["units"] = "1"
    return panel if members == 1 else panel.expand_dims(member=members)


def test_properties_work_before_setup():
    assert make_data().spec.nodes == ("a", "b", "c")
    assert make_data().series.values.shape == (1, 200, 3, 1)
    assert make_data().parts.train == (0, 120)
    assert make_data().panel.sizes["time"] == 200
    assert make_data().statistics().center.shape == (1,)


def test_the_calendar_is_what_the_training_part_has_seen_whole():
    panel = make_panel(steps=400)
    assert make_data(panel, split=(0.5, 0.1, 0.2, 0.2)).spec.calendar == ("hour", "weekday")
    assert make_data(panel, split=(0.3, 0.3, 0.2, 0.2)).spec.calendar == ("hour",)  # 120 hours of 400


def test_the_spec_says_what_was_asked_for(panel):
    data = make_data(panel, future_covariates=["u"], static_covariates=["lat", "lon"])
    spec = data.spec
    assert (spec.targets, spec.past_covariates, spec.future_covariates) == (("y",), (), ("u",))
    assert spec.static_covariates == ("lat", "lon") and spec.units == {"y": "ug/m3", "u": "1"}
    assert (spec.step, spec.time, spec.window, spec.horizon, spec.boundary) == (3600.0, "calendar", 12, 6, "open")
    assert spec.calendar == ("hour", "weekday")
    ring = make_data(on_model_time().assign_attrs(boundary="periodic")).spec
    assert (ring.time, ring.time_units, ring.boundary, ring.calendar) == ("model", "1", "periodic", ())
    assert ring.step == pytest.approx(0.05)


def test_a_panel_and_its_file_give_the_same_batches(tmp_path):
    panel = make_panel(steps=200)
    path = write(panel, tmp_path / "p.nc")
    for one, other in zip(make_data(panel).train_dataloader(), make_data(str(path)).train_dataloader(), strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_scales_come_from_what_training_observed():
    panel = make_panel(steps=200)
    found = make_data(panel, past_covariates=["u"], static_covariates=["lat"]).statistics()
    train = panel.isel(time=slice(0, 120))
    for channel, name in enumerate(("y", "u")):
        values = train[name].values.astype("float64")
        assert float(found.center[channel]) == pytest.approx(np.nanmean(values), rel=1e-5)
        assert float(found.scale[channel]) == pytest.approx(np.nanstd(values), rel=1e-5)
    np.testing.assert_allclose(found.node_scale[:, 0], train["y"].std("time"), rtol=1e-5)
    assert float(found.static_center) == pytest.approx(40.1)
    assert float(found.static_scale) == pytest.approx(np.std([40, 40.1, 40.2]), rel=1e-4)


def test_what_comes_after_training_changes_no_scale():
    """Trap 8: a scaler fitted on all data."""
    panel = make_panel(steps=200)
    other = panel.where(panel["time"] < panel["time"][120], panel * 100 - 7)
    one, two = (make_data(p, past_covariates=["u"]).statistics() for p in (panel, other))
    for field in ("center", "scale", "node_scale"):
        assert torch.equal(getattr(one, field), getattr(two, field))


def test_a_constant_variable_has_a_scale_of_one():
    panel = make_panel(steps=200).assign(u=lambda p: xr.zeros_like(p["u"]) + 4)
    found = make_data(panel, past_covariates=["u"]).statistics()
    assert (float(found.center[1]), float(found.scale[1])) == (4.0, 1.0)


def test_a_station_whose_height_is_unknown_does_not_hide_the_others():
    panel = make_panel(steps=200).assign_coords(height=("node", [1.0, np.nan, 3.0]))
    found = make_data(panel, static_covariates=["height"]).statistics()
    assert (float(found.static_center), float(found.static_scale)) == (2.0, 1.0)


def test_a_variable_that_training_never_observes_is_refused():
    panel = make_panel(steps=200)
    panel["u"] = panel["u"].where(panel["time"] >= panel["time"][150])
    with pytest.raises(PanelError, match="`u`: never observed in the training part"):
        make_data(panel, past_covariates=["u"]).statistics()


@pytest.mark.parametrize("members", [1, 3])
def test_no_row_is_a_target_in_two_parts(members):
    data = make_data(on_model_time(members))
    rows = {}
    for part in PARTS:
        loader = data.part_dataloader(part)
        rows[part] = {(m, r + lead) for m, r in origins(loader) for lead in range(1, 7)}
        start, stop = getattr(data.parts, part)
        assert all(start <= r < stop for _, r in rows[part])
    assert sum(map(len, rows.values())) == len(set.union(*rows.values()))


def test_inputs_may_precede_a_part_so_that_its_first_row_is_forecast():
    data = make_data(make_panel(steps=200, missing=0))
    for part in PARTS[1:]:
        assert origins(data.part_dataloader(part))[0] == (0, getattr(data.parts, part)[0] - 1)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 1000])
def test_evaluation_drops_nothing_and_keeps_the_order(batch_size):
    """Trap 8: drop_last in evaluation loaders."""
    data = make_data(make_panel(steps=200, missing=0), batch_size=batch_size)
    for part, loader in (
        ("validation", data.val_dataloader()),
        ("calibration", data.part_dataloader("calibration")),
        ("test", data.test_dataloader()),
        ("test", data.predict_dataloader()),
    ):
        start, stop = getattr(data.parts, part)
        assert origins(loader) == [(0, r) for r in range(start - 1, stop - 6)]


def test_training_serves_each_window_once_in_another_order():
    data = make_data(make_panel(steps=200, missing=0))
    served = origins(data.train_dataloader())
    assert sorted(served) == [(0, r) for r in range(11, 114)] and served != sorted(served)


def test_a_stride_thins_training_alone():
    data = make_data(make_panel(steps=200, missing=0), every=5)
    assert sorted(origins(data.train_dataloader())) == [(0, r) for r in range(11, 114, 5)]
    assert len(origins(data.test_dataloader())) == 25


def test_the_same_seed_gives_the_same_batches_and_another_epoch_others():
    def epoch(seed, number):
        loader = make_data(seed=seed).train_dataloader()
        loader.sampler.set_epoch(number)
        return tuple(origins(loader))

    assert epoch(1, 0) == epoch(1, 0)
    assert len({epoch(s, e) for s in (1, 2) for e in (0, 1)}) == 4


def test_an_absent_part_has_no_batches():
    data = make_data(split=[0.7, 0, 0, 0.3])
    data.setup()
    assert data.val_dataloader() == [] and data.part_dataloader("calibration") == []
    assert len(origins(data.test_dataloader())) > 0


def refused(kind, panel=None, **options) -> str:
    return refusal(kind, lambda: make_data(panel, **options).setup())


@pytest.mark.parametrize("steps", [5, 17])
def test_a_panel_without_room_for_a_window_is_refused_with_what_it_needs(steps):
    assert f"{steps} steps" in refused(PanelError, make_panel(steps=steps, missing=0))
    assert "need 18" in refused(PanelError, make_panel(steps=steps, missing=0))


@pytest.mark.parametrize("steps", [18, 30, 50])
def test_a_part_without_room_for_a_window_is_named(steps):
    assert " part has " in refused(PanelError, make_panel(steps=steps, missing=0))


def test_a_part_that_observes_no_target_is_named():
    panel = make_panel(steps=200)
    dark = panel.where(panel["time"] < panel["time"][165])
    assert "never observed in any window of the test part" in refused(PanelError, dark)


@pytest.mark.parametrize(
    "roles",
    [
        {"targets": ["y", "y"]},
        {"targets": ["y"], "past_covariates": ["y"]},
        {"targets": ["u"], "past_covariates": ["y"], "future_covariates": ["y"]},
    ],
)
def test_one_variable_has_one_role(roles):
    assert "`y`: given" in refused(RequestError, **roles)


def test_model_time_has_no_calendar():
    assert "model time" in refused(RequestError, on_model_time(), calendar=["hour"])


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "3", np.nan])
@pytest.mark.parametrize("option", ["window", "horizon", "train_horizon", "batch_size", "every", "eval_every"])
def test_counts_are_whole_and_at_least_one(option, bad):
    assert option in refused(RequestError, **{option: bad})


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("num_workers", bad) for bad in (-1, 1.5, True, "2", None)],
        *[("seed", bad) for bad in (1.5, None, "a")],
        *[("max_memory", bad) for bad in (0, -1.0, np.nan, "a", [1])],
    ],
)
def test_other_options_out_of_range_are_named(option, bad):
    assert f"{option} {bad}" in refused(RequestError, **{option: bad}).replace("'", "")


def test_a_memory_map_that_cannot_be_written_is_named(tmp_path):
    write(make_panel(steps=200), tmp_path / "panel.zarr")
    (tmp_path / "file").write_text("in the way")
    data = make_data(tmp_path / "panel.zarr", max_memory=0.001, memory_map=tmp_path / "file")
    with pytest.raises(RequestError, match=r"memory_map .*file: .*; give a folder that is writable"):
        data.setup()


@pytest.mark.parametrize("role", ["targets", "past_covariates", "future_covariates", "static_covariates"])
def test_an_unknown_variable_is_answered_with_the_nearest(role):
    options = {role: ["pm2.5"]}
    panel = make_panel(steps=200).rename(u="pm25")
    assert "`pm2.5`" in refused(PanelError, panel, **options)
    assert "did you mean pm25?" in refused(PanelError, panel, **options)


@pytest.mark.parametrize("role", ["targets", "past_covariates", "future_covariates"])
@pytest.mark.parametrize("name", ["lat", "elevation"])
def test_what_does_not_change_in_time_is_no_series(role, name):
    panel = make_panel(steps=200).assign(elevation=("node", [1.0, 2.0, 3.0]))
    assert f"`{name}`" in refused(PanelError, panel, **{role: [name]})


def test_what_changes_in_time_is_not_static():
    with pytest.raises(StgateError, match="`u`"):
        make_data(static_covariates=["u"]).setup()


def test_text_is_no_static_covariate():
    panel = make_panel(steps=200).assign_coords(kind=("node", ["urban", "rural", "urban"]))
    with pytest.raises(StgateError, match="`kind`"):
        make_data(panel, static_covariates=["kind"]).setup()


def test_a_broken_panel_is_refused_before_any_window_is_cut():
    assert "row 6" in refused(PanelError, make_panel(steps=200).drop_isel(time=6))
    silent = make_panel(steps=200)
    silent["y"] = silent["y"].where(silent["node"] != "b")
    assert "never observed at node 'b'" in refused(PanelError, silent)


@pytest.mark.parametrize(("nodes", "expected"), [(4, 64), (256, 64), (1000, 16), (5000, 4)])
def test_batches_of_many_nodes_hold_fewer_windows(nodes, expected):
    panel = make_panel(steps=60, nodes=tuple(range(nodes)))
    data = WindowData(panel, targets="y", window=3, horizon=2)
    data.setup()
    assert data.batch_size == expected
    given = WindowData(panel, targets="y", window=3, horizon=2, batch_size=7)
    given.setup()
    assert given.batch_size == 7
