"""What the network sees: standardised, filled, and honest about what was missing."""

import pytest
import torch
from conftest import make_panel

from stgate.data.modules import WindowData
from stgate.nn.inputs import Standardize

BATCH, WINDOW, LEADS, NODES, TARGETS, CHANNELS, FUTURE, STATIC = 4, 6, 3, 5, 2, 4, 1, 2


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
        "future": gappy(BATCH, LEADS, NODES, FUTURE),
        "future_calendar": torch.zeros(BATCH, LEADS, 2),
        "static": gappy(NODES, STATIC),
    }


def scaler():
    made = Standardize(CHANNELS, STATIC, NODES, TARGETS)
    made.center.copy_(torch.tensor([10.0, 9.0, 8.0, 7.0]))
    made.scale.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    return made


@pytest.mark.parametrize("missing", [0.0, 0.4, 1.0])
def test_nothing_that_leaves_is_nan_whatever_is_missing(missing):
    inputs = scaler()(raw_batch(missing))
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


def test_no_gradient_through_the_filling_is_nan():
    batch = raw_batch()
    batch["past"].requires_grad_()
    inputs = scaler()(batch)
    (inputs.values.square().sum() + inputs.last.sum()).backward()
    gradient = batch["past"].grad
    assert torch.isfinite(gradient).all()
    assert (gradient[batch["past"].isnan()] == 0).all()


def test_scales_come_from_the_training_part_alone():
    panel = make_panel(steps=200)
    altered = panel.copy(deep=True)
    altered["y"][120:] = 1e6
    first, second = (WindowData(p, "y", 6, 3).statistics() for p in (panel, altered))
    assert torch.equal(first.center, second.center) and torch.equal(first.scale, second.scale)


def test_one_missing_static_value_does_not_erase_the_others():
    panel = make_panel(steps=200)
    panel["lat"].values[0] = float("nan")
    data = WindowData(panel, "y", 6, 3, static_covariates=["lat"])
    made, statistics = Standardize(1, 1, 3, 1), data.statistics()
    made.static_center.copy_(statistics.static_center)
    made.static_scale.copy_(statistics.static_scale)
    static = made(next(iter(data.train_dataloader()))).static
    torch.testing.assert_close(static[:, 0], torch.tensor([0.0, -1.0, 1.0]), atol=1e-4, rtol=0)
