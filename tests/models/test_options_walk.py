"""Every option of every class is tried with values that it cannot take: each is refused in one line, or used."""

import inspect
import math

import pytest
from helpers import FEW, batch_of, built, field_data, field_panel, fit, make_data, make_panel

import stgate
from stgate import distributions, inference, models
from stgate._configured import check_options
from stgate.errors import RequestError, StgateError
from stgate.nn.gated.rollout import RollOut
from stgate.prediction.parts import FAMILIES, Transform
from stgate.prediction.registry import holders, is_ours

BAD = (-1, 0, 1.5, "a", None, math.nan, math.inf, True)

for name in models.__all__:  # each class is known once it is imported
    getattr(models, name)
FORECASTERS = [kind for kind in holders().values() if is_ours(kind)]
PARTS = [(option, kind) for option, family in FAMILIES.items() for kind in family.kinds().values()]
PARTS += [("transforms", kind) for kind in Transform.kinds().values()]


QUICK = {"hidden": 4, "linear": False, "transforms": None, "width": 8, "heads": 2}
QUICK |= {"inference": inference.PointEstimate()}
"""Options with which a forecaster is built in no time."""


def options_of(kind):
    return inspect.signature(kind).parameters


def tried(kind, option, make, use):
    """Make a thing with each bad value; what is made has to be of use."""
    usual = options_of(kind)[option].default
    for bad in BAD:
        try:
            made = make(bad)
            if bad is not usual:
                use(made)
        except StgateError as error:
            assert "\n" not in str(error) and len(str(error)) > 10


@pytest.fixture(scope="module")
def known():
    """Small data modules, which are read once."""
    panel = make_panel(steps=100)
    return {False: make_data(panel), True: field_data(field_panel(steps=60))}


def small(**options):
    """A forecaster that takes any part, without what takes long."""
    return stgate.GatedRNN(hidden=4, linear=False, **({"transforms": None} | options))


@pytest.mark.parametrize(
    ("kind", "option"), [pytest.param(k, o, id=f"{k.__name__}-{o}") for k in FORECASTERS for o in options_of(k)]
)
def test_forecasters(kind, option, known):
    data = known[issubclass(kind.data_class, stgate.FieldData)]
    quick = {name: value for name, value in QUICK.items() if name in options_of(kind)}
    if kind is not stgate.Stack:  # it is built of its members
        tried(kind, option, lambda bad: kind(**(quick | {option: bad})), lambda model: built(model, data))


@pytest.mark.parametrize(
    ("part", "kind", "option"),
    [pytest.param(p, k, o, id=f"{k.__name__}-{o}") for p, k in PARTS for o in options_of(k)],
)
def test_parts(part, kind, option, known):
    def use(made):
        built(small(**{part: [made] if part == "transforms" else made}), known[False])

    tried(kind, option, lambda bad: kind(**{option: bad}), use)


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        pytest.param(kind, option, id=f"{kind.__name__}-{option}")
        for kind in (stgate.WindowData, stgate.FieldData)
        for option in options_of(kind)
        if option not in ("panel", "memory_map")
    ],
)
def test_data_modules(kind, option):
    field = kind is stgate.FieldData
    panel = field_panel(steps=60) if field else make_panel(steps=100)
    usual = {"targets": "y"} if field else {"targets": "y", "window": 6, "horizon": 3}
    tried(kind, option, lambda bad: kind(panel, **(usual | {option: bad})), lambda data: batch_of(data, "train"))


@pytest.mark.parametrize("bad", [*BAD, [0.1, "a"], {}])
def test_levels_and_seasons_are_looked_into(bad):
    with pytest.raises(RequestError, match=r"levels"):
        distributions.Quantiles(levels=bad)
    if bad not in (None, {}):
        with pytest.raises(RequestError, match="seasons"):
            stgate.CGLUBNF(seasons={"day": bad} if isinstance(bad, list) else bad)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: stgate.GatedRNN(gated_heads="yes"), "gated_heads 'yes': must be true or false"),
        (lambda: stgate.GatedRNN(cell="gruu"), r"cell 'gruu': did you mean gru\?"),
        (lambda: stgate.GatedRNN(dropout=None), "dropout None: must be a number"),
        (lambda: stgate.GatedRNN(optimizer=0.1), "optimizer 0.1: must be a function"),
        (lambda: stgate.GatedTransformer(heads=1.5), "heads 1.5: must be a whole number of at least 1"),
        (lambda: stgate.Climatology(keys="hour"), "keys 'hour': did you mean hour|keys 'hour': must be a list"),
        (lambda: stgate.Climatology(keys=["hours"]), "keys.*hours"),
        (lambda: stgate.CGLUBNF(interactions=["lat"]), "interactions .'lat'.: must be a list"),
        (lambda: inference.MeanField(draws=2.5), "draws 2.5: must be a whole number"),
        (lambda: distributions.Logit(margin="a"), "margin 'a': must be a number"),
        (lambda: RollOut(scheme="eulr"), r"rollout.scheme 'eulr': (did you mean|known: )"),
        (lambda: make_data(split=[math.nan, 0.3, 0.3, 0.4]), "split .nan"),
        (lambda: make_data(targets=5), "targets 5: must be a list"),
        (lambda: make_data(past_covariates="u"), "past_covariates 'u': must be a list"),
        (lambda: make_data(streams="no"), "streams 'no': must be true or false"),
    ],
)
def test_what_is_said(make, says):
    with pytest.raises(RequestError, match=says):
        made = make()
        made.setup()


@pytest.mark.parametrize(
    "model",
    [
        lambda: small(likelihood=distributions.Normal(min_scale=1.5)),
        lambda: small(likelihood=distributions.LogNormal(shift=1.5)),
        lambda: small(inference=inference.MeanField(kl_weight=0, prior_scale=1.5), cell="rhn", depth=1),
        lambda: small(transforms=[distributions.Asinh(scale=1.5)], dropout=0, node_embedding=0),
        lambda: models.GradientBoosting(trees=0, transforms=None),
        lambda: stgate.Ridge(penalty=1.5, transforms=None),
        lambda: stgate.STHSepNet(hidden=4, width=4, heads=2, order=0, lora=0, linear=False, transforms=None),
    ],
)
def test_what_is_accepted_fits(model):
    fit(model(), **FEW)


def test_options_are_checked_by_what_a_signature_says():
    def made(count: int, share: float = 0.5, names: list[str] | None = None, by: dict[str, int] | int = 1) -> None: ...

    check_options(made, {"count": 2, "share": 1, "names": ("a",), "by": {"a": 1}, "other": object()})
    for wrong in ({"count": True}, {"share": math.inf}, {"names": "a"}, {"names": [1]}, {"by": {"a": 0.5}}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            check_options(made, wrong)
