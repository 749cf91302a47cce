# SPDX-License-Identifier: Apache-2.0
"""The console as an operator uses it, in tests: tokens, signing in, views, tables, the keyboard."""

import re

from tests.net.browser import Browser
from tests.net.daemon import Daemon

DOOR = "127.0.0.1:8443"  # in the gateway's namespace
HERE = f"http://{DOOR}"
VIEWS = ("overview", "bans", "policy", "explain", "events")
_SIZES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


class Gateway:
    """A daemon with an open door, and tokens for it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._tokens: dict[tuple[str, ...], str] = {}

    def start(self) -> None:
        """Start the daemon, or start it again."""
        self.daemon.start("--listen", DOOR)

    def token(self, *scopes: str) -> str:
        """A token with these scopes."""
        if scopes not in self._tokens:
            self._tokens[scopes], _ = self.new_token(" and ".join(scopes), *scopes)
        return self._tokens[scopes]

    def new_token(self, name: str, *scopes: str) -> tuple[str, str]:
        """A new token and its id."""
        answer = self.daemon.ask("POST", "/tokens", json={"name": name, "scopes": scopes})
        assert answer.is_success, answer.text
        return answer.json()["token"], answer.json()["id"]

    def revoke(self, token_id: str) -> None:
        """End a token."""
        answer = self.daemon.ask("DELETE", f"/tokens/{token_id}")
        assert answer.is_success, answer.text

    def apply(self, text: str, **query: str) -> int:
        """Put a policy in force; its generation."""
        answer = self.daemon.ask("POST", "/policy/apply", content=text, params=query)
        assert answer.is_success, answer.text
        return int(answer.json()["generation"])

    def rollback(self) -> None:
        """The policy before the present one."""
        answer = self.daemon.ask("POST", "/policy/rollback")
        assert answer.is_success, answer.text


def signed_in(browser: Browser, token: str) -> Browser:
    """The console with this token, showing something."""
    browser.go(f"{HERE}/console/")
    browser.script("sessionStorage.clear(); localStorage.clear()")
    browser.go(f"{HERE}/console/?new")  # or no new page is loaded
    browser.write("#token", token)
    browser.press("Enter")
    browser.until_text("#link", "Live")
    return browser


def show(page: Browser, view: str) -> None:
    """Another view."""
    page.click(f'.tabs a[href="#{view}"]')
    page.until("return !document.getElementById('view-' + arguments[0]).hidden", view)


def number(text: str) -> float:
    """What `1.23 k/s` says."""
    found = re.match(r"([\d.,]+) ?([kMG]?)", text)
    assert found, text
    return float(found[1].replace(",", "")) * _SIZES[found[2]]


def cell(page: Browser, table: str, row: str, column: str) -> str:
    """What a table shows, by the first cell of the row and the name of the column."""
    source = """
        const [place, name, label] = arguments;
        for (const row of document.querySelectorAll(`${place} tbody tr`)) {
            if (row.cells[0].innerText.trim() !== name) continue;
            return row.querySelector(`[data-label="${label}"]`).innerText;
        }
        return "";
    """
    return str(page.script(source, table, row, column)).strip()


def signed_in_somehow(browser: Browser, token: str) -> Browser:
    """The same without waiting for answers."""
    browser.script("sessionStorage.setItem('neurowall-token', arguments[0])", token)
    browser.reload()
    return browser


def open_row(page: Browser, generation: int, action: str) -> None:
    """Press a button of a generation."""
    page.click(f'#generations button[aria-label="{action} {generation}"]')
    page.until("return document.getElementById('dialog').open")


def walk(page: Browser, *names: str, most: int = 8) -> None:
    """Press Tab until each of these has the focus, at most so often for each; it can be seen where it is."""
    for name in names:
        for _ in range(most):
            page.press("Tab")
            if name in page.script(FOCUSED):
                break
        else:
            raise AssertionError(f"{name} was not reached: {page.script(FOCUSED)}")
        assert page.script(OUTLINED), name


FOCUSED = """
    const found = document.activeElement;
    return [found.id, found.getAttribute("aria-label"), found.innerText];
"""
OUTLINED = """
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
"""


FAINT = """
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = numbers(colour).map((part) => {
            const each = part / 255;
            return each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = getComputedStyle(each).backgroundColor;
            if ((numbers(colour)[3] ?? 1) > 0.99) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const faint = new Set();
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility() || element.closest(":disabled")) continue;
        const style = getComputedStyle(element);
        const colour = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
        const [a, b] = [light(colour), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio >= (large ? 3 : 4.5)) continue;
        faint.add(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
    }
    return [...faint];
"""
