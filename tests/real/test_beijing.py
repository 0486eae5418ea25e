"""The twelve station files of Beijing become one panel, and persistence reproduces its published figures."""

import pytest
from helpers import card_command

import stgate

FIGURES = {1: (10.2, 19.4), 3: (21.1, 38.4), 6: (31.8, 54.8), 12: (44.2, 72.3), 24: (58.2, 88.3)}


@pytest.fixture(scope="module")
def beijing(shared, tmp_path_factory):
    from stgate.__main__ import main

    out, folder = tmp_path_factory.mktemp("beijing") / "air.nc", shared / "data" / "beijing_air"
    command = [*card_command("beijing_air", folder, out), "--coords", folder / "stations.csv"]
    assert main([str(word) for word in command]) == 0
    return out


def test_twelve_tables_become_one_panel_with_the_cards_command(beijing, stgate_command):
    panel = stgate.open_panel(beijing)
    assert panel.sizes == {"time": 35064, "node": 12}
    assert float(panel["pm25"].isnull().mean()) == pytest.approx(0.021, abs=5e-4)
    assert float(panel["CO"].isnull().mean()) == pytest.approx(0.049, abs=5e-4)
    assert float(panel["O3"].isnull().mean()) == pytest.approx(0.032, abs=5e-4)
    assert "lat" in panel.coords
    code, out, _ = stgate_command("data", "check", beijing)
    assert code == 0 and "node  12: Aotizhongxin" in out


def test_persistence_reproduces_its_figures_to_the_printed_digit(beijing, tmp_path):
    from stgate.__main__ import main

    data = [
        "--data.panel",
        str(beijing),
        "--data.targets",
        "[pm25]",
        "--data.split",
        "[2014-11-01,2015-03-01,2016-03-01]",
    ]
    assert main(["fit", "--model", "Persistence", *data, "--data.every", "24", "--out", str(tmp_path / "run")]) == 0
    span = ["--from", "2016-03-01", "--to", "2017-02-28", "--levels", "0.9"]
    checkpoint = ["--checkpoint", str(tmp_path / "run" / "best.ckpt")]
    assert main(["backtest", str(beijing), *checkpoint, *span, "--out", str(tmp_path / "hindcast.nc")]) == 0
    hindcast = stgate.open_forecast(tmp_path / "hindcast.nc")
    scores = stgate.evaluate(hindcast, by="lead_time")
    for hour, (mae, rmse) in FIGURES.items():
        at = scores.isel(lead_time=hour - 1)
        assert f"{float(at['mae']):.1f}" == f"{mae:.1f}"
        assert f"{float(at['rmse']):.1f}" == f"{rmse:.1f}"
    day = scores.isel(lead_time=23)
    assert (round(float(day["mae"]), 3), round(float(day["rmse"]), 3)) == (58.176, 88.252)
