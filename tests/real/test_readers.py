"""The cards' readers read the real files as they are. (That of Beijing: see `test_beijing.py`.)"""

import pytest
from helpers import card_command

import stgate

SHAPES = {
    "chickenpox": (522, 20, "cases"),
    "german_pm10": (4_383, 70, "pm10"),
    "irish_wind": (6_574, 12, "wind"),
    "los_loop": (2_016, 207, "speed"),
    "us_flu": (785, 10, "cases"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_cards_reader_makes_the_panel_that_it_describes(name, shared, stgate_command, tmp_path):
    out = tmp_path / f"{name}.nc"
    code, summary, err = stgate_command(*card_command(name, shared / "data" / name, out))
    assert code == 0, err
    panel = stgate.open_panel(out)
    times, nodes, variable = SHAPES[name]
    assert panel.sizes["time"] == times and panel.sizes["node"] == nodes and variable in panel
    assert f"node  {nodes}" in summary
