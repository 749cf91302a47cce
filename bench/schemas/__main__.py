# SPDX-License-Identifier: Apache-2.0
"""Write the schemas where they are published from."""

from bench import schemas

schemas.write()
