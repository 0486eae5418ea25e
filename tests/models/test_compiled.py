"""Networks that torch.compile takes whole, without a break of the graph, with the same numbers."""

import pytest
import torch
from helpers import SMALL_SEPNET, batch_of, built, make_data, make_panel, ring_panel

from stgate.models import GatedTransformer, STHSepNet
from stgate.nn import RollOut
from stgate.schema.batch import noted


def gaps():
    return make_data(make_panel(steps=90, nodes=("a", "b")))


def rings():
    return make_data(ring_panel(duration=6), targets="x", horizon=1)


CASES = {
    "transformer": (lambda: GatedTransformer(hidden=4, layers=1, transforms=None), gaps),
    "recurrent transformer": (lambda: GatedTransformer(hidden=4, layers=1, recurrence=True, transforms=None), gaps),
    "STH-SepNet": (lambda: STHSepNet(**SMALL_SEPNET, layers=1, kernel=6, hops=1, transforms=None), gaps),
    "step of a rollout": (lambda: GatedTransformer(hidden=4, layers=1, rollout=RollOut(width=4)), rings),
}


@pytest.mark.parametrize("name", CASES)
def test_a_network_is_compiled_as_one_graph_with_the_same_numbers(name):
    make, data = CASES[name]
    model = built(make(), data())
    predictor = model.predictor
    batch = noted(predictor, batch_of(data()))
    inputs = predictor.inputs_of(predictor.encode(batch))
    if isinstance(model, STHSepNet):
        given, options = (inputs, predictor.edges(), []), {}
    else:
        given, options = (inputs,), {"complete": predictor.complete(batch)}
    whole = torch.compile(predictor.built, fullgraph=True, backend="eager")  # a break of the graph is an error
    with torch.no_grad():
        torch.testing.assert_close(whole(*given, **options), predictor.built(*given, **options))
    torch.compiler.reset()
