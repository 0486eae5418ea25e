"""What the network sees: standardised, filled, and honest about what was missing."""

import pytest
import torch
from helpers import make_panel

from stgate.data.window_data import WindowData
from stgate.errors import RequestError
from stgate.models import GatedRNN
from stgate.nn.imputation import IMPUTATIONS, make_imputation
from stgate.nn.inputs import Standardize

BATCH, WINDOW, LEADS, NODES, TARGETS, CHANNELS, FUTURE, STATIC, CELLS = 4, 6, 3, 5, 2, 4, 1, 2, 3


def raw_batch(missing=0.4, seed=0):
    """Targets first, one future covariate last; NaN where missing."""
    generator = torch.Generator().manual_seed(seed)

    def gappy(*shape):
        values = 10 + 3 * torch.randn(shape, generator=generator)
        return values.masked_fill(torch.rand(shape, generator=generator) < missing, torch.nan)

    return {
        "past": gappy(BATCH, WINDOW, NODES, CHANNELS),
        "since": torch.randint(0, 9, (BATCH, WINDOW, NODES, TARGETS), generator=generator).float(),
        "past_calendar": torch.zeros(BATCH, WINDOW, 2),
        "past_cell": torch.randint(0, CELLS, (BATCH, WINDOW), generator=generator),
        "future": gappy(BATCH, LEADS, NODES, FUTURE),
        "future_calendar": torch.zeros(BATCH, LEADS, 2),
        "future_cell": torch.randint(0, CELLS, (BATCH, LEADS), generator=generator),
        "static": gappy(NODES, STATIC),
    }


def scaler(imputation="zero"):
    made = Standardize(CHANNELS, STATIC, NODES, TARGETS, make_imputation(imputation, CELLS, NODES, CHANNELS))
    made.center.copy_(torch.tensor([10.0, 9.0, 8.0, 7.0]))
    made.scale.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    return made


@pytest.mark.parametrize("fill", IMPUTATIONS)
@pytest.mark.parametrize("missing", [0.0, 0.4, 1.0])
def test_nothing_that_leaves_is_nan_whatever_is_missing(missing, fill):
    inputs = scaler(fill)(raw_batch(missing))
    everything = [*vars(inputs).values(), inputs.last]
    assert all(torch.isfinite(x).all() for x in everything)


def test_the_mask_is_one_where_observed_and_the_value_is_zero_elsewhere():
    batch = raw_batch()
    inputs = scaler()(batch)
    assert torch.equal(inputs.mask, (~batch["past"].isnan()).float())
    assert (inputs.values[inputs.mask == 0] == 0).all()
    values, masks = inputs.future.chunk(2, -1)
    assert torch.equal(masks, (~batch["future"].isnan()).float())
    assert (values[masks == 0] == 0).all()


@pytest.mark.parametrize("fill", IMPUTATIONS)
def test_a_fill_changes_nothing_that_was_observed_and_no_mask(fill):
    filled, zero = scaler(fill)(raw_batch()), scaler()(raw_batch())
    for name in ("mask", "since", "static"):
        assert torch.equal(getattr(filled, name), getattr(zero, name))
    assert torch.equal(filled.values[zero.mask == 1], zero.values[zero.mask == 1])
    ahead, masks = zero.future.chunk(2, -1)
    assert torch.equal(filled.future[..., :FUTURE][masks == 1], ahead[masks == 1])
    assert torch.equal(filled.future[..., FUTURE:], masks)


def test_last_carries_the_newest_observation_on_and_into_the_future():
    batch, made = raw_batch(0.7), scaler("last")
    inputs = made(batch)
    expected = torch.zeros(BATCH, NODES, CHANNELS)
    for step in range(WINDOW):
        now = (batch["past"][:, step] - made.center) / made.scale
        expected = torch.where(now.isnan(), expected, now)
        assert torch.equal(inputs.values[:, step], expected)
    ahead = expected[..., -FUTURE:]
    for lead in range(LEADS):
        now = (batch["future"][:, lead] - made.center[-FUTURE:]) / made.scale[-FUTURE:]
        ahead = torch.where(now.isnan(), ahead, now)
        assert torch.equal(inputs.future[:, lead, :, :FUTURE], ahead)


def test_climatology_is_the_mean_of_the_cell_that_each_step_falls_in():
    batch, made = raw_batch(1.0), scaler("climatology")
    made.imputation.means.copy_(torch.arange(CELLS * NODES * CHANNELS).view(CELLS, NODES, CHANNELS))
    inputs = made(batch)
    for b in range(BATCH):
        for step in range(WINDOW):
            assert torch.equal(inputs.values[b, step], made.imputation.means[batch["past_cell"][b, step]])
        for lead in range(LEADS):
            assert torch.equal(
                inputs.future[b, lead, :, 0], made.imputation.means[batch["future_cell"][b, lead], :, -1]
            )
    assert torch.equal(inputs.last, inputs.values[:, -1, :, :TARGETS])


def test_an_unknown_fill_is_refused_with_the_name_that_was_meant():
    with pytest.raises(RequestError, match=r"imputation 'climatolgy'.*climatology"):
        GatedRNN(imputation="climatolgy")


def test_observed_values_are_standardised_channel_by_channel_the_future_by_the_last_channels():
    batch, made = raw_batch(), scaler()
    inputs = made(batch)
    seen = inputs.mask == 1
    torch.testing.assert_close((inputs.values * made.scale + made.center)[seen], batch["past"][seen])
    values, masks = inputs.future.chunk(2, -1)
    torch.testing.assert_close((values * 4.0 + 7.0)[masks == 1], batch["future"][masks == 1])


@pytest.mark.parametrize("missing", [0.0, 0.5, 0.9, 1.0])
def test_last_is_the_newest_observed_value_of_each_target(missing):
    inputs = scaler()(raw_batch(missing))
    expected = torch.zeros(BATCH, NODES, TARGETS)
    for step in range(WINDOW):
        seen = inputs.mask[:, step, :, :TARGETS] == 1
        expected = torch.where(seen, inputs.values[:, step, :, :TARGETS], expected)
    assert torch.equal(inputs.last, expected)


@pytest.mark.parametrize("fill", IMPUTATIONS)
def test_no_gradient_through_the_filling_is_nan(fill):
    batch = raw_batch()
    batch["past"].requires_grad_()
    inputs = scaler(fill)(batch)
    (inputs.values.square().sum() + inputs.last.sum()).backward()
    gradient = batch["past"].grad
    assert torch.isfinite(gradient).all()
    assert (gradient[batch["past"].isnan()] == 0).all()


def test_scales_come_from_the_training_part_alone():
    panel = make_panel(steps=200)
    altered = panel.copy(deep=True)
    altered["y"][120:] *= 1e5
    first, second = (WindowData(p, targets="y", window=6, horizon=3).statistics() for p in (panel, altered))
    assert torch.equal(first.center, second.center) and torch.equal(first.scale, second.scale)


def test_one_missing_static_value_does_not_erase_the_others():
    panel = make_panel(steps=200)
    panel["lat"].values[0] = float("nan")
    data = WindowData(panel, targets="y", window=6, horizon=3, static_covariates=["lat"])
    made, statistics = Standardize(1, 1, 3, 1), data.statistics()
    made.static_center.copy_(statistics.static_center)
    made.static_scale.copy_(statistics.static_scale)
    static = made(next(iter(data.train_dataloader()))).static
    torch.testing.assert_close(static[:, 0], torch.tensor([0.0, -1.0, 1.0]), atol=1e-4, rtol=0)
