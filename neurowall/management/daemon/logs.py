# SPDX-License-Identifier: Apache-2.0
"""The daemon's log on standard error: lines for people, or a JSON object a line.

Whatever is logged for a request, in whatever thread, says which request and who asked for it.
"""

import json
import logging
import sys
import time
from typing import Any

from neurowall.management.api.asked import asked
from neurowall.management.errors import UsageProblem
from neurowall.model.shown import shown


def to_stderr(form: str, *, verbose: bool) -> None:
    """Log there from now on. Raises UsageProblem for a form that there is not."""
    if form not in ("text", "json"):
        raise UsageProblem(f"--log-format {form}: it is text or json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Text())
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if verbose else logging.INFO)
    if verbose:
        logging.getLogger("neurowall.http").setLevel(logging.DEBUG)
    else:
        logging.getLogger("uvicorn").setLevel(logging.WARNING)


class Text(logging.Formatter):
    """Time, level, logger and message; of a request also its id, and who asks."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """One line, without a trace."""
        text = shown(super().formatMessage(record))
        now = asked()
        if now is None:
            return text
        who = now.actor.name if now.actor else now.source
        return f"{text} [{shown(who)}, request {now.id}]"

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The trace, set in: no line of it looks like the log's own."""
        return "\n".join(f"  {shown(line)}" for line in super().formatException(ei).split("\n"))


class JsonLines(logging.Formatter):
    """ts is RFC 3339 in UTC; request_id and actor are null where there is none. exception: the trace."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        now = asked()
        ts = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "ts": f"{ts}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": now.id if now else None,
            "actor": now.actor.name if now and now.actor else None,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
