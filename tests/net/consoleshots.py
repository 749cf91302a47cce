# SPDX-License-Identifier: Apache-2.0
"""The pictures of the console in the documents: `python -m tests.net.consoleshots docs/images`.

As root; takes some two minutes. A real daemon under the traffic of consolescene, in a real browser.
"""

import base64
import struct
import sys
import time
import zlib
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.browser import Browser
from tests.net.conftest import daemons
from tests.net.consolepage import Gateway, show, signed_in
from tests.net.consolescene import POLICY, Traffic, everything

SECONDS = 75  # of traffic before the first picture: the charts show one minute
MOST_BYTES = 150_000  # of a picture
SIZES = {"light": (1280, 1190), "dark": (1280, 1190), "phone": (360, 1500)}
_MAGIC = b"\x89PNG\r\n\x1a\n"


def main(directory: Path) -> None:
    """Write console-light.png, -dark, -phone, -rollback and -bans."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        logs = Path(stack.enter_context(TemporaryDirectory()))
        run = stack.enter_context(Run.begin(logs=logs))
        chain = stack.enter_context(Chain(run, "shots").build())
        make = stack.enter_context(daemons(run, chain))
        chain.gateway.exec(["ip", "link", "set", "lo", "up"])
        gateway = Gateway(make(POLICY))
        gateway.start()
        _history(gateway)
        stack.enter_context(Traffic(chain, everything(chain)))
        browser = stack.enter_context(Browser.start(chain.gateway, logs))
        signed_in(browser, gateway.token("read", "rules:write"))
        browser.choose("#window", "60")
        browser.script("document.activeElement.blur()")
        time.sleep(SECONDS)
        taken: dict[str, bytes] = {}
        for name, size in SIZES.items():
            scheme = "dark" if name == "dark" else "light"
            browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
            browser.size(*size)
            time.sleep(1.5)  # the charts are drawn anew with each answer
            taken[f"console-{name}.png"] = browser.picture(*size)
        taken["console-rollback.png"] = _rollback(browser)
        browser.press("Escape")
        show(browser, "bans")
        browser.until_text("#history", "passwords")
        taken["console-bans.png"] = browser.picture(1280, 720)
        browser.go("about:blank")
        for name, picture in taken.items():
            _write(directory / name, compact(browser, picture))


def _history(gateway: Gateway) -> None:
    """Some generations and bans, as a gateway has that is in use."""
    daemon = gateway.daemon
    for text, note in (
        (POLICY.replace("192.88.99.7", "192.88.99.8"), "the scanner moved"),
        (POLICY.replace("ports: [80, 443]", "ports: 443"), "no plain HTTP"),
        (POLICY, "plain HTTP again, for the certificate's renewal"),
    ):
        gateway.apply(text, note=note)
    daemon.post("block", "203.0.113.200", "2001:db8:5::/48")
    daemon.post("allow", "198.51.100.77")
    daemon.ask(
        "POST", "/block", json={"addresses": ["192.0.2.77"], "ttl": "6h", "reason": "guesses passwords"}
    )


def _rollback(browser: Browser) -> bytes:
    browser.size(1280, 720)
    show(browser, "policy")
    button = "#generations tbody tr:nth-child(2) button[data-scope]"
    browser.until("return document.querySelector(arguments[0])", button)
    browser.click(button)
    browser.until("return !document.getElementById('dialog-do').disabled")
    return browser.picture(1280, 720)


def _write(path: Path, picture: bytes) -> None:
    assert len(picture) < MOST_BYTES, f"{path}: {len(picture)} bytes"
    path.write_bytes(picture)
    print(f"{path}: {len(picture)} bytes")  # noqa: T201


def compact(browser: Browser, picture: bytes) -> bytes:
    """The same PNG with the 256 colours that it has most of: a third of the size."""
    width, height, palette, pixels = browser.script(_INDEXED, base64.b64encode(picture).decode())
    rows = base64.b64decode(pixels)
    lines = b"".join(b"\0" + rows[start : start + width] for start in range(0, len(rows), width))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits a pixel, of a palette
    chunks = (
        (b"IHDR", header),
        (b"PLTE", bytes(palette)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return _MAGIC + b"".join(_chunk(*each) for each in chunks)


_INDEXED = """
    const image = new Image();
    image.src = "data:image/png;base64," + arguments[0];
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const { data } = canvas.getImageData(0, 0, image.width, image.height);
    const colours = new Map();
    const at = (pixel) => (data[4 * pixel] << 16) | (data[4 * pixel + 1] << 8) | data[4 * pixel + 2];
    for (let pixel = 0; pixel < data.length / 4; pixel += 1) {
        colours.set(at(pixel), (colours.get(at(pixel)) ?? 0) + 1);
    }
    const parts = (colour) => [colour >> 16, (colour >> 8) & 255, colour & 255];
    const palette = [...colours].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([colour]) => parts(colour));
    const nearest = new Map();
    for (const colour of colours.keys()) {
        const own = parts(colour);
        const away = (other) => own.reduce((sum, part, index) => sum + (part - other[index]) ** 2, 0);
        let best = 0;
        palette.forEach((other, index) => away(other) < away(palette[best]) && (best = index));
        nearest.set(colour, best);
    }
    let pixels = "";
    for (let pixel = 0; pixel < data.length / 4; pixel += 1) {
        pixels += String.fromCharCode(nearest.get(at(pixel)));
    }
    return [image.width, image.height, palette.flat(), btoa(pixels)];
"""


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
