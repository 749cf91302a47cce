# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: what is on disk is put in force, or the present stays and the daemon says why."""

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from neurowall.logic.declared import declare_config
from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.changes import Audit
from neurowall.management.api.tls import Certificate
from neurowall.management.errors import UsageProblem
from neurowall.model.audit import Act, Outcome
from neurowall.model.errors import NeurowallError
from neurowall.model.policy import Policy

SIGNAL = "SIGHUP"  # its sender is not known

log = logging.getLogger(__name__)


@dataclass
class Reloading:
    """What is read again: the policy file, and the certificate, if there are any."""

    config: Path | None
    engine: Engine
    about: About
    certificate: Certificate | None = None
    audit: Audit | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reload(self) -> None:
        """Read them; one signal after the other."""
        with self._lock:
            if self.certificate:
                self._reload_certificate(self.certificate)
            if self.config:
                self._reload_policy(self.config)
            elif not self.certificate:
                log.warning(
                    "SIGHUP: there is no policy file to read: the daemon was started without --config"
                )

    def _reload_certificate(self, certificate: Certificate) -> None:
        try:
            certificate.reload()
        except UsageProblem as error:
            self.about.certificate_problem = f"the certificate is not the one on disk: {error}"
            log.error("certificate not reloaded, the present one stays: %s", error)  # noqa: TRY400 - no trace
            self._tell("certificate-reload", "", Outcome("refused", detail={"why": str(error)}))
        else:
            self.about.certificate_problem = None
            log.info("certificate reloaded")
            self._tell("certificate-reload", "", Outcome("ok"))

    def _reload_policy(self, config: Path) -> None:
        try:
            declared = declare_config(config, "reload")
            result = self.engine.reload_policy(declared)
        except NeurowallError as error:
            why = "; ".join(str(error).splitlines())
            self.about.policy_problem = f"{config} is not in force: {why}"
            log.error("policy not reloaded, the present one stays in force: %s", why)  # noqa: TRY400 - no trace
            self._tell("policy-reload", str(config), Outcome("refused", detail={"why": why}))
        else:
            self.about.policy_problem, self.about.capacity = None, declared_capacity(declared.policy)
            log.info(
                "policy reloaded: generation %d, %d added, %d removed",
                result.generation,
                result.added,
                result.removed,
            )
            self._tell("policy-reload", str(config), Outcome("ok", after=result.generation))

    def _tell(self, action: str, target: str, outcome: Outcome) -> None:
        """SIGHUP waits for no database: its row is written when that can be."""
        if self.audit:
            self.audit.fact(Act(action, SIGNAL, SIGNAL, target), outcome)


def declared_capacity(policy: Policy) -> dict[str, int]:
    """The capacities that a policy asks for, by name."""
    return policy.capacity.model_dump(exclude={"grow"})
