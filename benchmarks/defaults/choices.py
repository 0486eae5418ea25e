"""What a knowledgeable user knows of each record; transforms were chosen by the ridge on the validation parts."""

from __future__ import annotations

from benchmarks.defaults.hand import YEAR, Hand

WEEKS, HOURLY, DAILY = tuple(range(9)), (0, 1, 2, 3, 4, 6, 9, 12, 18, 23, 24, 25, 47), (0, 1, 2, 3, 4, 6, 9, 13)
HOURS, DAYS = (3, 6, 12, 24, 72, 168), (3, 7, 14, 30, 90)
MONTH = (24 * YEAR, 15 * 24)
FLU = {"windows": (3, 6, 12, 26), "naive": 52, "counts": True}
HAND = {
    "us_flu": Hand("log", ((YEAR / 7, 3),), WEEKS, season=(YEAR / 7, 2), **FLU),
    "flu_districts": Hand("rate", ((52, 4),), WEEKS, season=(52, 1), **FLU),
    "chickenpox": Hand("sqrt", ((YEAR / 7, 3),), WEEKS, season=(YEAR / 7, 2), **FLU),
    "irish_wind": Hand("sqrt", ((YEAR, 2),), DAILY, DAYS),
    "noaa_tmax": Hand("none", ((YEAR, 3),), DAILY, DAYS),
    "german_pm10": Hand("none", ((YEAR, 2), (7, 2)), DAILY, DAYS, ets=False),
    "los_loop": Hand("none", ((288, 8),), (*range(7), 8, 11, 17, 23), (3, 6, 12, 36), season=(288, 3), naive=288),
    "pacific_sst": Hand("none", ((12, 1),), (*range(7), 8, 11), (3, 6, 12, 24), season=(12, 1), ets=False),
    "sensor_network": Hand("log", ((24, 4),), HOURLY, HOURS, season=(24, 0), naive=24),
    "beijing_pm25": Hand("sqrt", ((24 * YEAR, 3), (24, 3)), HOURLY, HOURS, joint=True, season=MONTH, naive=24),
    "beijing_wspm": Hand("sqrt", ((24 * YEAR, 2), (24, 4)), HOURLY, HOURS, joint=True, season=MONTH, naive=24),
    "beijing_temp": Hand("none", ((24 * YEAR, 3), (24, 4)), HOURLY, HOURS, joint=True, season=MONTH, naive=24),
}
