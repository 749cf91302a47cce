# SPDX-License-Identifier: Apache-2.0
"""Namespaces, veth pairs and the journal that removes them; may import `neurowall.kernel.netlink`."""
