"""The laws of KTRDR Train, over the kinds of this package."""

import pytest

from training.testing import indicator_laws, label_laws, network_laws

LAWS = [*indicator_laws("glide"), *label_laws("breakout"), *network_laws("gated")]
BROKEN = [*indicator_laws("peeking"), *indicator_laws("remembering"), *label_laws("hasty")]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_honest(law):
    law()


@pytest.mark.parametrize("law", BROKEN, ids=str)
def test_planted(law):
    law()
