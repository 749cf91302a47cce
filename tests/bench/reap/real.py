# SPDX-License-Identifier: Apache-2.0
"""`neurowall-bench` as it is, with its results in a new directory under /run (the sandbox's own).

Events go to standard output as JSON, one a line; the first comes shortly before the first chain is built.
"""

import os
import sys
import tempfile

from bench.cli import main

if __name__ == "__main__":
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    sys.argv += ["--progress", "json", "--out", tempfile.mkdtemp(dir="/run")]
    main()
