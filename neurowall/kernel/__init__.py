# SPDX-License-Identifier: Apache-2.0
"""All system calls: libbpf, maps, attachment, netlink; may import `model` only, never `data`."""
