"""Shares of a batch: the processes of a fit take each window once, in order, and what belongs to all windows."""

import pytest
import torch
from helpers import make_panel

from stgate.data import WindowData
from stgate.data.windows import share_of
from stgate.schema.batch import SHARED


@pytest.fixture(scope="module")
def batch():
    data = WindowData(make_panel(steps=160), targets="y", window=12, horizon=3, future_covariates=["u"], batch_size=7)
    return next(iter(data.train_dataloader()))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 20])
def test_the_shares_make_up_the_batch(batch, count):
    shares = [share_of(batch, rank, count) for rank in range(count)]
    for name, tensor in batch.items():
        if name in SHARED:
            assert all(share[name] is tensor for share in shares)
        else:
            assert torch.equal(torch.cat([share[name] for share in shares]).nan_to_num(-99), tensor.nan_to_num(-99))
    sizes = [len(share["origin"]) for share in shares]
    assert max(sizes) - min(sizes) <= 1 and sizes[0] == max(sizes)


def test_a_share_is_no_copy(batch):
    share = share_of(batch, 1, 2)
    assert share["past"].untyped_storage().data_ptr() == batch["past"].untyped_storage().data_ptr()
