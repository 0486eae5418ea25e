"""Files: what is written comes back equal, nothing is ever half there, and refusals say what to do."""

import warnings

import numpy as np
import pytest
import xarray as xr
from helpers import make_forecast, make_panel, refusal

from stgate.errors import StoreError
from stgate.io import store
from stgate.io.readers import open_panel

FORMATS = pytest.mark.parametrize("suffix", [".nc", ".zarr"])


def listing(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@FORMATS
def test_a_panel_comes_back_equal(suffix, tmp_path):
    panel = make_panel(steps=30)
    back = open_panel(store.write(panel, tmp_path / f"p{suffix}"))
    xr.testing.assert_identical(back.load(), panel)
    assert back["y"].dtype == np.float32 and listing(tmp_path) == [f"p{suffix}"]


@FORMATS
def test_a_panel_on_model_time_with_members_comes_back_equal(suffix, tmp_path):
    panel = make_panel(steps=30).expand_dims(member=[0, 1]).assign_coords(time=np.arange(30) * 5 * 0.01)
    panel["time"].attrs["units"] = "1"
    back = open_panel(store.write(panel, tmp_path / f"p{suffix}"))
    xr.testing.assert_identical(back.load(), panel)


@FORMATS
def test_a_forecast_comes_back_equal_with_its_lead_times(suffix, tmp_path):
    forecast = make_forecast()
    back = store.open_forecast(store.write(forecast, tmp_path / f"f{suffix}"))
    xr.testing.assert_identical(back.load(), forecast)
    assert back["lead_time"].dtype.kind == "m" and back["valid_time"].dtype.kind == "M"


@pytest.mark.parametrize("suffixes", [(".nc", ".zarr"), (".zarr", ".nc"), (".nc", ".nc"), (".zarr", ".zarr")])
def test_what_was_read_can_be_cut_and_written_again(suffixes, tmp_path):
    first = store.open_dataset(store.write(make_panel(steps=30), tmp_path / f"a{suffixes[0]}"))
    part = first.isel(time=slice(3, 20))
    xr.testing.assert_identical(store.open_dataset(store.write(part, tmp_path / f"b{suffixes[1]}")).load(), part.load())


@FORMATS
def test_an_existing_result_is_kept_unless_told_otherwise(suffix, tmp_path):
    one, two = make_panel(steps=30), make_panel(steps=40, seed=1)
    path = store.write(one, tmp_path / f"p{suffix}")
    assert "--overwrite" in refusal(StoreError, store.write, two, path)
    xr.testing.assert_identical(store.open_dataset(path).load(), one)
    store.write(two, path, overwrite=True)
    xr.testing.assert_identical(store.open_dataset(path).load(), two)
    assert listing(tmp_path) == [path.name]


@FORMATS
def test_a_panel_can_be_written_over_the_file_it_was_read_from(suffix, tmp_path):
    path = store.write(make_panel(steps=30), tmp_path / f"p{suffix}")
    store.write(store.open_dataset(path) * 2, path, overwrite=True)
    np.testing.assert_array_equal(store.open_dataset(path)["y"].values, make_panel(steps=30)["y"].values * 2)


@FORMATS
def test_a_write_that_fails_leaves_neither_half_a_file_nor_a_temporary(suffix, tmp_path):
    unwritable = make_panel(steps=30)
    unwritable["u"].attrs["maker"] = object()
    with pytest.raises(StoreError, match="files do not hold all of it"):
        store.write(unwritable, tmp_path / f"p{suffix}")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_was_half_written_is_removed_and_never_seen(kind, tmp_path):
    with pytest.raises(KeyboardInterrupt), store.atomic(tmp_path / "p") as temporary:
        if kind == "folder":
            temporary.mkdir()
        (temporary / "half" if kind == "folder" else temporary).write_text("half")
        assert not (tmp_path / "p").exists() and len(listing(tmp_path)) == 1
        raise KeyboardInterrupt
    assert listing(tmp_path) == []


@FORMATS
def test_a_write_that_fails_leaves_what_was_there(suffix, tmp_path):
    panel = make_panel(steps=30)
    path = store.write(panel, tmp_path / f"p{suffix}")
    unwritable = panel.assign_attrs(maker=object())
    with pytest.raises(StoreError, match="files do not hold all of it"):
        store.write(unwritable, path, overwrite=True)
    xr.testing.assert_identical(store.open_dataset(path).load(), panel)
    assert listing(tmp_path) == [path.name]


def test_an_unknown_suffix_is_answered_with_those_known(tmp_path):
    for message in (
        refusal(StoreError, store.write, make_panel(steps=4), tmp_path / "p.h5"),
        refusal(StoreError, store.open_dataset, tmp_path / "p.h5"),
        refusal(StoreError, store.open_dataset, tmp_path / "p"),
    ):
        assert ".nc" in message and ".zarr" in message


def test_a_missing_folder_is_answered_with_how_to_make_it(tmp_path):
    assert f"mkdir -p {tmp_path / 'no'}" in refusal(
        StoreError, store.write, make_panel(steps=4), tmp_path / "no" / "p.nc"
    )
    assert str(tmp_path / "no") in refusal(StoreError, store.open_dataset, tmp_path / "no" / "p.nc")


def test_a_missing_file_is_answered_with_its_neighbour(tmp_path):
    assert "holds no .nc or .zarr" in refusal(StoreError, store.open_dataset, tmp_path / "pm25.nc")
    (tmp_path / "pm25.zarr").mkdir()
    (tmp_path / "notes.txt").touch()
    assert "did you mean pm25.zarr?" in refusal(StoreError, store.open_dataset, tmp_path / "pm25.nc")


@FORMATS
def test_a_file_of_something_else_is_refused_in_one_line(suffix, tmp_path):
    path = tmp_path / f"p{suffix}"
    path.write_text("This is a letter, not data.\n" * 20)
    assert str(path) in refusal(StoreError, store.open_dataset, path)
    empty = tmp_path / f"empty{suffix}"
    empty.mkdir()
    assert str(empty) in refusal(StoreError, store.open_dataset, empty)


def test_half_a_netcdf_file_is_refused_in_one_line(tmp_path):
    path = store.write(make_panel(), tmp_path / "p.nc")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "not a readable netCDF file" in refusal(StoreError, open_panel, path)


def test_a_netcdf_file_with_spoilt_values_is_refused_in_one_line(tmp_path):
    path = store.write(make_panel(steps=4000), tmp_path / "p.nc")
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = b"\xff" * third
    path.write_bytes(content)
    assert "not a readable netCDF file" in refusal(StoreError, open_panel, path)


def test_a_zarr_store_with_spoilt_values_is_refused_in_one_line(tmp_path):
    path = store.write(make_panel(steps=30), tmp_path / "p.zarr")
    for chunk in (path / "y" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"spoilt")
    assert "not a readable zarr store" in refusal(StoreError, open_panel, path)


def test_writing_a_store_is_silent(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.write(make_forecast(), tmp_path / "f.zarr")
        store.open_dataset(tmp_path / "f.zarr").load()


def test_the_cards_are_found_here():
    assert store.cards_folder().is_dir()


def installation(tmp_path, monkeypatch):
    (tmp_path / "stgate" / "configs").mkdir(parents=True)
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path / package)
    return tmp_path / "stgate"


def test_cards_come_from_the_wheel_else_from_the_checkout_else_are_missed(tmp_path, monkeypatch):
    package = installation(tmp_path, monkeypatch)
    assert "install stgate again" in refusal(StoreError, store.cards_folder)
    (tmp_path / "datasets").mkdir()
    assert store.cards_folder() == tmp_path / "datasets"
    (package / "cards").mkdir()
    assert store.cards_folder() == package / "cards"


def test_a_config_goes_by_its_path_or_by_its_packaged_name(tmp_path, monkeypatch):
    configs = installation(tmp_path, monkeypatch) / "configs"
    for name in ("beijing-pm25-gated-rnn", "lorenz96-gated-rnn"):
        (configs / f"{name}.yaml").touch()
    own = tmp_path / "mine.yaml"
    own.touch()
    assert store.config_path(str(own)) == own
    assert store.config_path("lorenz96-gated-rnn") == configs / "lorenz96-gated-rnn.yaml"
    assert "did you mean lorenz96-gated-rnn?" in refusal(StoreError, store.config_path, "lorenz-gated-rnn")
    assert "known: beijing-pm25-gated-rnn, lorenz96-gated-rnn" in refusal(StoreError, store.config_path, "zzz")


def test_zarr_keeps_the_order_of_the_variables(tmp_path):
    panel = make_panel()
    ordered = xr.Dataset({name: panel["y"] for name in ("zeta", "alpha", "mid")})
    store.write(ordered, tmp_path / "p.zarr")
    opened = open_panel(tmp_path / "p.zarr")
    assert list(opened.data_vars) == ["zeta", "alpha", "mid"]
    assert opened.attrs == ordered.attrs


@pytest.mark.parametrize("name", ["thesis.zarr", "thesis.nc"])
def test_overwrite_spares_a_folder_that_is_no_store(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "chapter.txt").write_text("precious")
    with pytest.raises(StoreError, match="not a zarr store"):
        store.write(make_panel(), tmp_path / name, overwrite=True)
    assert (tmp_path / name / "chapter.txt").read_text() == "precious"
