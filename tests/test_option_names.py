from typing import get_args

import pytest

from stgate.distributions.likelihoods import LINKS, LinkName
from stgate.nn.feedforward import UNITS, UnitName
from stgate.nn.gates import GATES, GateName
from stgate.nn.imputation import ImputationName, make_imputation
from stgate.nn.sepnet.fusion import FusionName, make_fusion
from stgate.panels.calendar import CELLS, CellKey
from stgate.panels.missing import RANKS, Pattern
from stgate.simulate.systems.lorenz96_two_scale import PRESETS, PresetName


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (GateName, GATES),
        (UnitName, UNITS),
        (LinkName, LINKS),
        (PresetName, PRESETS),
        (Pattern, RANKS),
        (CellKey, CELLS),
    ],
)
def test_the_names_that_an_option_offers_are_those_of_its_table(names, table):
    assert get_args(names) == tuple(table)


def test_every_name_that_an_option_offers_is_made():
    assert len({type(make_imputation(name, 2, 3, 1)) for name in get_args(ImputationName)}) == 3
    assert len({type(make_fusion(name, 4, 2)) for name in get_args(FusionName)}) == 3
