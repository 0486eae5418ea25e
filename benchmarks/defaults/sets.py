"""The records of the comparison: how each is read, which rows are scored, and which horizons count.

The last part of each record is its test part; the part before it, about as long, is the validation part. A run scores
one of the two, and everything before the scored part is its history: forecasters are fitted on the history alone. Rule
for all records: the last 15 % of the history calibrate, the 10 % before them choose the best epoch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import stgate
from benchmarks.chickenpox import panel_of as chickenpox_panel
from benchmarks.options import Options
from stgate.io import read_tables
from stgate.panels.graph import Graph

CALIBRATION, VALIDATION = 0.15, 0.10
"""Shares of the history that calibrate, and that choose the best epoch."""


@dataclasses.dataclass(frozen=True)
class Record:
    """A record of the comparison.

    Attributes:
        name: Name in the tables.
        folder: Folder of its data set; empty for a simulation.
        target: Variable to forecast.
        horizons: Leads that are scored, in steps; a forecaster is fitted to the largest.
        read: Function that reads the panel from the folder of its data set.
        validation: First row of the validation part: a time, or a row number.
        test: First row of the test part: a time, or a row number.
        step: Length of a step, in words.
        static: Node variables that a stranger would give a forecaster, such as population.
        graph: Whether the panel holds edges.
        places: Whether estimates at held-out places, and in masked gaps, are compared too.
    """

    name: str
    folder: str
    target: str
    horizons: tuple[int, ...]
    read: Callable[[Path], xr.Dataset]
    validation: str | int
    test: str | int
    step: str
    static: tuple[str, ...] = ()
    graph: bool = False
    places: bool = False


@dataclasses.dataclass(frozen=True)
class Task:
    """A record with the part of it that is scored.

    Attributes:
        record: The record.
        panel: The panel, cut at the end of the scored part.
        start: First scored row; all rows before it are the history.
        path: File of this panel.
    """

    record: Record
    panel: xr.Dataset
    start: int
    path: Path

    @property
    def values(self) -> np.ndarray:
        """The target, (time, node), NaN where it is missing."""
        return self.panel[self.record.target].transpose("time", "node").values.astype(np.float64)

    @property
    def truth(self) -> np.ndarray:
        """The target in the scored part, (time, node)."""
        return self.values[self.start :]

    @property
    def split(self) -> tuple[int, int, int]:
        """First rows of validation, calibration and scored part."""
        calibration = round((1 - CALIBRATION) * self.start)
        return calibration - round(VALIDATION * self.start), calibration, self.start

    @property
    def held_out(self) -> np.ndarray:
        """Positions of the held-out places: every seventh node by name, names sorted as text."""
        names = self.panel["node"].values.astype(str)
        return np.sort(np.argsort(names, kind="stable")[::7])

    def time_of(self, row: int) -> str:
        """Return the time of a row as text that `stgate` reads.

        Args:
            row: Number of the row.
        """
        return str(self.panel["time"].values[row])


def task_of(record: Record, options: Options, part: str) -> Task:
    """Read a record, and cut it at the end of the scored part.

    Args:
        record: The record.
        options: Options of the benchmark.
        part: `validation` or `test`.
    """
    readers = hashlib.sha1(Path(__file__).read_bytes(), usedforsecurity=False).hexdigest()[:10]
    folder = options.working("defaults") / f"panels-{readers}"
    folder.mkdir(exist_ok=True)
    whole, cut = folder / f"{record.name}.nc", folder / f"{record.name}-{part}.nc"
    if not whole.exists():
        panel = record.read(options.dataset(record.folder) if record.folder else options.data)
        panel[record.target].attrs.setdefault("long_name", record.target)
        panel.to_netcdf(whole)
    panel = stgate.open_panel(whole).load()
    first, end = (row_of(panel, start) for start in (record.validation, record.test))
    if part == "test":
        first, end = end, panel.sizes["time"]
    panel = panel.isel(time=slice(0, end))
    if not cut.exists():
        panel.to_netcdf(cut)
    return Task(record, panel, first, cut)


def row_of(panel: xr.Dataset, start: str | int) -> int:
    """Return the first row at or after a time.

    Args:
        panel: The panel.
        start: A time, or the number of the row itself.
    """
    if isinstance(start, int):
        return start
    return int(np.searchsorted(panel["time"].values, np.datetime64(start)))


def beijing(target: str) -> Callable[[Path], xr.Dataset]:
    """Return the reader of one variable of the hourly record of Beijing.

    Args:
        target: Column of the files.
    """

    def read(folder: Path) -> xr.Dataset:
        panel = read_tables(
            folder / "PRSA_Data_*.csv.gz",
            time=["year", "month", "day", "hour"],
            node="station",
            drop=["No", "wd"],
            coords=folder / "stations.csv",
        )
        return panel[[target]].rename({target: target.replace(".", "").lower()})

    return read


def german(folder: Path) -> xr.Dataset:
    """Read daily PM10 in Germany."""
    return read_tables(folder / "pm10_daily.csv.gz", time=["date"], name="pm10", coords=folder / "stations.csv")


def noaa(folder: Path) -> xr.Dataset:
    """Read daily maximum temperatures of the central United States."""
    return read_tables(folder / "tmax_f.csv.gz", time=["time"], name="tmax", coords=folder / "stations.csv")


def flu_districts(folder: Path) -> xr.Dataset:
    """Read weekly influenza counts of 140 districts, with their graph and population.

    The file has no dates and 52 weeks a year; here week follows week from 2001-01-01, so that the calendar of the last
    year is eight days early.
    """
    frame = pd.read_csv(folder / "counts.csv.gz").drop(columns=["year", "week"])
    frame.index = pd.date_range("2001-01-01", periods=len(frame), freq="7D")
    panel = stgate.to_panel(frame.astype("float64"), name="cases")
    nodes = panel["node"].values.astype(str)
    districts = pd.read_csv(folder / "districts.csv", dtype={"district": str}).set_index("district")
    people = districts.loc[nodes, "population"].to_numpy(float)
    panel = panel.assign_coords(population=("node", people, {"units": "1"}))
    edges = pd.read_csv(folder / "neighbours.csv", index_col=0)
    edges.index, edges.columns = edges.index.astype(str), edges.columns.astype(str)
    matrix = edges.loc[nodes, nodes].to_numpy(float)
    return Graph.of_matrix(panel["node"].values.tolist(), matrix).add_to(panel)


def us_flu(folder: Path) -> xr.Dataset:
    """Read weekly influenza cases of 49 states; the file has no dates, weeks are counted from an arbitrary Sunday."""
    panel = read_tables(folder / "state360.txt", name="cases", header=False, start="2010-01-03", freq="7D")
    edges = pd.read_csv(folder / "state-adj-49.txt", header=None).to_numpy(float)
    np.fill_diagonal(edges, 0)
    return Graph.of_matrix(panel["node"].values.tolist(), edges).add_to(panel)


def degrees(text: str) -> float:
    """Read an angle such as 10d15'W or 10d15'20.5"W."""
    found = re.fullmatch(r"(\d+)d(\d+)'([\d.]*)\"?[NESW]", text)
    assert found, text
    whole, minutes, seconds = found.groups()
    return (-1 if text[-1] in "SW" else 1) * (int(whole) + int(minutes) / 60 + float(seconds or 0) / 3600)


