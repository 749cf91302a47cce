# SPDX-License-Identifier: Apache-2.0
import io
import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from bench import result as results
from bench import schemas
from bench.operations.scenario import Operations
from bench.report import curves, files, html, lines, markdown, plots, terminal, text
from bench.report.curves import Curve
from bench.report.plots import Row
from bench.result import Control, Figure, Metric, Ratio, Result, ResultError, Skip
from bench.scenario import Scenario, load, locate, names


@pytest.fixture
def stored(run_small: Any) -> Result:
    """A result of the simulated lab, as it would be on disk."""
    found: Result = run_small()
    return found


class Elements(HTMLParser):
    """Collects what a page holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep tag and attributes."""
        self.found.append((tag, dict(attrs)))


def test_a_result_validates_against_the_published_schema(stored: Result, tmp_path: Path) -> None:
    """The file, not the model; and the schema can say no."""
    results.save(stored, tmp_path / "result.json")
    data = json.loads((tmp_path / "result.json").read_text())
    schema = json.loads((schemas.DIRECTORY / "result.schema.json").read_text())
    jsonschema.validate(data, schema)
    for key in (
        "schema",
        "scenario",
        "profile",
        "verdict",
        "metrics",
        "ratios",
        "ledger",
        "gates",
        "environment",
        "raw",
    ):
        broken = {name: value for name, value in data.items() if name != key}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data | {"verdict": "probably"}, schema)


def test_keys_and_values_are_those_of_the_design(stored: Result) -> None:
    """Design section 12."""
    data = results.dump(stored)
    assert data["schema"] == "neurowall-bench/1"
    assert set(data["metrics"]["neurowall/drop_mpps@hosts-500"]) == {
        "value",
        "unit",
        "ci_low",
        "ci_high",
        "n",
    }
    assert set(data["ratios"]["neurowall/nft-set@hosts-500"]) == {
        "value",
        "ci_low",
        "ci_high",
        "n",
        "bar",
        "at_most",
    }


def test_published_schemas_are_those_of_the_models() -> None:
    """After a change of a model: python -m bench.schemas."""
    for name, schema in schemas.documents().items():
        assert json.loads((schemas.DIRECTORY / name).read_text()) == schema
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_stored_result_reads_back_the_same(stored: Result, tmp_path: Path) -> None:
    """By its file or its directory."""
    results.save(stored, tmp_path / "result.json")
    assert results.load(tmp_path) == results.load(tmp_path / "result.json") == stored


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not JSON"),
        ("[]", "its schema is 'list'"),
        ('{"schema": "neurowall-bench/2"}', "its schema is 'neurowall-bench/2'"),
        ('{"schema": "neurowall-bench/1"}', "errors, the first in scenario"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, content: str, why: str) -> None:
    """With its name and the reason."""
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ResultError, match=re.escape(why)):
        results.load(tmp_path)
    with pytest.raises(ResultError, match=r"give a result\.json"):
        results.load(tmp_path / "missing")


def test_the_page_needs_nothing_from_elsewhere(stored: Result) -> None:
    """No script, no link, no image, no address of a server."""
    page = html.render(results.summarise("r1", {"x": stored}), [stored])
    tags = {tag for tag, _ in Elements(page).found}
    assert not tags & {"script", "link", "img", "iframe"}
    assert "http://" not in page
    assert "https://" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_every_plot_says_in_words_what_it_shows(stored: Result) -> None:
    """For who cannot see it: ratios, rates and costs, each with its numbers."""
    page = html.render(results.summarise("r1", {"x": stored}), [stored])
    found = [attributes for tag, attributes in Elements(page).found if tag == "svg"]
    assert len(found) == 3
    for attributes in found:
        assert attributes["role"] == "img"
        assert "neurowall" in (attributes["aria-label"] or "")
    ratio = stored.ratios["neurowall/nft-set@hosts-500"]
    assert f"neurowall/nft-set@hosts-500 {text.number(ratio.value)}" in (found[0]["aria-label"] or "")


