# SPDX-License-Identifier: Apache-2.0
"""Chromium without a screen in a network namespace, driven by chromedriver over W3C WebDriver, which is HTTP.

    with Browser.start(namespace, directory) as browser:
        browser.go("http://127.0.0.1:8080/")
        browser.click("button")

Places in the page are CSS selectors. What the page did is kept: `requests()` and `complaints()`.
"""

import base64
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from bench.testbed.namespace import Namespace

PORT = 9515  # of the namespace
PATIENCE = 10.0  # seconds
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # how WebDriver marks an element in JSON
_KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Shift": "\ue008", "Escape": "\ue00c", "Space": " "}
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,900",
)


class Browser:
    """One browser with an empty profile. Made by `start`."""

    def __init__(self, place: Namespace) -> None:
        self._place = place
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60, trust_env=False)
        self._session = ""
        self._log: list[dict[str, Any]] = []

    @classmethod
    @contextmanager
    def start(cls, place: Namespace, directory: Path) -> Iterator[Self]:
        """Start it in *place*, with its profile in *directory*, and end it after."""
        argv = ("chromedriver", f"--port={PORT}", f"--log-path={directory / 'chromedriver.log'}")
        driver = place.spawn(argv, name="chromedriver", env={**os.environ, "HOME": str(directory)})
        browser = cls(place)
        try:
            browser._begin(directory / "profile")
            yield browser
        finally:
            browser._end()
            if driver.alive():
                driver.terminate()

    def _begin(self, profile: Path) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            assert time.monotonic() < deadline, "chromedriver does not answer"
            time.sleep(0.05)
        wanted = {
            "browserName": "chrome",
            "acceptInsecureCerts": True,
            "goog:chromeOptions": {
                "args": [*_ARGUMENTS, f"--user-data-dir={profile}"],
                # The page for new tabs would look for the network, and everything would wait for it.
                "prefs": {"session": {"restore_on_startup": 4, "startup_urls": ["about:blank"]}},
            },
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _is_ready(self) -> bool:
        try:
            return bool(self._ask("GET", "/status")["ready"])
        except httpx.TransportError:
            return False

    def _end(self) -> None:
        if self._session:
            self._do("DELETE", "")
        self._client.close()

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        with self._place.enter():  # a connection that is made now belongs there
            answer = self._client.request(method, path, json=body)
        value = answer.json()["value"]
        assert answer.is_success, f"{path} {body}: {value['error']}: {value['message']}"
        return value

    def _do(self, method: str, path: str, body: Any = None) -> Any:
        return self._ask(method, f"/session/{self._session}{path}", body)

    # -- what a person does

    def go(self, address: str) -> None:
        """Open a page."""
        self._do("POST", "/url", {"url": address})

    def reload(self) -> None:
        """Load the page again."""
        self._do("POST", "/refresh", {})

    def click(self, selector: str) -> None:
        """Click what can be seen there."""
        self._do("POST", f"/element/{self._find(selector)}/click", {})

    def write(self, selector: str, text: str) -> None:
        """Put a text into a field."""
        element = self._find(selector)
        self._do("POST", f"/element/{element}/clear", {})
        self._do("POST", f"/element/{element}/value", {"text": text})

    def choose(self, selector: str, value: str) -> None:
        """Choose an option."""
        self.click(f'{selector} option[value="{value}"]')

    def press(self, *names: str) -> None:
        """Press keys one after the other, on whatever has the focus: Tab, Enter, ..., or text."""
        actions = [
            {"type": kind, "value": key}
            for name in names
            for key in _KEYS.get(name, name)
            for kind in ("keyDown", "keyUp")
        ]
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def press_back(self) -> None:
        """Press Shift and Tab."""
        order = [("keyDown", "Shift"), ("keyDown", "Tab"), ("keyUp", "Tab"), ("keyUp", "Shift")]
        actions = [{"type": kind, "value": _KEYS[name]} for kind, name in order]
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def point(self, selector: str) -> None:
        """Hold the pointer over the middle of it."""
        where = {"type": "pointerMove", "origin": {_ELEMENT: self._find(selector)}, "x": 0, "y": 0}
        self._do("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [where]}]})

    # -- what a person sees

    def _find(self, selector: str) -> str:
        found = self._do("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def text(self, selector: str) -> str:
        """The visible text there."""
        return str(self._do("GET", f"/element/{self._find(selector)}/text"))

    def is_shown(self, selector: str) -> bool:
        """Whether it can be seen."""
        return bool(self.script("return !!document.querySelector(arguments[0])?.checkVisibility()", selector))

    def script(self, source: str, *arguments: Any) -> Any:
        """What a script returns. It is not held by the page's content policy."""
        return self._do("POST", "/execute/sync", {"script": source, "args": arguments})

    def until(self, source: str, *arguments: Any, seconds: float = PATIENCE) -> Any:
        """Wait until a script returns something true, and give that."""
        deadline = time.monotonic() + seconds
        while True:
            if found := self.script(source, *arguments):
                return found
            if time.monotonic() >= deadline:
                seen = self.script("return document.body.innerText")
                raise AssertionError(f"not so after {seconds} s: {source} {arguments}: {seen[:2000]}")
            time.sleep(0.05)

    def until_text(self, selector: str, wanted: str, seconds: float = PATIENCE) -> None:
        """Wait until the visible text there has *wanted* in it."""
        source = "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])"
        self.until(source, selector, wanted, seconds=seconds)

    def picture(self, width: int = 1280, height: int = 900) -> bytes:
        """A PNG of the page as in a window of that size."""
        self.size(width, height)
        return base64.b64decode(self._do("GET", "/screenshot"))

    def size(self, width: int, height: int) -> None:
        """As in a window, or on a screen, of that size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", **metrics)

    def prefer(self, **features: str) -> None:
        """Preferences of the system, such as prefers_color_scheme="dark"."""
        given = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=given)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools Protocol."""
        return self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    # -- what the page did

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since the last call: errors, violations of the policy."""
        return [str(entry["message"]) for entry in self._do("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """The address of every request of pages since the last call, whether it was allowed or not.

        The browser's own page for new tabs does not count.
        """
        entries = self._do("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            str(each["params"]["request"]["url"])
            for each in messages
            if each["method"] == "Network.requestWillBeSent"
            and not each["params"]["documentURL"].startswith("chrome://")
        ]
