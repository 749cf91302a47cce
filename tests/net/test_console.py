# SPDX-License-Identifier: Apache-2.0
"""The console in a real browser, with a real daemon under traffic."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.browser import Browser
from tests.net.conftest import daemons
from tests.net.consolepage import (
    FAINT,
    HERE,
    VIEWS,
    Gateway,
    cell,
    number,
    open_row,
    show,
    signed_in,
    signed_in_somehow,
    walk,
)
from tests.net.consolescene import POLICY, Frames, Stream, Traffic
from tests.net.daemon import until
from tests.net.probes import Probes

pytestmark = [pytest.mark.root, pytest.mark.tool("chromedriver", "chromium")]

# A browser says so of each answer that is no success; what the page makes of it is what tests look at.
NETWORK = re.compile(
    r"Failed to load resource|net::ERR_(CONNECTION_REFUSED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED)"
)
FREE = "198.18.55.5"  # a source that nothing is against
LISTED = "203.0.113.7"
HOSTILE = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>\"'&amp;"


@pytest.fixture(scope="module")
def gateway(run: Run, chain: Chain) -> Iterator[Gateway]:
    """A running gateway. Its tests give back what they change."""
    with daemons(run, chain) as make:
        chain.gateway.exec(["ip", "link", "set", "lo", "up"])
        gateway = Gateway(make(POLICY))
        gateway.start()
        yield gateway


@pytest.fixture(scope="module")
def browser(chain: Chain, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser beside the gateway."""
    with Browser.start(chain.gateway, tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(autouse=True)
def _behaves(browser: Browser) -> Iterator[None]:
    """No page asks anybody else, breaks its content policy or has an error."""
    browser.size(1280, 900)
    yield
    complaints = [each for each in browser.complaints() if not NETWORK.search(each)]
    assert not complaints
    asked = {each for each in browser.requests() if not each.startswith((HERE + "/", "about:blank"))}
    assert not asked


@pytest.fixture
def page(browser: Browser, gateway: Gateway) -> Browser:
    """The console of somebody who may read and change."""
    return signed_in(browser, gateway.token("read", "rules:write"))


def test_only_a_token_opens_it(browser: Browser, gateway: Gateway) -> None:
    """Wrong ones are refused with the reason, then held up; the right one is forgotten on sign-out."""
    browser.go(f"{HERE}/")
    assert browser.text("h1") == "Sign in"
    assert not browser.is_shown(".tabs")
    browser.write("#token", f"nw_{'a' * 12}_{'b' * 43}")
    browser.press("Enter")
    browser.until_text("#sign-in-refusal", "does not accept this token")
    browser.script(GUESSES)
    browser.press("Enter")
    browser.until_text("#sign-in-refusal", "Too many failed attempts from your address. Try again in")
    token = gateway.token("read")
    signed_in(browser, token)
    assert browser.script("return Object.values(sessionStorage)") == [token]
    assert browser.script("return document.cookie + Object.values(localStorage)") == ""
    browser.click("#account")
    assert browser.text("#dialog .scopes") == "read"
    browser.click("#sign-out")
    assert browser.text("h1") == "Sign in"
    assert browser.script("return sessionStorage.length") == 0
    assert not browser.is_shown("#view-overview")
    assert browser.script("return document.querySelectorAll('tbody tr').length") == 0


GUESSES = """
    const headers = { authorization: `Bearer nw_${"a".repeat(12)}_${"c".repeat(43)}` };
    return Promise.all(Array.from({ length: 20 }, () => fetch("/status", { headers })));
"""


def test_what_a_token_may_not_do_is_not_offered(browser: Browser, gateway: Gateway) -> None:
    """Buttons that change something are off and say why; a token without `read` sees what it lacks."""
    page = signed_in(browser, gateway.token("read"))
    show(page, "bans")
    page.until("return document.querySelector('#ban-form button').disabled")
    assert "rules:write" in page.script("return document.querySelector('#ban-form button').title")
    gateway.daemon.post("block", "203.0.113.222")
    page.until("return document.querySelector('#bans tbody button')?.disabled")
    gateway.daemon.post("unblock", "203.0.113.222")
    blind = signed_in_somehow(browser, gateway.token("rules:write"))
    blind.until_text("#offline", "needs the scope read")
    assert browser.text("#link") == "Refused"


def test_a_revoked_token_ends_the_session(browser: Browser, gateway: Gateway) -> None:
    """At once, and it is said why."""
    text, token_id = gateway.new_token("short", "read")
    page = signed_in(browser, text)
    gateway.revoke(token_id)
    page.until_text("#sign-in-refusal", "does not accept this token")
    assert page.script("return sessionStorage.length") == 0


def test_rates_are_those_of_the_counters(page: Browser, gateway: Gateway, chain: Chain) -> None:
    """By reason, by list and in sum; sources by name; the charts are drawn, and said in words."""
    make, get = Frames(chain), gateway.daemon.get
    streams = [
        Stream([make.udp(LISTED, 60)], lambda _now: 600),
        Stream([make.udp(f"198.18.40.{each}") for each in range(1, 9)], lambda _now: 300),
    ]
    with Traffic(chain, streams):
        time.sleep(1.5)
        first = get("/top")
        shown = []
        for _ in range(6):
            time.sleep(0.5)
            shown.append([number(cell(page, *where)) for where in RATES])
        second = get("/top")
        chart = page.script("return document.querySelectorAll('#chart-drop .layer').length")
        words = page.script("return document.querySelector('#chart-drop svg').getAttribute('aria-label')")
        tile = number(page.text(".tile.dropped .value"))
    seconds = second["seconds"] - first["seconds"]
    for index, ((_, name, _), kind) in enumerate(zip(RATES, ("reason", "list", "reason"), strict=True)):
        rows = "lists" if kind == "list" else "packets"
        counted = [next(row for row in answer[rows] if row[kind] == name) for answer in (first, second)]
        truth = (counted[1]["packets"] - counted[0]["packets"]) / seconds
        mean = sum(each[index] for each in shown) / len(shown)
        assert mean == pytest.approx(truth, rel=0.15), (name, shown)
        assert truth > 150
    assert tile == pytest.approx(600, rel=0.3)
    assert chart >= 1
    assert re.match(r"Dropped, by reason: \d+ packets per second now, at most \d", words)
    assert cell(page, "#sources", LISTED, "Why") == "block-list, abuse"
    assert cell(page, "#interfaces", "g0", "State") == "guarded"
    assert cell(page, "#limits", "udp-per-source", "Action") == "drop"


RATES = (
    ("#legend-drop", "block-list", "Now"),
    ("#lists", "abuse", "Now"),
    ("#legend-pass", "default", "Now"),
)


def test_a_ban_by_keyboard_alone(page: Browser, gateway: Gateway, probes: Probes) -> None:
    """From the skip link to the kernel and back, and the focus can always be seen."""
    assert probes.arrived(FREE) == {FREE}
    walk(page, "Skip to content", "Neurowall", "theme", "Account", "Overview", "Bans")
    page.press("Enter")
    page.until("return document.activeElement.id === 'bans-title'")
    walk(page, "ban-address")
    page.press(*FREE, "Enter")
    page.until(
        "return document.getElementById('dialog').open && !document.getElementById('dialog-do').disabled"
    )
    assert page.text("#dialog-title") == f"Block {FREE}"
    assert f"{FREE}: added" in page.text("#dialog .effect")
    walk(page, "dialog-reason")
    page.press(*"scans", "Enter")
    page.until("return !document.getElementById('dialog').open")
    page.until_text("#told", f"{FREE} is blocked")
    assert probes.arrived(FREE) == set()
    page.until_text("#bans", FREE)
    assert cell(page, "#bans", FREE, "Ends in").startswith(("1 d", "23 h"))
    page.until_text("#bans", "scans")
    assert re.match(r"token:[a-z0-9]{12} read and rules:write", cell(page, "#bans", FREE, "By"))
    walk(page, f"Unblock {FREE}", most=20)
    page.press("Enter")
    page.until("return document.getElementById('dialog').open")
    page.press("Escape")
    assert page.script("return document.activeElement.getAttribute('aria-label')") == f"Unblock {FREE}"
    assert probes.arrived(FREE) == set()
    page.press("Enter")
    page.until(
        "return document.getElementById('dialog').open && !document.getElementById('dialog-do').disabled"
    )
    walk(page, "dialog-do")
    page.press("Space")
    page.until_text("#told", f"{FREE} is not blocked any more")
    assert probes.arrived(FREE) == {FREE}
    page.until("return !document.querySelector('#bans').innerText.includes(arguments[0])", FREE)
    until(lambda: cell(page, "#history", FREE, "Ended by") == cell(page, "#history", FREE, "By"))
    assert cell(page, "#history", FREE, "Reason") == "scans"


def test_what_cannot_be_blocked_is_said_in_the_dialog(page: Browser) -> None:
    """Before anything is asked for; the button stays off."""
    show(page, "bans")
    page.write("#ban-address", "203.0.113.300")
    page.press("Enter")
    page.until_text("#dialog-refusal", "203.0.113.300")
    assert page.script("return document.getElementById('dialog-do').disabled")
    page.press("Escape")


def test_without_its_database_nothing_is_changed(page: Browser, gateway: Gateway, probes: Probes) -> None:
    """The dialog says why and stays; the same click does it when the database is back."""
    show(page, "bans")
    page.write("#ban-address", FREE)
    page.press("Enter")
    page.until(
        "return document.getElementById('dialog').open && !document.getElementById('dialog-do').disabled"
    )
    with closing(sqlite3.connect(gateway.daemon.state_dir / "main/neurowall.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        page.click("#dialog-do")
        page.until_text("#dialog-refusal", "The gateway cannot do this now")
        assert probes.arrived(FREE) == {FREE}
    page.until("return !document.getElementById('dialog-do').disabled")
    until(lambda: not any("database" in each for each in gateway.daemon.get("/status")["warnings"]))
    page.click("#dialog-do")
    page.until_text("#told", f"{FREE} is blocked")
    assert probes.arrived(FREE) == set()
    gateway.daemon.post("unblock", FREE)


def test_the_way_back_to_an_earlier_policy(page: Browser, gateway: Gateway, probes: Probes) -> None:
    """What it would change is shown first; what somebody else did meanwhile is noticed."""
    before = gateway.daemon.get("/policy")
    gateway.apply(POLICY.replace("203.0.113.128/26", f"203.0.113.128/26, {FREE}"), note="one more")
    assert probes.arrived(FREE) == set()
    show(page, "policy")
    page.until_text("#generations", "one more")
    open_row(page, before["generation"], "Compare with the present one generation")
    page.until_text(
        "#dialog .diff", f"+  - {{name: scanners, verdict: block, entries: [203.0.113.128/26, {FREE}"
    )
    page.press("Escape")
    open_row(page, before["generation"], "Roll back to generation")
    page.until_text("#dialog .differences", "lists scanners")
    gateway.daemon.post("block", "192.0.2.201")
    page.click("#dialog-do")
    page.until_text("#dialog-refusal", "Somebody changed the policy or a list meanwhile")
    assert probes.arrived(FREE) == set()
    page.press("Escape")
    open_row(page, before["generation"], "Roll back to generation")
    page.until("return !document.getElementById('dialog-do').disabled")
    page.click("#dialog-do")
    page.until_text("#told", f"The policy of generation {before['generation']} is in force again")
    assert probes.arrived(FREE) == {FREE}
    assert gateway.daemon.get("/policy")["text"] == before["text"]
    page.until("return document.querySelector('#generations tbody .chip').innerText === 'rollback, in force'")
    gateway.daemon.post("unblock", "192.0.2.201")


def test_a_policy_on_trial_is_kept_from_here(page: Browser, gateway: Gateway) -> None:
    """It is said how long it has; confirming ends the trial."""
    before = gateway.daemon.get("/policy")["generation"]
    gateway.apply(POLICY.replace("ports: 25,", "ports: [25, 465],"), confirm="60s")
    page.until_text("#pending", f"generation {before} comes back in")
    page.click("#pending-confirm")
    page.click("#dialog-do")
    page.until("return document.getElementById('pending').hidden")
    until(lambda: gateway.daemon.get("/policy")["confirmed"])
    gateway.rollback()


def test_explanations(page: Browser) -> None:
    """Of an address and of a packet; what is neither is refused with the reason."""
    show(page, "explain")
    page.write("#explain-text", LISTED)
    page.press("Enter")
    page.until_text("#explained", "block list abuse holds it through 203.0.113.0/25")
    assert page.text("#explained .chip") == "drop"
    page.write("#explain-text", f"tcp {FREE}:4711 -> 198.19.0.2:443 via g0")
    page.press("Enter")
    page.until_text("#explained", "is accepted by rule web")
    page.write("#explain-text", "tcp nonsense")
    page.press("Enter")
    page.until("return !document.getElementById('explain-refusal').hidden")
    assert not page.is_shown("#explained")


def test_events_come_by_themselves(page: Browser, probes: Probes) -> None:
    """By the filter; a pause holds them back without losing them."""
    show(page, "events")
    page.until_text("#events-state", "Following")
    probes.arrived("203.0.113.71")
    page.until_text("#events", "203.0.113.71:4711")
    page.click("#events-pause")
    probes.arrived("203.0.113.72")
    page.until_text("#events-state", "Paused: 1 new event")
    assert "203.0.113.72" not in page.text("#events")
    page.click("#events-pause")
    page.until_text("#events", "203.0.113.72:4711")
    page.write("#events-address", "203.0.113.73")
    page.press("Enter")
    page.until_text("#events-state", "Following")
    probes.arrived("203.0.113.74", "203.0.113.73")
    page.until_text("#events", "203.0.113.73:4711")
    assert "203.0.113.74" not in page.text("#events")


def test_text_from_elsewhere_stays_text(page: Browser, gateway: Gateway) -> None:
    """A note, a reason and a policy full of markup; and the content policy would stop what got through."""
    number = gateway.apply(f"# {HOSTILE}\n{POLICY}", note=HOSTILE)
    show(page, "policy")
    page.until_text("#generations", "<img src=x onerror=")
    open_row(page, number, "Show the policy of generation")
    page.until_text("#dialog pre", "<script>window.pwned=1</script>")
    page.press("Escape")
    show(page, "bans")
    page.write("#ban-address", "192.0.2.202")
    page.press("Enter")
    page.until(
        "return document.getElementById('dialog').open && !document.getElementById('dialog-do').disabled"
    )
    page.write("#dialog-reason", HOSTILE)
    page.click("#dialog-do")
    page.until_text("#bans", "192.0.2.202")
    show(page, "explain")
    page.write("#explain-text", HOSTILE)
    page.press("Enter")
    page.until("return !document.getElementById('explain-refusal').hidden")
    assert page.script("return document.querySelectorAll('main img, dialog img, main script').length") == 0
    assert page.script("return window.pwned") is None
    page.script(
        "const made = document.createElement('script'); made.textContent = 'window.pwned = 1';"
        "document.body.append(made); made.remove()"
    )
    assert page.script("return window.pwned") is None
    assert any("Content Security Policy" in each for each in page.complaints())
    gateway.daemon.post("unblock", "192.0.2.202")
    gateway.rollback()


def test_the_daemon_may_come_and_go(page: Browser, gateway: Gateway, probes: Probes) -> None:
    """The page says that it is cut off, and goes on by itself with what was counted meanwhile."""
    show(page, "events")
    page.until_text("#events-state", "Following")
    gateway.daemon.kill()
    page.until_text("#link", "Disconnected")
    page.until_text("#offline", "Trying again in")
    page.until_text("#events-state", "Connecting again")
    gateway.start()
    page.until_text("#link", "Live", 15)
    assert not page.is_shown("#offline")
    page.until_text("#events-state", "Following", 15)
    probes.arrived("203.0.113.75")
    page.until_text("#events", "203.0.113.75:4711")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read(page: Browser, gateway: Gateway, scheme: str) -> None:
    """In both schemes with the contrast of WCAG AA, and on a phone without scrolling sideways."""
    page.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    gateway.daemon.post("block", "2001:db8:1111:2222:3333:4444:5555:6666")
    for view in VIEWS:
        show(page, view)
        if view == "explain":
            page.write("#explain-text", "2001:db8:1111:2222:3333:4444:5555:6666")
            page.press("Enter")
            page.until("return !document.getElementById('explained').hidden")
        for width in (1280, 360):
            page.size(width, 800)
            assert page.script("return document.documentElement.scrollWidth") <= width, (view, width)
            assert page.script(FAINT) == [], (view, width)
        page.size(1280, 900)
    assert (
        page.script("return getComputedStyle(document.querySelector('.meter span')).transitionDuration")
        == "0s"
    )
    other = {"light": "dark", "dark": "light"}[scheme]
    page.choose("#theme", other)
    assert page.script("return getComputedStyle(document.documentElement).colorScheme") == other
    page.reload()
    assert page.script("return getComputedStyle(document.documentElement).colorScheme") == other
    page.prefer()
    gateway.daemon.post("unblock", "2001:db8:1111:2222:3333:4444:5555:6666")