def test_the_page_shows_every_sample_once(stored: Result) -> None:
    """Dots of the strip plot are the samples of the result."""
    page = html.render(results.summarise("r1", {"x": stored}), [stored])
    dots = [a for tag, a in Elements(page).found if tag == "circle" and a.get("class") == "sample"]
    samples = [v for key, s in stored.samples.items() if "drop_mpps" in key for block in s for v in block]
    assert len(dots) == len(samples)


@pytest.mark.parametrize("renderer", [html.render, markdown.render])
def test_reports_hold_figures_gates_ledger_and_reasons(renderer: Any, run_small: Any, lab: Any) -> None:
    """Also when a system is void: the report says why."""
    lab.leak.add("nft-set")
    void = run_small()
    shown = renderer(results.summarise("r1", {"x": void}), [void])
    for needle in (
        "xdp-touch",
        "0.95",
        "VOID",
        "256 of 256 got through",
        "dropped by rule",
        str(void.run.seed),
    ):
        assert needle in shown


def test_what_comes_from_outside_is_escaped(run_small: Any, lab: Any) -> None:
    """A system's error message is no markup."""
    lab.leak.add("nft-set")
    void: Result = run_small()
    nasty = void.model_copy(update={"reasons": ["<script>alert(1)</script> | [bold]x[/]"]})
    page = html.render(results.summarise("r1", {"x": nasty}), [nasty])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    screen = io.StringIO()
    terminal.show(Console(file=screen, width=80), results.summarise("r1", {"x": nasty}), [nasty], Path("d"))
    assert "[bold]x[/]" in screen.getvalue()


def test_the_table_fits_80_columns_and_names_the_reports(stored: Result) -> None:
    """Nothing is cut off with an ellipsis."""
    screen = io.StringIO()
    terminal.show(
        Console(file=screen, width=80), results.summarise("r1", {"x": stored}), [stored], Path("some/dir")
    )
    shown = screen.getvalue()
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown
    for needle in (
        "neurowall/nft-set",
        ">= 2.3",
        "pass",
        "160 effectiveness gates, all green",
        "ledger closed",
        "some/dir/report.html",
    ):
        assert needle in shown


def test_the_widest_verdict_fits_80_columns(stored: Result) -> None:
    """The longest name, a noisy A/A pair, the longest word."""
    key = "neurowall/neurowall-classic@mix-300000"
    figure = Figure(figure="N12", ratio=key, bar=0.85, verdict="too-noisy", noise_floor=12.345)
    ratio = Ratio(value=0.91, ci_low=0.84, ci_high=0.97, n=3, bar=0.85)
    wide = stored.model_copy(update={"figures": [figure], "ratios": {key: ratio}, "metrics": {}})
    screen = io.StringIO()
    terminal.show(Console(file=screen, width=80), results.summarise("r1", {"x": wide}), [wide], Path("d"))
    row = next(line for line in screen.getvalue().splitlines() if "N12" in line)
    name = key.partition("@")[0]
    assert " ".join(row.split()) == f"N12 {name} 0.91 0.84 to 0.97 >= 0.85 >99% too noisy"
    assert len(row) <= 80


