"""Identity of a fit: a digest of what it depends on, by which a kept fit is known to be one of the same data."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from stgate.data.window_data import WindowData


def digest_of(data: WindowData, *others: object) -> str:
    """Return a digest of all rows before the test part, of nodes and graph, and of the options of the windows.

    Args:
        data: The data of a fit.
        others: What else the fit depends on, such as its seed.
    """
    found = hashlib.sha256()
    windows = (data.batch_size, data.every, data.train_horizon, data.streams, data.seed)
    plain = (data.spec.to_dict(), tuple(data.parts), windows, others)
    found.update(json.dumps(plain, sort_keys=True, default=str).encode())
    for name, variable in sorted(data.panel.variables.items(), key=lambda pair: str(pair[0])):
        if "time" not in variable.dims:
            found.update(f"{name} {np.asarray(variable.values).tolist()}".encode())
    found.update(data.series.clock.time.numpy().tobytes())
    for first, last in data.series.blocks(0, data.parts.test[0]):
        found.update(data.series.read(first, last).contiguous().numpy().tobytes())
    return found.hexdigest()[:24]
