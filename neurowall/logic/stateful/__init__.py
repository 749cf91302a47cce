# SPDX-License-Identifier: Apache-2.0
"""A policy as table `inet neurowall`: rules, NAT, and the lists of interfaces without XDP."""
