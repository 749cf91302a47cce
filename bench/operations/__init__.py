# SPDX-License-Identifier: Apache-2.0
"""Scenarios about operating a firewall: loading, replacing and changing lists, and the memory it takes."""
