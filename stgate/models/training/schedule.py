"""Schedule of the learning rate over a fit."""

from __future__ import annotations

import math


def one_cycle(step: int, steps: int) -> float:
    """Compute the share of the peak learning rate at a step: up for a tenth of the steps, then down to almost zero.

    It depends only on the step, so that a fit can be resumed, and lengthened.

    Args:
        step: Number of steps done.
        steps: Number of steps of the whole fit.

    Returns:
        A share between 0 and 1.

    References:
        Smith and Topin (2019), Super-convergence. doi:10.1117/12.2520589
    """
    low, rise = 0.04, max(0.1 * steps, 1.0)
    if step < rise:
        return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * step / rise))
    down = min((step - rise) / max(steps - rise, 1.0), 1.0)
    return 1e-5 + (1 - 1e-5) * 0.5 * (1 + math.cos(math.pi * down))