@pytest.mark.parametrize("name", [name for name in names() if isinstance(load(locate(name)), Operations)])
def test_a_result_of_operations_is_shown_like_the_others(stored: Result, name: str) -> None:
    """Every metric of it, in every report; the table fits 80 columns."""
    asked = load(locate(name))
    assert isinstance(asked, Operations)
    cells = [(s, p, m) for p in asked.points for s in asked.systems_at(p) for m in asked.metrics_of(s, p)]
    made = Metric(value=12.3, unit="ms", ci_low=11.1, ci_high=13.7, n=4)
    figures = [
        Figure(**bar.model_dump(include={"figure", "ratio", "metric", "bar", "at_most"}), verdict="pass")
        for bar in asked.bars
    ]
    shown = stored.model_copy(
        update={
            "run": stored.run.model_copy(update={"scenario": asked.model_dump(mode="json")}),
            "metrics": {f"{s}/{m}@{p}": made for s, p, m in cells},
            "samples": {f"{s}/{m}@{p}": [[11.0, 13.0]] for s, p, m in cells},
            "ratios": {},
            "figures": figures,
        }
    )
    summary, screen = results.summarise("r1", {"x": shown}), io.StringIO()
    terminal.show(Console(file=screen, width=80), summary, [shown], Path("some/dir"))
    lines_shown = [line for line in screen.getvalue().splitlines() if "some/dir" not in line]
    assert max(len(line) for line in lines_shown) <= 80
    assert "…" not in screen.getvalue()
    for page in (screen.getvalue(), html.render(summary, [shown]), markdown.render(summary, [shown])):
        assert [metric for _, _, metric in cells if metric not in page and metric not in DRAWN] == []
        assert "12.3" in page


DRAWN = ("load_seconds", "daemon_pss_mib", "kernel_maps_mib", "drop_mpps")
"""Metrics that a curve has a title for."""


def test_reports_are_rewritten_from_the_stored_results(stored: Result, tmp_path: Path) -> None:
    """The same bytes: a report holds nothing that result.json does not."""
    (tmp_path / "small").mkdir()
    results.save(stored, tmp_path / "small" / "result.json")
    files.write(tmp_path, [stored])
    before = {name: (tmp_path / name).read_text() for name in ("summary.json", "report.md", "report.html")}
    files.write(tmp_path, files.read(tmp_path))
    assert {name: (tmp_path / name).read_text() for name in before} == before
    with pytest.raises(ResultError, match=r"no \*/result\.json"):
        files.read(tmp_path / "small")


def test_a_summary_has_the_worst_verdict_and_validates(stored: Result, run_small: Any, lab: Any) -> None:
    """Void before fail before too noisy before pass."""
    lab.refuse.add("nft-set")
    void = run_small()
    summary = results.summarise("r1", {"a/result.json": stored, "b/result.json": void})
    assert summary.verdict == "void"
    schema = json.loads((schemas.DIRECTORY / "summary.schema.json").read_text())
    jsonschema.validate(results.dump(summary), schema)
    order = ["pass", "too-noisy", "fail", "void"]
    for number, verdict in enumerate(order):
        assert results.worst(order[: number + 1]) == verdict  # type: ignore[arg-type]
    assert results.worst([]) == "skipped"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (0.5, "0.50"),
        (2.345, "2.35"),
        (45.67, "45.7"),
        (12345.6, "12,346"),
        (-3.2, "-3.20"),
    ],
)
def test_numbers_have_about_three_digits(value: float, shown: str) -> None:
    """And no exponent."""
    assert text.number(value) == shown


def test_a_decision_says_what_to_do_about_noise() -> None:
    """Blocks that would decide, or that none would."""
    figure = Figure(figure="N1", ratio="a/b@c", bar=1, verdict="too-noisy", blocks_needed=14)
    assert text.decision(figure) == "too noisy: about 14 blocks would decide"
    undecidable = figure.model_copy(update={"blocks_needed": None})
    assert "at the bar" in text.decision(undecidable)


def test_each_control_is_put_in_its_own_words() -> None:
    """Sources, the gateway's core, and packets of a fixed rate."""
    controls = [
        Control(point="a", check="sources", value=0.9, bar=0.85, verdict="pass"),
        Control(point="a", check="core", value=0.5, bar=0.95, verdict="fail"),
        Control(point="a", check="offered", value=0.996, bar=0.99, verdict="pass"),
    ]
    assert [text.control_line(control) for control in controls] == [
        "the empty system with these sources / with one source: 0.90 (at least 0.85: ok)",
        "the gateway's core was busy 50% (at least 95%: VOID)",
        "packets of the offered rate that were sent to the empty system: 99.6% (at least 99%: ok)",
    ]


