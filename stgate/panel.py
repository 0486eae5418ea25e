"""The old name of `stgate.schema.panel`."""

from stgate.schema.panel import check_panel, observed_mask

__all__ = ["check_panel", "observed_mask"]
