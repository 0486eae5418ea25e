"""`stgate mask`: the gaps are exact, what was hidden is kept, and slips are one line."""

import numpy as np
import pytest

import stgate


@pytest.fixture
def saved(tmp_path, panel):
    stgate.write(panel, tmp_path / "panel.nc")
    return tmp_path / "panel.nc"


def test_a_masked_panel_holds_its_gaps_and_what_was_hidden(stgate_command, tmp_path, saved):
    out = tmp_path / "masked.nc"
    given = ("--variable", "y", "--pattern", "block", "--rate", 0.3, "--length", 6, 12, "--seed", 1)
    code, printed, err = stgate_command("mask", saved, *given, "--out", out)
    before, after = stgate.open_panel(saved), stgate.open_panel(out)
    seen = int(before["y"].notnull().sum())
    assert code == 0 and printed == f"y: masked {round(0.3 * seen):,} of {seen:,} observed entries\n"
    assert err == f"wrote {out}\n"
    np.testing.assert_array_equal(after["y"].fillna(after["y_hidden"]), before["y"])
    assert after["y_hidden"].attrs["pattern"] == "block" and after["y_hidden"].attrs["units"] == "ug/m3"
    np.testing.assert_array_equal(after["u"], before["u"])
    assert "mask" in after.attrs["history"]


def test_a_second_mask_keeps_what_the_first_one_hid(stgate_command, tmp_path, saved):
    given = ("--variable", "y", "--rate", 0.3)
    assert stgate_command("mask", saved, *given, "--out", tmp_path / "1.nc")[0] == 0
    assert stgate_command("mask", tmp_path / "1.nc", *given, "--seed", 2, "--out", tmp_path / "2.nc")[0] == 0
    twice, before = stgate.open_panel(tmp_path / "2.nc"), stgate.open_panel(saved)
    np.testing.assert_array_equal(twice["y"].fillna(twice["y_hidden"]), before["y"])
    assert not bool((twice["y"].notnull() & twice["y_hidden"].notnull()).any())


def test_neighbourhoods_come_from_coordinates(stgate_command, tmp_path, saved):
    given = ("--variable", "y", "--pattern", "spatiotemporal_block", "--rate", 0.1, "--neighbours", 1)
    assert stgate_command("mask", saved, *given, "--out", tmp_path / "m.zarr")[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("--rate",)),
        (("--rate", 0.1), ("--variable", "y, u")),
        (("--rate", 0.1, "--variable", "z"), ("--variable z",)),
        (("--rate", 2, "--variable", "y"), ("rate 2", "between 0 and 1")),
        (("--rate", 0.1, "--variable", "y", "--pattern", "bloc"), ("did you mean block?",)),
        (("--rate", 0.1, "--variable", "y", "--length", 1, 2, 3), ("--length 1 2 3",)),
        (("--rate", 0.1, "--variable", "y", "--pattern", "outage", "--start", "1.3.2020"), ("1.3.2020", "year first")),
    ],
)
def test_a_slip_is_one_line_and_leaves_nothing(stgate_command, tmp_path, saved, options, words):
    code, out, err = stgate_command("mask", saved, *options, "--out", tmp_path / "m.nc")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    for word in words:
        assert word in err
    assert not (tmp_path / "m.nc").exists()