def test_points_with_the_same_words_are_said_together(scaling: Result) -> None:
    """A dozen points do not make a dozen lines of the same."""
    lines_said = text.evidence(scaling)
    said = [line for line in lines_said if line.startswith("hosts-100, hosts-5000, hosts-20000")]
    assert any("the empty system with these sources" in line for line in said)
    skips = [
        Skip(system=system, point=point, reason="too slow") for point in ("p", "q") for system in ("a", "b")
    ]
    assert text.skips(skips) == ["skipped at p, q: a, b: too slow"]


def test_spread_is_the_variation_of_all_samples(stored: Result) -> None:
    """Drift between blocks included, since the reader compares it with the interval."""
    key = "neurowall/drop_mpps@hosts-500"
    shown = stored.model_copy(update={"samples": {key: [[1.0, 3.0], [2.0, 2.0]]}})
    assert text.spread(shown, key) == "41%"
    assert text.spread(shown, "none") == ""


def test_ledger_and_gates_in_a_sentence_say_when_they_are_not_well(run_small: Any, lab: Any) -> None:
    """OPEN and RED."""
    lab.lose.add("neurowall")
    lab.leak.add("nft-set")
    bad = run_small()
    assert "ledger OPEN" in text.ledger_line(bad)
    assert "32 RED" in text.gates_line(bad)


def test_plots_place_marks_in_order_inside_their_frame() -> None:
    """Larger values stand further right, the bar included."""
    rows = [Row("a", 0.5, 0.4, 0.6, "0.5", bar=0.45), Row("b", 2.0, 1.5, 9.0, "2.0")]
    svg = plots.forest(rows, "t")
    centres = [float(x) for x in re.findall(r'class="mean plain" cx="([\d.]+)"', svg)]
    goal = float(re.findall(r'class="goal" d="M([\d.]+)', svg)[0])
    assert goal < centres[0] < centres[1]
    marks = [float(x) for x in re.findall(r'(?:cx="|M|H)([\d.]+)', svg)]
    assert min(marks) >= 0
    assert max(marks) <= plots.WIDTH
    assert len(re.findall(r'class="goal"', svg)) == 1


@pytest.fixture
def scaling(run_small: Any, document: dict[str, Any]) -> Result:
    """A result of three sizes of one shape, of which one rival has two, and one size of another shape."""
    document["points"] = {
        "hosts-100": {"hosts4": 100},
        "hosts-5000": {"hosts4": 5000, "systems": ["xdp-null", "xdp-touch", "neurowall"]},
        "hosts-20000": {"hosts4": 20_000},
        "hosts-20000-uniform": {"hosts4": 20_000, "sources": "listed"},
        "prefixes-100": {"prefixes4": 100},
    }
    document["traffic"] |= {"sources": "fixed-set", "set_size": 100}
    document["metrics"].append("memory_mib")
    document["bars"] = [
        {"figure": "N2", "ratio": "neurowall/neurowall@hosts-20000:hosts-100", "bar": 0.9},
        {"figure": "N6", "metric": "neurowall/load_seconds@hosts-20000", "at_most": 4},
    ]
    found: Result = run_small(Scenario.model_validate(document))
    return found


