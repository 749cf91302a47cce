# SPDX-License-Identifier: Apache-2.0
"""Namespaces, veth pairs, children and the journal that removes them; `base` is what others import."""
