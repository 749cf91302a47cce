# SPDX-License-Identifier: Apache-2.0
"""What we write of metrics is to the byte what prometheus_client writes."""

from collections.abc import Iterable

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.exposition import exposition
from neurowall.management.api.metrics import collector_of

ACCEPTED = (
    "",
    "text/plain",
    "text/plain;version=1.0.0;escaping=allow-utf-8",
    "application/openmetrics-text",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3",
    "application/openmetrics-text; version=0.0.1",
    "text/html, */*",
)
VALUES = (
    0,
    1,
    7,
    999_999,
    1_000_000,
    1_234_567,
    10_000_000,
    (1 << 53) - 1,
    (1 << 64) - 1,
    -3,
    0.1,
    1e-9,
    1e21,
)


class Given(Collector):
    """Metrics that are given."""

    def __init__(self, *families: Metric) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        """As they are."""
        return self.families


def of_the_library(collector: Collector, accept: str) -> tuple[bytes, str]:
    """The same by prometheus_client."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


@pytest.mark.parametrize("accept", ACCEPTED)
def test_values_labels_and_texts_of_any_kind(accept: str) -> None:
    """Numbers of all sizes, labels in the order of their names, and what must be escaped."""
    counter = CounterMetricFamily("packets", 'Packets "seen",\nby \\ why.', labels=("why", "by"))
    for number, value in enumerate(VALUES):
        counter.add_metric((f"reason-{number}", 'quo"te\\ and\nline, übung'), value)
    gauge = GaugeMetricFamily("entries", "Entries.", labels=("map",))
    gauge.add_metric(("hosts4",), float("inf"))
    gauge.add_metric(("",), float("nan"))
    given = Given(
        counter, gauge, GaugeMetricFamily("problems", "What is wrong.", 0), CounterMetricFamily("none", "No.")
    )
    assert exposition(given, accept) == of_the_library(given, accept)


@pytest.mark.parametrize("accept", ACCEPTED)
def test_the_daemons_own(engine: Engine, about: About, accept: str) -> None:
    """All that there is."""
    collector = collector_of(engine, about)
    body, content_type = exposition(collector, accept)
    assert (body, content_type) == of_the_library(collector, accept)
    assert len(body) > 5000
