"""References of the forecasters: persistence, climatology, a linear model, an echo-state network."""

import numpy as np
from numpy.typing import NDArray

Fields = NDArray[np.float64]


def persistence(train: Fields, history: Fields, leads: int) -> Fields:
    """The value at the start, for all leads: (start, step, node) -> (start, lead, node)."""
    return np.repeat(history[:, -1:], leads, 1)


def climatology(train: Fields, history: Fields, leads: int) -> Fields:
    """The training mean."""
    return np.broadcast_to(train.mean((0, 1)), (len(history), leads, history.shape[2]))


def linear(train: Fields, history: Fields, leads: int, lags: int = 2, penalty: float = 1e-6) -> Fields:
    """Vector autoregression of `lags` steps on all nodes, by ridge regression; run step by step."""
    mean = train.mean((0, 1))
    centred = train - mean
    past = np.concatenate([centred[:, k : centred.shape[1] - lags + k] for k in range(lags)], -1)
    past, target = past.reshape(-1, past.shape[-1]), centred[:, lags:].reshape(-1, centred.shape[-1])
    gram = past.T @ past
    weights = np.linalg.solve(gram + penalty * np.trace(gram) / len(gram) * np.eye(len(gram)), past.T @ target)
    state = (history[:, -lags:] - mean).reshape(len(history), -1)
    made = []
    for _ in range(leads):
        made.append(state @ weights)
        state = np.concatenate([state[:, history.shape[2] :], made[-1]], -1)
    return np.stack(made, 1) + mean


def echo_state(
    train: Fields,
    history: Fields,
    leads: int,
    *,
    patch: int = 2,
    halo: int = 4,
    units: int = 1000,
    radius: float = 0.3,
    scaling: float = 0.3,
    ridge: float = 1e-8,
    seed: int = 0,
) -> Fields:
    """One echo-state network for all patches of a ring, its matrices made by reservoirpy; run step by step.

    The parallel architecture of Pathak et al. (2018), with shared weights: a reservoir sees its patch and a halo, and
    its read-out, from the state with every second unit squared and from what it sees, gives the patch's next change.
    """
    from reservoirpy.nodes import Reservoir

    mean, spread, nodes = train.mean((0, 1)), train.std(), train.shape[2]
    scaled, before = (train - mean) / spread, (history - mean) / spread
    near = (np.arange(0, nodes, patch)[:, None] + np.arange(-halo, patch + halo)) % nodes
    reservoir = Reservoir(
        units=units, sr=radius, input_scaling=scaling, rc_connectivity=min(10 / units, 1), input_connectivity=1.0,
        seed=seed,
    )  # fmt: skip
    reservoir.run(scaled[0, :2, near[0]].T)  # makes its matrices
    inner, entry, bias = reservoir.W.tocsr(), _dense(reservoir.Win), np.asarray(_dense(reservoir.bias)).reshape(-1)

    def step(state: Fields, field: Fields) -> tuple[Fields, Fields]:
        """(row, unit) and (start, node) -> the next state, and what is read out of."""
        seen = field[:, near].reshape(-1, near.shape[1])
        state = np.tanh((inner @ state.T).T + seen @ entry.T + bias)
        squared = state.copy()
        squared[:, ::2] **= 2
        return state, np.concatenate([squared, seen, np.ones((len(seen), 1))], -1)

    size = units + near.shape[1] + 1
    gram, cross = np.zeros((size, size)), np.zeros((size, patch))
    state = np.zeros((len(train) * len(near), units))
    for t in range(scaled.shape[1] - 1):
        state, features = step(state, scaled[:, t])
        if t >= 20 and t % 4 == 0:  # of neighbouring states, most are alike
            gram += features.T @ features
            cross += features.T @ (scaled[:, t + 1] - scaled[:, t]).reshape(-1, patch)
    weights = np.linalg.solve(gram + ridge * np.trace(gram) / size * np.eye(size), cross)
    state = np.zeros((len(history) * len(near), units))
    for t in range(before.shape[1]):
        state, features = step(state, before[:, t])
    made, field = [], before[:, -1]
    for _ in range(leads):
        field = field + (features @ weights).reshape(len(field), nodes)
        made.append(field)
        state, features = step(state, field)
    return np.stack(made, 1) * spread + mean


def _dense(matrix: object) -> Fields:
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)


REFERENCES = {
    "persistence": persistence,
    "climatology": climatology,
    "linear VAR(2)": linear,
}
"""Without options; echo-state networks have those of the system."""