def irish(folder: Path) -> xr.Dataset:
    """Read daily wind of twelve Irish stations."""
    panel = read_tables(folder / "wind_knots.csv.gz", time=["date"], drop=["year", "month", "day"], name="wind")
    at = pd.read_csv(folder / "stations.csv", index_col="Code").loc[panel["node"].values]
    return panel.assign_coords(lat=("node", at["Latitude"].map(degrees)), lon=("node", at["Longitude"].map(degrees)))


def los_loop(folder: Path) -> xr.Dataset:
    """Read a week of traffic speeds in Los Angeles, with the road graph and positions."""
    panel = read_tables(folder / "los_speed.csv.gz", name="speed", start="2012-03-01", freq="5min")
    at = pd.read_csv(folder / "graph_sensor_locations.csv", dtype={"sensor_id": str}).set_index("sensor_id")
    at = at.loc[panel["node"].values.astype(str)]
    panel = panel.assign_coords(lat=("node", at["latitude"].to_numpy()), lon=("node", at["longitude"].to_numpy()))
    edges = pd.read_csv(folder / "los_adj.csv", header=None).to_numpy(float)
    np.fill_diagonal(edges, 0)
    return Graph.of_matrix(panel["node"].values.tolist(), edges).add_to(panel)


def chickenpox(folder: Path) -> xr.Dataset:
    """Read weekly chickenpox cases of 20 Hungarian counties, with the county graph and centroids."""
    panel = chickenpox_panel(folder)
    held = json.loads((folder / "chickenpox.json").read_text())
    names = {number: name for name, number in held["node_ids"].items()}
    nodes = panel["node"].values.tolist()
    matrix = np.zeros((len(nodes), len(nodes)))
    for source, target in held["edges"]:
        if source != target:
            matrix[nodes.index(names[source]), nodes.index(names[target])] = 1
    return Graph.of_matrix(nodes, matrix).add_to(panel)


