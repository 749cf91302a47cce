# SPDX-License-Identifier: Apache-2.0
"""The harness: drives firewalls as a user does; imports `neurowall.model` and the generic kernel bindings."""
