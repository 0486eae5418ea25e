import ast
from pathlib import Path

import numpy as np
import pytest

import stgate
from stgate.errors import RequestError, StgateError

SOURCES = Path(stgate.__file__).parent
BARE = ("ValueError", "TypeError")


def bare_raises(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    names = [(node.lineno, node.exc.func if isinstance(node.exc, ast.Call) else node.exc) for node in raised]
    return [f"{path}:{line}" for line, name in names if isinstance(name, ast.Name) and name.id in BARE]


def test_every_wrong_request_is_an_error_of_this_package():
    assert [place for path in SOURCES.rglob("*.py") for place in bare_raises(path)] == []


def test_a_wrong_request_is_a_value_error_and_keeps_its_exit_code():
    assert issubclass(RequestError, ValueError)
    assert RequestError.__mro__.index(StgateError) < RequestError.__mro__.index(ValueError)
    assert RequestError("x").exit_code == 2
    assert str(RequestError("level 2: must lie between 0 and 1")) == "level 2: must lie between 0 and 1"


@pytest.mark.parametrize(
    "call",
    [
        lambda: stgate.metrics.interval_score(np.zeros(2), np.zeros(2), np.ones(2), level=2.0),
        lambda: stgate.metrics.crps(np.zeros(2), np.zeros((2, 1))),
        lambda: stgate.metrics.energy_score(np.zeros((2, 3)), np.zeros((2, 1, 3))),
        lambda: stgate.metrics.pinball(np.zeros(2), np.zeros(2), 1.5),
        lambda: stgate.metrics.crps_quantiles(np.zeros(2), np.zeros((2, 3))),
        lambda: stgate.metrics.average(np.zeros(2), weights=-1.0),
        lambda: stgate.metrics.histogram_distance(np.full(2, np.nan), np.zeros(2)),
        lambda: stgate.calibration.conformal_quantile(np.zeros(3), 1.5),
        lambda: stgate.calibration.OnlineConformal([0.9, 0.5], leads=1, cells=1),
    ],
)
def test_one_except_catches_every_wrong_call_of_metrics_and_calibration(call):
    with pytest.raises(stgate.StgateError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, stgate.RequestError)
