# SPDX-License-Identifier: Apache-2.0
"""One chain for both engines."""
