"""Several configs: the last one that names a forecaster names it, wherever it stands."""

import pytest

from stgate.commands.fit.arguments import model_name, value_of


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("flag", ["--config", "-c"])
def test_the_forecaster_may_be_named_in_any_config(order, flag, tmp_path):
    files = [tmp_path / "data.yaml", tmp_path / "model.yaml"]
    files[0].write_text("data:\n  horizon: 3\n")
    files[1].write_text("model:\n  class_path: CGLUBNF\n")
    assert model_name([word for i in order for word in (flag, str(files[i]))]) == "CGLUBNF"


def test_the_last_of_two_configs_and_of_two_options_counts(tmp_path):
    for name in ("Ridge", "GatedRNN"):
        (tmp_path / f"{name}.yaml").write_text(f"model: {name}\n")
    both = ["--config", str(tmp_path / "Ridge.yaml"), f"--config={tmp_path / 'GatedRNN.yaml'}"]
    assert model_name(both) == "GatedRNN"
    assert model_name([*both, "--model", "Ridge"]) == "Ridge"
    assert value_of(["--out", "a", "--out=b"], "--out") == "b"
