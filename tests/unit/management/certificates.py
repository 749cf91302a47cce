# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl: an authority, and servers that it signed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key as files."""

    cert: Path
    key: Path


def self_signed(folder: Path, name: str, *names: str) -> Certificate:
    """One that vouches for itself; *names*: such as `IP:127.0.0.1` or `DNS:gateway.example`."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    more = ("-addext", f"subjectAltName={','.join(names)}") if names else ()
    _openssl("req", "-x509", *_NEW_KEY, *_files(made), "-subj", f"/CN={name}", "-days", "2", *more)
    return made


def signed(folder: Path, name: str, authority: Certificate, *names: str) -> Certificate:
    """One that *authority* vouches for."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    by = ("-CA", str(authority.cert), "-CAkey", str(authority.key))
    more = ("-addext", f"subjectAltName={','.join(names)}", "-addext", "basicConstraints=critical,CA:FALSE")
    _openssl("req", "-x509", *_NEW_KEY, *_files(made), "-subj", f"/CN={name}", "-days", "2", *by, *more)
    return made


def _files(made: Certificate) -> tuple[str, ...]:
    return ("-keyout", str(made.key), "-out", str(made.cert))


def _openssl(*arguments: str) -> None:
    done = subprocess.run(("openssl", *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
