"""Patches: what each one owns and sees, on rings, rows and lattices."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stgate.errors import RequestError
from stgate.nn.patches import Patches
from stgate.schema.spec import PanelSpec


def make_spec(nodes=12, boundary="periodic", lattice=None):
    return PanelSpec(
        targets=("u",),
        nodes=tuple(range(nodes)),
        step=1.0,
        time="model",
        window=1,
        horizon=1,
        boundary=boundary,
        lattice=lattice,
    )


@given(count=st.integers(1, 5), patch=st.integers(1, 4), data=st.data())
def test_a_ring_is_cut_as_an_index_loop_cuts_it(count, patch, data):
    nodes = count * patch
    halo = data.draw(st.integers(0, (nodes - patch) // 2))
    patches = Patches(make_spec(nodes), patch, halo)
    x = torch.arange(nodes * 2.0).view(nodes, 2)
    seen = patches.surround(x).view(count, patch + 2 * halo, 2)
    for p in range(count):
        for j in range(patch + 2 * halo):
            assert torch.equal(seen[p, j], x[(p * patch + j - halo) % nodes])
    assert torch.equal(patches.fold(x).view(-1, 2), x)


@given(boundary=st.sampled_from(["open", "periodic"]), patch=st.sampled_from([1, 2, 3]), halo=st.integers(0, 1))
def test_a_lattice_is_cut_as_an_index_loop_cuts_it(boundary, patch, halo):
    rows, columns = 6, 12
    patches = Patches(make_spec(72, boundary, (rows, columns)), patch, halo)
    x = torch.arange(1.0, 73.0).unsqueeze(-1)
    grid, reach = x.view(rows, columns), patch + 2 * halo
    seen = patches.surround(x).view(rows // patch, columns // patch, reach, reach)
    for p, q, i, j in np.ndindex(*seen.shape):
        r, c = p * patch + i - halo, q * patch + j - halo
        inside = boundary == "periodic" or (0 <= r < rows and 0 <= c < columns)
        assert seen[p, q, i, j] == (grid[r % rows, c % columns] if inside else 0.0)


@given(lattice=st.sampled_from([None, (3, 4), (6, 2)]), batch=st.integers(1, 3), channels=st.integers(1, 3))
def test_unfolding_reverses_folding(lattice, batch, channels):
    patches = Patches(make_spec(12, lattice=lattice), 1 if lattice == (3, 4) else 2)
    x = torch.randn(batch, 12, channels)
    assert torch.equal(patches.unfold(patches.fold(x)), x)


def test_beyond_an_open_edge_there_is_nothing():
    seen = Patches(make_spec(4, "open"), 2, 1).surround(torch.ones(4, 1))
    assert seen.tolist() == [[0, 1, 1, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patch": 5}, "patch 5: must divide the 12 nodes"),
        ({"patch": 0}, "patch 0: must divide"),
        ({"patch": 4, "halo": 5}, "halo 5: must be at most 4"),
    ],
)
def test_patches_that_do_not_fit_are_refused(options, said):
    with pytest.raises(RequestError, match=said):
        Patches(make_spec(), **options)
