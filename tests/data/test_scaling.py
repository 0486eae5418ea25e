"""Scales: what is standardised comes back, and moments added piece by piece are those of the whole."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stgate.data.scaling import Moments
from stgate.nn.inputs import Standardize

VALUES = arrays.arrays(
    "float64",
    st.tuples(st.integers(1, 40), st.integers(1, 4)),
    elements=st.one_of(st.floats(-1e6, 1e6, width=32), st.just(np.nan)),
)


@given(values=VALUES, cuts=st.lists(st.integers(0, 40), max_size=4))
@settings(deadline=None, max_examples=100)
def test_moments_of_pieces_are_those_of_the_whole(values, cuts):
    moments = Moments()
    for piece in np.split(values, sorted(min(c, len(values)) for c in cuts)):
        moments.add(torch.from_numpy(piece))
    seen = ~np.isnan(values)
    np.testing.assert_array_equal(moments.count, seen.sum(0))
    for column in range(values.shape[1]):
        there = values[seen[:, column], column]
        if there.size:
            np.testing.assert_allclose(moments.mean[column], there.mean(), rtol=1e-9, atol=1e-6)
            spread = there.std()
            if spread > 1e-3:
                np.testing.assert_allclose(moments.stddev[column], spread, rtol=1e-5)


@given(values=VALUES)
@settings(deadline=None, max_examples=100)
def test_what_is_standardised_comes_back_and_gaps_stay_gaps(values):
    moments = Moments()
    moments.add(torch.from_numpy(values))
    channels = values.shape[1]
    scaler = Standardize(channels, 0, 1, channels)
    scaler.center.copy_(moments.mean)
    scaler.scale.copy_(moments.stddev)
    raw = torch.from_numpy(values).float()[None, :, None]  # (batch, window, node, channel)
    empty = torch.zeros(1, 0)
    batch = {
        "past": raw,
        "since": torch.zeros_like(raw),
        "past_calendar": torch.zeros(1, len(values), 0),
        "past_cell": torch.zeros(1, len(values), dtype=torch.int64),
        "future_cell": torch.zeros(1, 1, dtype=torch.int64),
        "future": torch.zeros(1, 1, 1, 0),
        "future_calendar": torch.zeros(1, 1, 0),
        "static": empty,
    }
    inputs = scaler(batch)
    back = inputs.values * scaler.scale + scaler.center
    there = inputs.mask.bool()
    assert torch.equal(there, ~torch.isnan(raw)) and (inputs.values[~there] == 0).all()
    size = float(raw[there].abs().max()) if there.any() else 1.0
    torch.testing.assert_close(back[there], raw[there], rtol=1e-5, atol=1e-5 * max(size, 1.0))
