"""The law kit, for packages that add indicators, labels or networks: each law is a test that says what it saw if it is broken.

import pytest
from training.testing import indicator_laws

@pytest.mark.parametrize("law", indicator_laws("kama"), ids=str)
def test_kama(law):
    law()

The package must be installed (`pip install -e .`), since the laws look at its kinds as the product does.
Markets and parameters are made up from fixed seeds: a law that is broken is broken on every run.
"""

from __future__ import annotations

from strategies_app.grammar import plugins
from training.laws import indicators, labels, networks
from training.laws.law import Law, Subject, broken
from training.pipeline.arguments import require

__all__ = ["Law", "indicator_laws", "label_laws", "network_laws"]


def indicator_laws(name: str) -> list[Law]:
    """The laws of the indicator of this name, built in or installed."""
    require("the name", name, str, "the name of an indicator")
    known = name in plugins.indicators() and name not in indicators.REPAINTING
    return indicators.laws(_subject(plugins.INDICATORS, name)) if known else _not_found(plugins.INDICATORS, name)


def label_laws(name: str) -> list[Law]:
    """The laws of the label of this name, built in or installed."""
    require("the name", name, str, "the name of a label")
    known = name in plugins.label_classes()
    return labels.laws(_subject(plugins.LABELS, name)) if known else _not_found(plugins.LABELS, name)


def network_laws(name: str) -> list[Law]:
    """The laws of the network of this name, installed, or mlp (lstm and gru see windows of rows and have tests of their own)."""
    require("the name", name, str, "the name of a network")
    known = name in networks.known()
    return networks.laws(_subject(plugins.NETWORKS, name)) if known else _not_found(plugins.NETWORKS, name)


def _subject(group: str, name: str) -> Subject:
    return Subject(group, name, plugins.plugin(group, name))


def _not_found(group: str, name: str) -> list[Law]:
    """One law that is broken: what should be tested is not there, or not as it should be."""
    subject = Subject(group, name, None)

    def found() -> None:
        said = plugins.fault_of(group, name)
        broken(
            subject, "found", said or f"no installed package has an entry point '{name}' in the group {group}: pip install -e ."
        )

    return [Law("found", subject, found)]
