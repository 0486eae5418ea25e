"""What a forecaster remembers of its panel, and which other panels it takes."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr
from helpers import make_panel, refusal, says

from stgate.errors import PanelError
from stgate.schema.spec import PanelSpec


def whole(**options):
    return make_panel(steps=12, missing=0, **options)


def make_spec(panel: xr.Dataset, **changes) -> PanelSpec:
    spec = PanelSpec(
        targets=("y",),
        nodes=tuple(panel["node"].values.tolist()),
        step=3600.0,
        time="calendar",
        window=4,
        horizon=2,
        future_covariates=("u",),
        static_covariates=("lat", "lon"),
        calendar=("hour",),
        units={"y": "ug/m3"},
    )
    return dataclasses.replace(spec, **changes)


@pytest.mark.parametrize("nodes", [("a", "b", "c"), (7, 8, 9)])
def test_a_spec_survives_json(nodes):
    spec = make_spec(whole(), nodes=nodes)
    assert PanelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_spec_knows_its_channels_and_its_step():
    spec = make_spec(whole(), past_covariates=("w",))
    assert spec.channels == ("y", "w", "u")
    assert spec.time_step == np.timedelta64(1, "h")
    assert make_spec(whole(), time="model", step=0.05).time_step == 0.05


def test_a_panel_with_other_nodes_is_refused_with_their_names():
    spec = make_spec(whole())
    says(refusal(PanelError, spec.check, whole().isel(node=[0, 2])), "`node`", "lacks 'b'")
    other = whole().assign_coords(node=["a", "b", "d"])
    says(refusal(PanelError, spec.check, other), "lacks 'c'", "has unknown 'd'", "sel(node=")


def test_permuted_nodes_are_put_in_the_order_of_the_spec():
    panel, spec = whole(), make_spec(whole())
    xr.testing.assert_identical(spec.check(panel.isel(node=[2, 0, 1])), panel)


def test_another_step_or_another_kind_of_time_is_refused():
    spec = make_spec(whole())
    message = refusal(PanelError, spec.check, whole().isel(time=slice(None, None, 2)))
    says(message, "`time`", "step is 2h", "steps of", "resample")
    says(refusal(PanelError, spec.check, whole().assign_coords(time=np.arange(12.0))), "model time", "calendar time")
    model = make_spec(whole(), time="model", step=0.1)
    slower = whole().assign_coords(time=np.arange(12) * 0.2)
    says(refusal(PanelError, model.check, slower), "0.2", "0.1")


def test_a_missing_variable_is_refused_with_the_nearest_name():
    says(refusal(PanelError, make_spec(whole()).check, whole().rename(u="uu")), "`u`", "did you mean uu?")


def test_a_panel_of_a_single_time_is_refused_by_a_spec_in_one_line():
    says(refusal(PanelError, make_spec(whole()).check, whole().isel(time=[0])), "`time`")
