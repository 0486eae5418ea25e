"""Rivals of STH-SepNet: persistence, and a ridge that knows lags, the graph and the time of day."""

import numpy as np

from benchmarks.sth_sepnet.tasks import STEPS, WINDOW

DAY = 288


def persistence(task):
    def forecast(rows):
        last = np.repeat(task.speed[rows][:, None], STEPS[-1], 1)
        return last, last

    return forecast


def ridge(task, penalty=30.0):
    """Forecast by a ridge on a node's 12 last values, 6 of those one and two hops away, and four daily harmonics."""
    train = task.speed[: task.cut]
    centre, scale = train.mean(0), train.std(0) + 1e-6
    own = (task.speed - centre) / scale
    step = task.adjacency / task.adjacency.sum(1, keepdims=True)
    near = own @ step.T
    far = near @ step.T
    angle = 2 * np.pi * np.arange(DAY) / DAY
    daily = np.stack([f(k * angle) for k in range(1, 5) for f in (np.cos, np.sin)], 1)

    def seen(rows, node):
        lags = [x[rows[:, None] - np.arange(count), node] for x, count in ((own, WINDOW), (near, 6), (far, 6))]
        return np.concatenate([*lags, np.ones((len(rows), 1))], 1)

    def forecast(rows):
        learned = np.arange(WINDOW - 1, task.cut - STEPS[-1])
        made = np.empty((len(rows), STEPS[-1], own.shape[1]))
        for node in range(own.shape[1]):
            known, asked = seen(learned, node), seen(rows, node)
            for lead in range(1, STEPS[-1] + 1):
                x = np.concatenate([known, daily[(learned + lead) % DAY]], 1)
                weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ own[learned + lead, node])
                new = np.concatenate([asked, daily[(rows + lead) % DAY]], 1)
                made[:, lead - 1, node] = new @ weights * scale[node] + centre[node]
        return made, made

    return forecast
