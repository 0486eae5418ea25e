"""Panels as tensors: windows, streaming from a store, data modules, scaling."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.data.field_data import FieldData
    from stgate.data.window_data import WindowData

__all__ = [
    "FieldData",
    "WindowData",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "FieldData": "stgate.data.field_data",
        "WindowData": "stgate.data.window_data",
    },
)
