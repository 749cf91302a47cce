# SPDX-License-Identifier: Apache-2.0
"""The option and info structs of libbpf and the bpf system call, as ctypes.

They are append-only: the first field of an options struct is its size, and an info call fills what the
kernel knows of the size it is given. Source: bpf/bpf.h of libbpf 1.x and linux/bpf.h.
"""

import ctypes as c


class MapCreateOpts(c.Structure):
    """struct bpf_map_create_opts."""

    _fields_ = (
        ("sz", c.c_size_t),
        ("btf_fd", c.c_uint32),
        ("btf_key_type_id", c.c_uint32),
        ("btf_value_type_id", c.c_uint32),
        ("btf_vmlinux_value_type_id", c.c_uint32),
        ("inner_map_fd", c.c_uint32),
        ("map_flags", c.c_uint32),
        ("map_extra", c.c_uint64),
        ("numa_node", c.c_uint32),
        ("map_ifindex", c.c_uint32),
    )


class MapBatchOpts(c.Structure):
    """struct bpf_map_batch_opts."""

    _fields_ = (("sz", c.c_size_t), ("elem_flags", c.c_uint64), ("flags", c.c_uint64))


class LinkCreateOpts(c.Structure):
    """The head of struct bpf_link_create_opts."""

    _fields_ = (
        ("sz", c.c_size_t),
        ("flags", c.c_uint32),
        ("iter_info", c.c_void_p),
        ("iter_info_len", c.c_uint32),
        ("target_btf_id", c.c_uint32),
    )


class TestRunOpts(c.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", c.c_size_t),
        ("data_in", c.c_void_p),
        ("data_out", c.c_void_p),
        ("data_size_in", c.c_uint32),
        ("data_size_out", c.c_uint32),
        ("ctx_in", c.c_void_p),
        ("ctx_out", c.c_void_p),
        ("ctx_size_in", c.c_uint32),
        ("ctx_size_out", c.c_uint32),
        ("retval", c.c_uint32),
        ("repeat", c.c_int),
        ("duration", c.c_uint32),
        ("flags", c.c_uint32),
        ("cpu", c.c_uint32),
        ("batch_size", c.c_uint32),
    )


class MapInfo(c.Structure):
    """The head of struct bpf_map_info."""

    _fields_ = (
        ("type", c.c_uint32),
        ("id", c.c_uint32),
        ("key_size", c.c_uint32),
        ("value_size", c.c_uint32),
        ("max_entries", c.c_uint32),
        ("map_flags", c.c_uint32),
        ("name", c.c_char * 16),
    )


class LinkInfo(c.Structure):
    """struct bpf_link_info, as an XDP link fills it."""

    _fields_ = (
        ("type", c.c_uint32),
        ("id", c.c_uint32),
        ("prog_id", c.c_uint32),
        ("pad", c.c_uint32),
        ("ifindex", c.c_uint32),
        ("rest", c.c_uint8 * 64),
    )


class ProgInfo(c.Structure):
    """struct bpf_prog_info up to Linux 6.x; verified_insns is 0 before 5.16."""

    _fields_ = (
        ("type", c.c_uint32),
        ("id", c.c_uint32),
        ("tag", c.c_uint8 * 8),
        ("jited_prog_len", c.c_uint32),
        ("xlated_prog_len", c.c_uint32),
        ("middle", c.c_uint8 * 192),
        ("verified_insns", c.c_uint32),
        ("end", c.c_uint32 * 3),
    )
