"""Dates of tables: several columns, hours that count to 24, numbers that are dates, and formats."""

import re

import numpy as np
import pandas as pd
import pytest

from stgate.errors import PanelError, RequestError
from stgate.io import read_tables, to_panel
from stgate.io.dates import check_format

FORMS = {
    "date and clock": ("Date,Time", ["2020-02-29,22:00", "2020-02-29,23:00", "2020-03-01,00:00"], "1h", {}),
    "clock to 24": ("Date,Time", ["2020-02-29,22:00", "2020-02-29,23:00", "2020-02-29,24:00"], "1h", {}),
    "date and hour": ("date,hour", ["2020-02-29,22", "2020-02-29,23", "2020-03-01,0"], "1h", {}),
    "hour to 24": ("year,month,day,hour", ["2020,2,29,22", "2020,2,29,23", "2020,2,29,24"], "1h", {}),
    "day of year": ("year,doy,hour", ["2020,60,22", "2020,60,23", "2020,61,0"], "1h", {}),
    "NASA POWER": ("YEAR,MO,DY,HR", ["2020,2,29,22", "2020,2,29,23", "2020,3,1,0"], "1h", {}),
    "ISO at 24": ("time", ["2020-02-29T22:00", "2020-02-29T23:00", "2020-02-29T24:00"], "1h", {}),
    "format at 24": ("time", ["29.02.2020 22:00", "29.02.2020 23:00", "29.02.2020 24:00"], "1h", "%d.%m.%Y %H:%M"),
    "minutes of four digits": ("time", ["20200229 2200", "20200229 2300", "20200229 2400"], "1h", "%Y%m%d %H%M"),
}
LAST = np.datetime64("2020-03-01T00:00")


def write(tmp_path, header, rows):
    path = tmp_path / "table.csv"
    path.write_text(f"{header},node,y\n" + "".join(f"{row},a,{i}\n" for i, row in enumerate(rows)))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_times_in_several_ways_of_writing(form, tmp_path):
    header, rows, _, time_format = FORMS[form]
    options = {"time_format": time_format} if time_format else {}
    panel = read_tables(write(tmp_path, header, rows), time=header.split(","), node="node", **options)
    assert panel["time"].values[-1] == LAST and panel["y"].values.ravel().tolist() == [0, 1, 2]


def test_years_and_months_are_calendar_steps(tmp_path):
    path = write(tmp_path, "year,month", ["2019,11", "2019,12", "2020,1"])
    panel = read_tables(path, time=["year", "month"], node="node")
    assert [str(t)[:7] for t in panel["time"].values] == ["2019-11", "2019-12", "2020-01"]


@pytest.mark.parametrize(
    "rows",
    [
        ["20200131", "20200201", "20200202"],
        ["202001", "202002", "202003"],
        ["2020001", "2020002", "2020003"],
        ["2020013100", "2020013101", "2020013102"],
        ["202001310000", "202001310100", "202001310200"],
        ["29012020", "30012020", "31012020"],
        ["01292020", "01302020", "01312020"],
    ],
)
def test_numbers_that_read_as_dates_are_refused_and_the_advice_reads_them(rows, tmp_path):
    path = write(tmp_path, "time", rows)
    with pytest.raises(PanelError, match="read as dates") as refused:
        read_tables(path, node="node")
    advised = re.search(r"--time-format '(.+?)'", str(refused.value))[1]
    panel = read_tables(path, node="node", time_format=advised)
    assert panel.sizes["time"] == 3 and str(panel["time"].values[0]).startswith("2020-01")


def test_leading_zeros_of_dates_are_kept(tmp_path):
    path = write(tmp_path, "time", ["01022020", "02022020", "03022020"])
    panel = read_tables(path, node="node", time_format="%d%m%Y")
    assert panel["time"].values[0] == np.datetime64("2020-02-01")


@pytest.mark.parametrize("time_format", ["%d/%m/%Y %", "%Q", "%Y-%m-%d %H:%M%"])
def test_a_format_with_a_stray_percent_is_refused(time_format, tmp_path):
    path = write(tmp_path, "time", ["01/02/2020", "02/02/2020"])
    with pytest.raises(RequestError, match=r"time format .*write it like"):
        read_tables(path, node="node", time_format=time_format)


@pytest.mark.parametrize(
    ("time_format", "rows"),
    [
        ("%Y-%M-%d", ["2020-03-01", "2020-03-02"]),
        ("%m-%d %H:%M", ["03-01 00:00", "03-01 01:00"]),
        ("%Y %d %H:%M", ["2020 01 00:00", "2020 01 01:00"]),
        ("%Y-%m %H:%M", ["2020-01 00:00", "2020-01 01:00"]),
        ("%d/%m/%Y %I:%M", ["01/01/2020 01:00", "01/01/2020 02:00"]),
        ("%d/%m/%Y %H:%M %p", ["01/01/2020 01:00 PM", "01/01/2020 02:00 PM"]),
        ("%H:%M", ["01:00", "02:00"]),
    ],
)
def test_a_format_that_leaves_a_part_of_the_time_open_is_refused(time_format, rows, tmp_path):
    with pytest.raises(RequestError, match=r"time format .*write it like"):
        read_tables(write(tmp_path, "time", rows), node="node", time_format=time_format)


