# SPDX-License-Identifier: Apache-2.0
"""Metrics as text, in both formats that Prometheus asks for.

prometheus_client writes names and labels of any kind, checked and escaped one by one. Ours are plain, and
there are thousands: each millisecond of a scrape is one in which nobody else is answered. Tests compare this
with what prometheus_client writes.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_OPEN = "application/openmetrics-text"
_EXACT = 1_000_000  # from here on floatToGoString has an exponent


def exposition(metrics: Collector, accept: str) -> tuple[bytes, str]:
    """The body and its content type, in the format that *accept* prefers. Raises what the collector does."""
    _, content_type = choose_encoder(accept)
    is_open = content_type.startswith(_OPEN)
    return "".join(_lines(metrics.collect(), is_open=is_open)).encode(), content_type


def _lines(metrics: Iterable[Metric], *, is_open: bool) -> Iterator[str]:
    for metric in metrics:
        # OpenMetrics names a family of counters without the suffix that all its samples have.
        name = f"{metric.name}_total" if metric.type == "counter" and not is_open else metric.name
        yield f"# HELP {name} {_escaped(metric.documentation, quotes=is_open)}\n# TYPE {name} {metric.type}\n"
        for sample in metric.samples:
            yield f"{sample.name}{_labels(sample.labels)} {_number(sample.value)}\n"
    if is_open:
        yield "# EOF\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    shown = ",".join([f'{name}="{_escaped(labels[name])}"' for name in sorted(labels)])
    return f"{{{shown}}}"


def _escaped(text: str, *, quotes: bool = True) -> str:
    if "\\" in text or "\n" in text or '"' in text:
        text = text.replace("\\", r"\\").replace("\n", r"\n")
        return text.replace('"', r"\"") if quotes else text
    return text


def _number(value: float) -> str:
    if isinstance(value, int) and 0 <= value < _EXACT:
        return f"{value}.0"
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text
