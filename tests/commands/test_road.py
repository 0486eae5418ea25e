"""The whole road by the command: simulate, fit, forecast, backtest, evaluate, plot; every packaged config runs."""

import json
from importlib import resources
from pathlib import Path

import pytest
import yaml
from helpers import make_panel

import stgate

SIZES = {
    "GatedRNN": ("--model.hidden", 4, "--data.every", 40),
    "STHSepNet": ("--model.hidden", 4, "--model.neighbours", 3, "--data.every", 40),
    "CGLUBNF": ("--model.width", 16, "--data.context", 8, "--model.neighbours", 2),
}
"""What makes a packaged config small."""
CONFIGS = sorted(Path(str(resources.files("stgate") / "configs")).glob("*.yaml"))


def test_the_road_from_simulation_to_pictures(stgate_command, tmp_path):
    def run(*arguments):
        code, out, err = stgate_command(*arguments)
        assert code == 0, err
        return out

    panel, checkpoint, hindcast = tmp_path / "l96.zarr", tmp_path / "run" / "best.ckpt", tmp_path / "hindcast.zarr"
    run("simulate", "lorenz96", "--nodes", 8, "--duration", 40, "--members", 2, "--out", panel)
    data = ("--data.panel", panel, "--data.targets", "[x]", "--data.window", 4, "--data.horizon", 10)
    model = (
        "--model",
        "GatedRNN",
        "--model.hidden",
        8,
        "--model.rollout",
        "RollOut",
        "--model.rollout.unroll",
        3,
        "--model.halo",
        2,
    )
    run("fit", *model, *data, "--trainer.max_epochs", 1, "--calibration", "split", "--out", tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv"}

    run("forecast", panel, "--checkpoint", checkpoint, "--out", tmp_path / "forecast.nc")
    forecast = stgate.open_forecast(tmp_path / "forecast.nc")
    assert forecast.sizes == {"member": 2, "init_time": 1, "lead_time": 10, "node": 8, "quantile": 5}
    assert forecast.attrs["calibration"] == "split conformal per lead time, per missingness group"

    run("backtest", panel, "--checkpoint", checkpoint, "--from", 35, "--every", 10, "--out", hindcast)
    table = run("evaluate", hindcast)
    for word in ("GatedRNN", "rmse", "crps", "coverage_90", "width_90", "vpt"):
        assert word in table
    rows = json.loads(run("evaluate", hindcast, "--by", "lead_time", "--json"))
    assert [round(r["lead_time"], 6) for r in rows] == [round(0.05 * k, 6) for k in range(1, 11)]
    run("evaluate", hindcast, "--by", "observed", "--out", tmp_path / "scores.csv")
    assert "at origin" in (tmp_path / "scores.csv").read_text()

    again = tmp_path / "again.ckpt"
    told = run("calibrate", panel, "--checkpoint", checkpoint, "--from", 20, "--to", 34, "--by", "node", "--out", again)
    assert "split conformal per lead time, per node" in told and "exchangeable" in told
    for kind in ("rolling", "adaptive"):
        options = ("--calibration", kind, "--calibration-window", 60, "--from", 38, "--out", tmp_path / f"{kind}.nc")
        run("backtest", panel, "--checkpoint", again, *options)
        assert stgate.open_forecast(tmp_path / f"{kind}.nc").attrs["calibration"].startswith(f"{kind} conformal")

    for kind in ("fan", "hovmoeller"):
        picture = tmp_path / f"{kind}.png"
        assert run("plot", hindcast, "--kind", kind, "--out", picture).strip() == str(picture)
        assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_every_packaged_config_fits(stgate_command, tmp_path, config):
    """Tiny, but by its own name and with its own classes and options, so that configs cannot rot."""
    given = yaml.safe_load(config.read_text())
    options, size = given["data"], SIZES[given["model"]["class_path"]]
    names = [*options["targets"], *options.get("past_covariates", [])]
    panel = make_panel(steps=400, nodes=tuple("abcdef"))
    stgate.write(panel[[]].assign({n: panel["y"] + i for i, n in enumerate(names)}), tmp_path / "panel.nc")
    small = (*size, "--trainer.max_epochs", 1, "--data.horizon", 6)
    code, _, err = stgate_command(
        "fit", "--config", config.stem, "--data.panel", tmp_path / "panel.nc", *small, "--out", tmp_path / "run"
    )
    assert code == 0, err
    assert "calibrated" in err


def test_every_card_says_where_its_data_come_from():
    cards = sorted(stgate.io.store.cards_folder().glob("*/card.yaml"))
    assert cards
    for card in cards:
        content = yaml.safe_load(card.read_text())
        assert content["name"] == card.parent.name
        assert {"title", "source", "licence", "citation", "reader", "split"} <= content.keys()


def test_data_check_prints_a_summary(stgate_command, tmp_path):
    stgate.write(make_panel(), tmp_path / "panel.nc")
    code, out, _ = stgate_command("data", "check", tmp_path / "panel.nc")
    assert code == 0
    for word in ("400 steps of h", "3: a, b, c", "ug/m3", "%", "longest gap"):
        assert word in out


def test_tables_become_a_panel_with_one_command(stgate_command, tmp_path):
    for station in ("north", "south"):
        rows = "".join(f"2020-01-01 {h:02d}:00,{h},{2 * h}\n" for h in range(24) if h != 5)
        (tmp_path / f"{station}.csv").write_text("time,PM2.5,NO2\n" + rows)
    files = (tmp_path / "north.csv", tmp_path / "south.csv")
    named = ("--freq", "h", "--rename", "PM2.5=pm25", "--units", "pm25=ug/m3", "--out", tmp_path / "air.nc")
    code, _, err = stgate_command("data", "convert", *files, *named)
    assert code == 0, err
    panel = stgate.open_panel(tmp_path / "air.nc")
    assert panel.sizes == {"time": 24, "node": 2}
    assert panel["pm25"].isnull().sum() == 2
    assert panel["pm25"].attrs["units"] == "ug/m3"
