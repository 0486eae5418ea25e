"""Tables that workers of a dask cluster read: the panel of one process, and its errors in one line."""

import threading

import numpy as np
import pandas as pd
import pytest
from helpers import one_line

import stgate
from stgate.errors import PanelError, PanelWarning
from stgate.io import read_tables, readers

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def stations(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        times = pd.date_range("2020-01-01", periods=30, freq="h")
        table = pd.DataFrame({"time": times, "pm25": rng.standard_normal(30), "no2": rng.standard_normal(30)})
        table.loc[rng.random(30) < 0.2, "pm25"] = np.nan
        table.sample(frac=1, random_state=1).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_the_panel_is_that_of_one_process(stations, address, monkeypatch):
    options = {"freq": "h", "rename": {"pm25": "y"}, "units": {"y": "ug/m3"}}
    alone, threads = read_tables(str(stations / "*.csv"), **options), []
    load = readers.load_frame

    def noted(*given, **more):
        threads.append(threading.current_thread())
        return load(*given, **more)

    monkeypatch.setattr(readers, "load_frame", noted)
    assert read_tables(str(stations / "*.csv"), dask=address, **options).identical(alone)
    assert len(threads) == 3 and threading.main_thread() not in threads  # the worker has threads of its own


def test_the_command_converts_on_processes_of_its_own(stations, stgate_command):
    files, out = (stations / "a.csv", stations / "b.csv"), stations / "out.nc"
    code, _, error = stgate_command("data", "convert", *files, "--freq", "h", "--dask", "local:1", "--out", out)
    assert code == 0, error
    assert stgate.open_panel(out).drop_attrs().identical(read_tables(files, freq="h").drop_attrs())


def test_errors_and_warnings_of_workers_are_told(stations, address, stgate_command):
    (stations / "d.csv").write_text("time,pm25\n2020-01-01,1\n2020-01-02,oops\n")
    with pytest.raises(PanelError, match=r"text .*oops.* at 2020-01-02"):
        read_tables(str(stations / "*.csv"), dask=address)
    (stations / "d.csv").write_text("time,pm25,no2,\n2020-01-01,1,2,3\n")
    with pytest.warns(PanelWarning, match="column 4 has no name"):
        read_tables(str(stations / "*.csv"), freq="h", dask=address)
    arguments = ("data", "convert", stations / "a.csv", "--node", "pm25", "--out", stations / "x.nc")
    one_line(stgate_command(*arguments, "--dask", "here"), "--dask here", "give local:N")
    stgate.write(read_tables(str(stations / "[ab].csv"), freq="h"), stations / "panel.nc")
    lattice = ("data", "convert", stations / "panel.nc", "--dask", "local:1", "--out", stations / "x.nc")
    one_line(stgate_command(*lattice), "--dask", "does not apply to a lattice")