def test_points_of_one_shape_and_the_same_packets_make_a_curve(scaling: Result) -> None:
    """A line a system; what depends on the rules alone counts other packets' points too."""
    found = {curve.metric: curve for curve in curves.of(scaling)}
    assert list(found) == ["drop_mpps", "cost_ns", "load_seconds", "memory_mib"]
    rates = found["drop_mpps"]
    assert rates.points == ("hosts-100", "hosts-5000", "hosts-20000")
    assert rates.sizes == [100, 5000, 20_000]
    assert {system: list(line) for system, line in rates.lines.items()} == {
        "xdp-null": [100, 5000, 20_000],
        "xdp-touch": [100, 5000, 20_000],
        "neurowall": [100, 5000, 20_000],
        "nft-set": [100, 20_000],
    }
    assert rates.lines["neurowall"][5000] == scaling.metrics["neurowall/drop_mpps@hosts-5000"]
    assert "hosts-20000-uniform" in found["memory_mib"].points
    assert set(found["memory_mib"].lines) == {"neurowall"}
    assert set(found["load_seconds"].lines) == {"neurowall", "nft-set"}  # the others load nothing
    assert "xdp-null" not in found["cost_ns"].lines
    assert "by number of IPv4 hosts" in rates.title


def test_a_result_of_one_size_has_no_curve(stored: Result) -> None:
    """Its plots are those of its points."""
    assert curves.of(stored) == []


def test_a_curve_places_sizes_and_values_in_order(scaling: Result) -> None:
    """To the right with the logarithm of the rules, up with the value, all inside the frame."""
    svg = lines.draw(next(curve for curve in curves.of(scaling) if curve.metric == "drop_mpps"))
    at = {
        system: [
            (float(x), float(y))
            for x, y in re.findall(rf'class="point {system}" cx="([\d.]+)" cy="([\d.]+)"', svg)
        ]
        for system in ("xdp-null", "neurowall", "nft-set")
    }
    x1, x2, x3 = (x for x, _ in at["neurowall"])
    assert x1 < x2 < x3
    assert (x2 - x1) / (x3 - x1) == pytest.approx(math.log(50) / math.log(200), abs=0.01)
    assert [x for x, _ in at["nft-set"]] == [x1, x3]
    assert max(y for _, y in at["xdp-null"]) < min(y for _, y in at["neurowall"])
    assert max(y for _, y in at["neurowall"]) < min(y for _, y in at["nft-set"])
    assert all(0 <= x <= plots.WIDTH and 0 <= y <= lines.HEIGHT for pairs in at.values() for x, y in pairs)
    names = re.findall(r'class="name ([\w-]+)" x="[\d.]+" y="([\d.]+)"', svg)
    assert [name for name, _ in sorted(names, key=lambda item: float(item[1]))] == [
        "xdp-null", "xdp-touch", "neurowall", "nft-set"
    ]  # fmt: skip
    heights = sorted(float(y) for _, y in names)
    assert all(below - above >= 14 for above, below in itertools.pairwise(heights))


def test_names_of_lines_that_end_together_do_not_cover_each_other() -> None:
    """At the top, at the bottom, or in between."""
    systems = ("xdp-null", "xdp-touch", "neurowall", "neurowall-classic", "nft-set", "ipset")
    for values in ([1.0] * 6, [0.0, 0.0, 0.0, 0.0, 0.0, 9.0], [5.0, 5.1, 5.2, 5.1, 5.0, 9.0]):
        made = {
            system: {size: Metric(value=v, unit="s", ci_low=v, ci_high=v, n=3) for size in (10, 100)}
            for system, v in zip(systems, values, strict=True)
        }
        svg = lines.draw(Curve("load_seconds", "t", "s", "", ("a", "b"), made))
        heights = sorted(float(y) for y in re.findall(r'class="name [\w-]+" x="[\d.]+" y="([\d.]+)"', svg))
        assert len(heights) == 6
        assert all(below - above >= 14 for above, below in itertools.pairwise(heights))
        assert heights[-1] <= lines.HEIGHT - 20


def test_every_point_of_a_curve_has_its_interval(scaling: Result) -> None:
    """From the lower to the upper end."""
    svg = lines.draw(next(curve for curve in curves.of(scaling) if curve.metric == "drop_mpps"))
    bars = re.findall(r'class="curve nft-set interval-of" d="M([\d.]+) ([\d.]+)V([\d.]+)"', svg)
    assert len(bars) == 2
    assert all(float(low) > float(high) for _, low, high in bars)


