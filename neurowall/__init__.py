# SPDX-License-Identifier: Apache-2.0
"""A layered Linux gateway firewall: five layers in five packages; never imports `bench`."""
