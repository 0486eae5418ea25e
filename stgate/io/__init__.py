"""Readers of tables, arrays and lattices, stores of panels and forecasts, and the catalogue of data sets."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.io.calendars import convert_calendar
    from stgate.io.frames import to_panel
    from stgate.io.lattice import from_lattice, to_lattice
    from stgate.io.masked import read_masked
    from stgate.io.npz import read_npz
    from stgate.io.readers import open_panel, read_tables
    from stgate.io.store import open_forecast, write

__all__ = [
    "convert_calendar",
    "from_lattice",
    "open_forecast",
    "open_panel",
    "read_masked",
    "read_npz",
    "read_tables",
    "to_lattice",
    "to_panel",
    "write",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "convert_calendar": "stgate.io.calendars",
        "from_lattice": "stgate.io.lattice",
        "open_forecast": "stgate.io.store",
        "open_panel": "stgate.io.readers",
        "read_masked": "stgate.io.masked",
        "read_npz": "stgate.io.npz",
        "read_tables": "stgate.io.readers",
        "to_lattice": "stgate.io.lattice",
        "to_panel": "stgate.io.frames",
        "write": "stgate.io.store",
    },
)
