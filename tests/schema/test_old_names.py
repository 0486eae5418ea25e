"""Names that moved are still found where they were."""

import stgate
from stgate.panel import check_panel


def test_old_names_are_the_same_objects():
    assert check_panel is stgate.schema.panel.check_panel
    assert stgate.nn.NegativeBinomial is stgate.distributions.NegativeBinomial
    assert stgate.nn.ZeroInflatedNegativeBinomial is stgate.distributions.ZeroInflatedNegativeBinomial
