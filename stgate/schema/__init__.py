"""Schemas and checks of the panel, of a fit's spec and of the forecast."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.schema.forecast import check_forecast
    from stgate.schema.panel import check_panel, observed_mask
    from stgate.schema.spec import PanelSpec

__all__ = [
    "PanelSpec",
    "check_forecast",
    "check_panel",
    "observed_mask",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "PanelSpec": "stgate.schema.spec",
        "check_forecast": "stgate.schema.forecast",
        "check_panel": "stgate.schema.panel",
        "observed_mask": "stgate.schema.panel",
    },
)
