# SPDX-License-Identifier: Apache-2.0
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from bench import result as results
from bench import schemas
from bench.report import files, html, markdown, plots, terminal, text
from bench.report.plots import Row
from bench.result import Figure, Result, ResultError


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
    assert set(data["ratios"]["neurowall/nft-set@hosts-500"]) == {"value", "ci_low", "ci_high", "n", "bar"}


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


@pytest.mark.parametrize("draw", [plots.strips, plots.bars])
def test_linear_plots_begin_at_zero_and_have_round_ticks(draw: Any) -> None:
    """Also when all there is is zero or tiny."""
    svg = draw([Row("a", 3.7, 3.0, 4.2, "3.7", [[3.6, 4.2]])], "t", "Mpps")
    assert [float(t) for t in re.findall(r'middle">([\d.]+)<', svg)] == [0, 1, 2, 3, 4, 5]
    assert "nan" not in draw([Row("a", 0.0, 0.0, 0.0, "0", [[0.0]])], "t", "ns")
