"""A name that is longer than file systems take is a wrong request, wherever it is given."""

import os

import pytest
from helpers import make_panel, one_line

import stgate

LONG, DEEP = "a" * 300, "/".join(["ab"] * 2000)
DATA = ("--data.panel", "panel.nc", "--data.targets", "[y]")
WORDS = {
    "config": ("fit", "--config", "LONG.yaml"),
    "config in a folder": ("fit", "--config", "LONG/a.yaml"),
    "text as a config": ("fit", "--config", "model: GatedRNN\ndata:\n  panel: LONG\n"),
    "model": ("fit", "--model", "LONG.Model", *DATA),
    "optimizer": ("fit", "--model", "GatedRNN", "--optimizer", "LONG.Adam", *DATA),
    "folder of a run": ("fit", "--model", "Persistence", *DATA, "--out", "LONG/run"),
    "folder of an automatic run": ("fit", "--model", "auto", *DATA, "--out", "LONG"),
    "folder to resume": ("fit", "--resume", "--out", "LONG"),
    "panel of a fit": ("fit", "--model", "Persistence", "--data.panel", "LONG.nc", "--data.targets", "[y]"),
    "checkpoint of a test": ("test", "--ckpt_path", "LONG/best.ckpt"),
    "checkpoint of a forecast": ("forecast", "panel.nc", "--checkpoint", "LONG", "--out", "a.nc"),
    "tables": ("data", "convert", "LONG/*.csv", "--out", "a.nc"),
    "table": ("data", "convert", "LONG.csv", "--out", "a.nc"),
    "panel": ("data", "check", "LONG.nc"),
    "result": ("data", "select", "panel.nc", "--nodes", "a", "--out", "LONG/a.nc"),
    "result of a simulation": ("simulate", "lorenz96", "--duration", "1", "--out", "LONG/a.zarr"),
    "hindcast": ("evaluate", "LONG.zarr"),
    "picture": ("plot", "panel.nc", "--out", "LONG/a.png"),
}


@pytest.mark.parametrize("long", [LONG, DEEP], ids=["long", "deep"])
@pytest.mark.parametrize("words", WORDS.values(), ids=list(WORDS))
def test_a_long_name_is_refused_in_one_line(words, long, stgate_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=60), tmp_path / "panel.nc")
    one_line(stgate_command(*(word.replace("LONG", long) for word in words)))
    assert os.listdir(tmp_path) == ["panel.nc"]