@pytest.mark.parametrize(
    "time_format", ["%d/%m/%y %I:%M %p", "%Y%j", "%G-W%V-%u", "%b %Y", "%Y", "%c", "%Y-%m-%dT%H:%M:%S%z"]
)
def test_a_whole_format_is_none_of_these(time_format):
    check_format(time_format)


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_numbers_since_1970_are_refused_and_the_advice_reads_them(unit, tmp_path):
    numbers = [(1577836800 + 3600 * i) * unit for i in range(3)]
    path = write(tmp_path, "time", numbers)
    with pytest.raises(PanelError, match=r"read as times since 1970; give --time-format %s$"):
        read_tables(path, node="node")
    times = read_tables(path, node="node", time_format="%s")["time"].values
    assert times[0] == np.datetime64("2020-01-01") and times[2] == np.datetime64("2020-01-01T02")


@pytest.mark.parametrize(
    "numbers", [[1012020, 2012020], [20200101, 20200102], [20200101.0, 20200102.0], [1577836800, 1577840400]]
)
def test_frames_in_memory_too_and_the_advice_makes_times_of_them(numbers):
    times = pd.Series(numbers)
    frame = pd.DataFrame({"time": times, "node": "a", "y": [1.0, 2.0]})
    with pytest.raises(PanelError, match=r"`time` holds numbers such as .* read as") as refused:
        to_panel(frame, time="time", node="node")
    made = eval(str(refused.value).rsplit("with ", 1)[1].split(", or")[0], {"pandas": pd, "times": times})
    assert to_panel(frame.assign(time=made), time="time", node="node")["time"].values[0] == np.datetime64("2020-01-01")


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("year,month,day,hour", ["2020,1,1,100", "2020,1,1,200"], "hours of 0 to 24; join others"),
        ("time", ["2020-01-01", ""], "row 2, nan; leave out the rows without a time"),
        ("time", ["UTC", "2020-01-01", "2020-01-02"], "row 1, 'UTC'; remove that row, such as one of units"),
        ("time", ["2020-01-01T23:00", "2020-01-01T24:30"], "row 2"),
        ("year,doy", ["2019,365", "2019,366"], "row 2"),
        ("year,month,day", ["2020,2,29", "2020,2,30"], "row 2"),
        ("Date,Time", ["2020-01-01,23:00", "2020-01-01,25:00"], "row 2"),
        ("date,month", ["2020-01-01,1", "2020-01-02,1"], "give one of both"),
    ],
)
def test_what_is_no_time_is_named_with_its_row(header, rows, message, tmp_path):
    with pytest.raises((PanelError, RequestError), match=message):
        read_tables(write(tmp_path, header, rows), time=header.split(","), node="node")


def test_model_time_stays_model_time(tmp_path):
    panel = read_tables(write(tmp_path, "time", ["0.0", "0.5", "1.0"]), node="node")
    assert panel["time"].values.tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("year,hour", "2020,5"),
        ("year,month,hour", "2020,1,5"),
        ("year,month,minute", "2020,1,5"),
        ("year,second", "2020,5"),
        ("year,month,day,minute", "2020,1,1,5"),
        ("year,doy,minute", "2020,1,5"),
    ],
)
def test_parts_that_leave_the_day_or_the_hour_open_are_refused(header, row, tmp_path):
    with pytest.raises(RequestError, match="give year month day"):
        read_tables(write(tmp_path, header, [row]), time=header.split(","), node="node")


@pytest.mark.parametrize("offset", ["Z", "+00:00", "+0000", "+00"])
def test_24_oclock_with_an_offset(offset, tmp_path):
    rows = [f"2020-02-29{clock}{offset}" for clock in ("T22:00", "T23:00", "T24:00")]
    assert read_tables(write(tmp_path, "time", rows), node="node")["time"].values[-1] == LAST


ZONED = "%Y-%m-%d %H:%M %Z"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["2024-07-02 23:00 CET", "2024-07-03 00:00 CET"], "CET in summer"),
        (["2024-07-02 23:00 WET", "2024-07-03 00:00 WET"], "WET in summer"),
        (["2024-03-30 23:00 EET", "2024-04-01 00:00 EET"], "several zones"),
        (["2024-01-02 02:00 CET", "2024-01-02 03:00 EET"], "several zones"),
        (["2024-07-02 23:00 CEST", "2024-07-03 00:00 CEST"], "not a time"),
    ],
)
def test_names_of_zones_that_do_not_tell_the_offset_are_refused(rows, words, tmp_path):
    with pytest.raises(PanelError, match=words):
        read_tables(write(tmp_path, "time", rows), node="node", time_format=ZONED)


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("GMT", 0), ("CET", 1), ("EET", 2), ("EST", -5)])
def test_names_of_zones_that_do_are_read(zone, hours, tmp_path):
    rows = [f"2024-01-02 12:00 {zone}", f"2024-01-02 13:00 {zone}"]
    panel = read_tables(write(tmp_path, "time", rows), node="node", time_format=ZONED)
    assert panel["time"].values[0] == np.datetime64("2024-01-02T12:00") - np.timedelta64(hours, "h")


@pytest.mark.parametrize(("years", "read"), [(["23", "24"], True), (["98", "99"], True), (["60", "61"], False)])
def test_years_of_two_digits_that_would_be_years_to_come_are_refused(years, read, tmp_path):
    path = write(tmp_path, "time", [f"01/01/{year}" for year in years])
    if read:
        times = read_tables(path, node="node", time_format="%d/%m/%y")["time"].values
        assert [str(t)[2:4] for t in times] == years
    else:
        with pytest.raises(PanelError, match="two digits of a year read as 2061; write all four"):
            read_tables(path, node="node", time_format="%d/%m/%y")