def pacific(folder: Path) -> xr.Dataset:
    """Read monthly sea-surface temperature anomalies of the Pacific, from January 1970 on."""
    with np.load(folder / "sst_pacific.npz", allow_pickle=False) as arrays:
        sst, lat, lon = (arrays[n] for n in ("sst", "lat", "lon"))
        sst = np.where(arrays["land"], np.nan, sst)
    rows, columns = np.unique(lat), np.unique(lon)
    grid = np.full((len(sst), len(rows), len(columns)), np.nan)
    grid[:, np.searchsorted(rows, lat), np.searchsorted(columns, lon)] = sst
    time = pd.date_range("1970-01-01", periods=len(sst), freq="MS")
    return stgate.from_lattice(
        xr.Dataset({"sst": (("time", "lat", "lon"), grid)}, {"time": time, "lat": rows, "lon": columns})
    )


def sensors(_: Path) -> xr.Dataset:
    """Simulate half a year of hourly PM2.5 at 36 stations; its stations have coordinates and no elevation."""
    panel = stgate.simulate.sensor_network(stations=36, duration=4380, seed=0)[["pm25"]]
    return panel.isel(member=0, drop=True) if "member" in panel.dims else panel


HOURS, DAYS = (1, 6, 12, 24), (1, 3, 7)
RECORDS = {
    record.name: record
    for record in (
        Record("us_flu", "us_flu", "cases", (3, 5, 10, 15), us_flu, 180, 251, "week", graph=True),
        Record("irish_wind", "irish_wind", "wind", (1,), irish, "1967-01-01", "1971-01-01", "day"),
        Record(
            *("flu_districts", "flu_districts", "cases", (1, 2, 4), flu_districts, 208, 312, "week"),
            static=("population",),
            graph=True,
        ),
        Record("chickenpox", "chickenpox", "cases", (1, 4), chickenpox, "2012-01-01", "2014-01-01", "week", graph=True),
        Record("noaa_tmax", "noaa_tmax", "tmax", DAYS, noaa, "1992-01-01", "1993-01-01", "day", places=True),
        Record("german_pm10", "german_pm10", "pm10", DAYS, german, "2006-01-01", "2008-01-01", "day", places=True),
        Record("los_loop", "los_loop", "speed", (3, 6, 9, 12), los_loop, 1289, 1612, "5 minutes", graph=True),
        Record("pacific_sst", "pacific_sst", "sst", (1, 3, 6, 12), pacific, 240, 300, "month"),
        Record("sensor_network", "", "pm25", HOURS, sensors, 2628, 3504, "hour", places=True),
        *(
            Record(f"beijing_{name}", "beijing_air", name, HOURS, beijing(column), "2015-03-01", "2016-03-01", "hour")
            for name, column in (("pm25", "PM2.5"), ("wspm", "WSPM"), ("temp", "TEMP"))
        ),
    )
}
TITLES = {
    "us_flu": "influenza, US states",
    "irish_wind": "wind, Ireland",
    "flu_districts": "influenza, German districts",
    "chickenpox": "chickenpox, Hungary",
    "noaa_tmax": "highest temperature, US",
    "german_pm10": "PM10, Germany",
    "los_loop": "traffic speed, Los Angeles",
    "pacific_sst": "sea surface temperature, Pacific",
    "sensor_network": "PM2.5, simulated",
    "beijing_pm25": "PM2.5, Beijing",
    "beijing_wspm": "wind, Beijing",
    "beijing_temp": "temperature, Beijing",
}
"""Names of the records in words."""
