# SPDX-License-Identifier: Apache-2.0
"""Write docs/openapi.json, the description of the API: tools/openapi.py."""

import json
from pathlib import Path

from neurowall.management.api.openapi.document import published

if __name__ == "__main__":
    target = Path(__file__).parents[1] / "docs" / "openapi.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(published(), indent=1) + "\n")
