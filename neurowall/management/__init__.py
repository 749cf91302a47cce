# SPDX-License-Identifier: Apache-2.0
"""How people and programs operate Neurowall: CLI, HTTP API, metrics, and the process that serves them.

This layer decides nothing about packets. It imports `neurowall.logic`, wires in the layers below, and
turns their answers and errors into exit codes, tables, JSON and problem+json.
"""
