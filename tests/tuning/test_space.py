"""Spaces of a search: how they are typed, and that those of our own name options that a fit takes."""

import optuna
import pytest

from stgate.commands.fit.request import FitRequest
from stgate.errors import RequestError
from stgate.tuning.space import SPACES, Dimension, space

FIXED = optuna.trial.FixedTrial


@pytest.mark.parametrize(
    ("text", "value", "typed"),
    [
        ("model.hidden=16,32", "32", "32"),
        ("--model.hidden=16,32", "16", "16"),
        ("model.gate=coupled, additive", "additive", "additive"),
        ("data.calendar=[hour],[hour,month]", "[hour,month]", "[hour,month]"),
        ("model.layers=1..3", 2, "2"),
        ("model.dropout=0..0.5", 0.123456, "0.1235"),
        ("model.optimizer.lr=1e-4..1e-1:log", 0.01, "0.01"),
        ("model.degree=-2..2", -1, "-1"),
        ("model.hidden=null,16", "null", "null"),
    ],
)
def test_a_dimension_gives_what_would_be_typed(text, value, typed):
    one = Dimension.parse(text)
    assert one.suggest(FIXED({one.name: value})) == typed
    assert Dimension.parse(str(one)) == one


@pytest.mark.parametrize(
    "text",
    [
        *("model.hidden", "hidden=1,2", "model.hidden=", "model.hidden=16", "model.hidden=16,16", "model.hidden=1,,2"),
        *("model.lr=1..1", "model.lr=2..1", "model.lr=0..1:log", "model.lr=a..b", "model.lr=1..2:exp"),
        *("model.lr=1..", "=1,2", "model.lr=1e999..2e999"),
    ],
)
def test_a_dimension_that_is_none_is_refused_by_its_text(text):
    with pytest.raises(RequestError, match=r"--search") as refused:
        Dimension.parse(text)
    assert text in str(refused.value)


def test_a_forecaster_without_a_space_and_an_option_given_twice_are_refused():
    with pytest.raises(RequestError, match="Ridge has no space of its own"):
        space([], "Ridge")
    with pytest.raises(RequestError, match=r"model\.hidden: given twice"):
        space(["model.hidden=1,2", "model.hidden=3,4"], "GatedRNN")


@pytest.mark.parametrize("model", SPACES)
def test_the_fit_takes_every_value_of_its_own_space(model):
    request = FitRequest(["--model", model, "--data.panel", "panel.nc", "--data.targets", "[y]"])
    for one in space([], model):
        for value in one.ends:
            assert request.config({one.name: value})["fit"].model.class_path.endswith(model)
