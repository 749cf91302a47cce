# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl as an operator would."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate that signs itself, and its key."""

    certificate: Path
    key: Path


def make_pair(directory: Path, name: str = "gw", *addresses: str) -> Pair:
    """A new one for 127.0.0.1, ::1 and *addresses*."""
    pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
    names = ",".join(f"IP:{each}" for each in ("127.0.0.1", "::1", *addresses))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    files = ("-keyout", str(pair.key), "-out", str(pair.certificate))
    more = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
    subprocess.run(("openssl", "req", "-x509", *curve, *files, *more), check=True, capture_output=True)
    return pair
