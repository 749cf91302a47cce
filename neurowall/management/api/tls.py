# SPDX-License-Identifier: Apache-2.0
"""The certificate of the API, which may be renewed while the daemon runs."""

import ssl
from pathlib import Path

from neurowall.management.errors import UsageProblem


class Certificate:
    """A certificate with its chain, and its key, both PEM. Raises UsageProblem if they cannot be used."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self.context = self._read()

    def reload(self) -> None:
        """Read them again for connections to come. Raises UsageProblem; the present ones stay then."""
        self.context = self._read()

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise UsageProblem(
                f"--tls-cert {self._certificate} --tls-key {self._key}: {_said(error)}; both must be PEM, "
                "readable for the daemon, and belong together"
            ) from error
        return context


def _no_password() -> str:
    """Nobody is there to type one."""
    raise ValueError("the key is encrypted, and the daemon cannot ask for its password")


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