def test_a_wide_range_of_values_is_drawn_on_a_logarithmic_axis() -> None:
    """Or the smallest would all lie on the ground; an interval of any size stays inside."""

    def metric(value: float) -> Metric:
        return Metric(value=value, unit="ns", ci_low=value / 100, ci_high=value * 1000, n=3)

    made = Curve("cost_ns", "t", "ns", "", ("a", "b"), {
        "neurowall": {10: metric(10.0), 1000: metric(20.0)}, "nft-set": {10: metric(1000.0)}
    })  # fmt: skip
    svg = lines.draw(made)
    low, high = (float(y) for y in re.findall(r'class="point neurowall" cx="[\d.]+" cy="([\d.]+)"', svg))
    assert low - high > 20
    marks = [float(y) for pair in re.findall(r'interval-of" d="M[\d.]+ ([\d.]+)V([\d.]+)', svg) for y in pair]
    assert min(marks) >= 0
    assert max(marks) <= lines.HEIGHT


def test_reports_show_curves_as_plots_and_tables(scaling: Result) -> None:
    """And say their numbers in words; points on a curve are not drawn again one by one."""
    summary = results.summarise("r1", {"x": scaling})
    page, markup = html.render(summary, [scaling]), markdown.render(summary, [scaling])
    labels = [a["aria-label"] or "" for tag, a in Elements(page).found if tag == "svg"]
    value = text.number(scaling.metrics["nft-set/drop_mpps@hosts-20000"].value)
    assert any("nft-set" in label and f"{value} at 20k" in label for label in labels)
    assert not any(label.startswith("drop_mpps at hosts-5000") for label in labels)
    assert any(label.startswith("drop_mpps at prefixes-100") for label in labels)
    assert "### Packets dropped, by number of IPv4 hosts (Mpps)" in markup
    assert "| system | 100 | 5,000 | 20,000 |" in markup
    screen = io.StringIO()
    terminal.show(Console(file=screen, width=80), summary, [scaling], Path("some/dir"))
    shown = screen.getvalue()
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert re.search(r"Mpps +100 +5k +20k", shown)
    assert re.search(rf"nft-set +[\d.]+ +{value}\b", shown)


def test_every_verdict_states_its_goal_and_noise_floor(scaling: Result) -> None:
    """Ratios and metrics, from below and from above, in every report."""
    summary = results.summarise("r1", {"x": scaling})
    assert [figure.goal for figure in scaling.figures] == [">= 0.9", "<= 4"]
    noise = scaling.figures[0].noise_floor
    assert noise is not None
    screen = io.StringIO()
    terminal.show(Console(file=screen, width=80), summary, [scaling], Path("some/dir"))
    for shown in (html.render(summary, [scaling]), markdown.render(summary, [scaling]), screen.getvalue()):
        assert f"{noise:.1%}" in shown
        assert "load_seconds" in shown
        assert "<= 4" in shown.replace("&lt;", "<")
    assert summary.scenarios[0].metrics.keys() == {"neurowall/load_seconds@hosts-20000"}
    assert summary.scenarios[0].ratios.keys() == {"neurowall/neurowall@hosts-20000:hosts-100"}


@pytest.mark.parametrize("draw", [plots.strips, plots.bars])
def test_linear_plots_begin_at_zero_and_have_round_ticks(draw: Any) -> None:
    """Also when all there is is zero or tiny."""
    svg = draw([Row("a", 3.7, 3.0, 4.2, "3.7", [[3.6, 4.2]])], "t", "Mpps")
    assert [float(t) for t in re.findall(r'middle">([\d.]+)<', svg)] == [0, 1, 2, 3, 4, 5]
    assert "nan" not in draw([Row("a", 0.0, 0.0, 0.0, "0", [[0.0]])], "t", "ns")
