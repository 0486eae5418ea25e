"""The cards' readers read the real files as they are."""

import shlex

import pytest

import stgate
from stgate.io.catalog import cards

SHAPES = {
    "beijing_air": (35_064, 12, "pm25"),
    "chickenpox": (522, 20, "cases"),
    "german_pm10": (4_383, 70, "pm10"),
    "irish_wind": (6_574, 12, "wind"),
    "los_loop": (2_016, 207, "speed"),
    "us_flu": (785, 10, "cases"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_cards_reader_makes_the_panel_that_it_describes(name, shared, stgate_command, tmp_path):
    folder = shared / "data" / name
    words = shlex.split(cards()[name]["reader"])[1:]
    out = words[words.index("--out") + 1]
    given = []
    for word in words:
        if word == out:
            given.append(tmp_path / out)
        elif "." in word and word[:1].isalpha() and "=" not in word:  # a file, here perhaps compressed
            given.append(folder / word if list(folder.glob(word)) else folder / f"{word}.gz")
        else:
            given.append(word)
    code, summary, err = stgate_command(*given)
    assert code == 0, err
    panel = stgate.open_panel(tmp_path / out)
    times, nodes, variable = SHAPES[name]
    assert panel.sizes["time"] == times and panel.sizes["node"] == nodes and variable in panel
    assert f"node  {nodes}" in summary
