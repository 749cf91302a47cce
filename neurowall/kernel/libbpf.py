# SPDX-License-Identifier: Apache-2.0
"""libbpf.so.1 through ctypes: one function for each libbpf call, plus the object they work on.

Nothing here knows Neurowall: the harness's generator uses it too. File descriptors are plain ints
owned by the caller. Every failure is a LibbpfError with the errno, and, for a load, libbpf's own log.
Source: libbpf 1.x headers bpf/libbpf.h and bpf/bpf.h.
"""

import ctypes as c
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

from neurowall.kernel.libbpf_structs import (
    LinkCreateOpts,
    LinkInfo,
    MapBatchOpts,
    MapCreateOpts,
    MapInfo,
    ProgInfo,
    TestRunOpts,
)

BPF_ANY = 0
BPF_NOEXIST = 1
BPF_F_TEST_XDP_LIVE_FRAMES = 1 << 1
BPF_XDP = 37  # enum bpf_attach_type
BPF_TCX_EGRESS = 47
BPF_MAP_TYPE_HASH = 1
BPF_MAP_TYPE_ARRAY = 2
BPF_MAP_TYPE_PERCPU_ARRAY = 6
BPF_MAP_TYPE_LRU_HASH = 9
BPF_MAP_TYPE_LPM_TRIE = 11
BPF_MAP_TYPE_ARRAY_OF_MAPS = 12
BPF_MAP_TYPE_RINGBUF = 27
XDP_FLAGS_SKB_MODE = 1 << 1
XDP_FLAGS_DRV_MODE = 1 << 2
XDP_FLAGS_HW_MODE = 1 << 3
XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)


class LibbpfError(OSError):
    """A libbpf call failed; *log* holds what libbpf and the verifier printed during it."""

    def __init__(self, code: int, what: str, log: str = "") -> None:
        super().__init__(code, f"{what}: {os.strerror(code)}")
        self.log = log


_LIBBPF_DEBUG = 2  # enum libbpf_print_level
_PRINT = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)
RECORD = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t)  # ring_buffer_sample_fn
_LOG: list[str] = []
_CALLBACKS: list[Any] = []  # libbpf keeps only the address of its print function: keep the object alive
_PTR, _INT, _STR, _U32, _U64 = c.c_void_p, c.c_int, c.c_char_p, c.c_uint32, c.c_uint64
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_object__open_file": (_PTR, (_STR, _PTR)),
    "bpf_object__load": (_INT, (_PTR,)),
    "bpf_object__close": (None, (_PTR,)),
    "bpf_object__next_map": (_PTR, (_PTR, _PTR)),
    "bpf_object__find_program_by_name": (_PTR, (_PTR, _STR)),
    "bpf_program__fd": (_INT, (_PTR,)),
    "bpf_program__set_autoload": (_INT, (_PTR, c.c_bool)),
    "bpf_program__set_ifindex": (None, (_PTR, _U32)),
    "bpf_map__name": (_STR, (_PTR,)),
    "bpf_map__fd": (_INT, (_PTR,)),
    "bpf_map__reuse_fd": (_INT, (_PTR, _INT)),
    "bpf_map__set_max_entries": (_INT, (_PTR, _U32)),
    "bpf_map__set_autocreate": (_INT, (_PTR, c.c_bool)),
    "bpf_map__set_initial_value": (_INT, (_PTR, _PTR, c.c_size_t)),
    "bpf_map_create": (_INT, (_INT, _STR, _U32, _U32, _U32, _PTR)),
    "bpf_map_update_elem": (_INT, (_INT, _PTR, _PTR, _U64)),
    "bpf_map_lookup_elem": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_delete_elem": (_INT, (_INT, _PTR)),
    "bpf_map_get_next_key": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_update_batch": (_INT, (_INT, _PTR, _PTR, _PTR, _PTR)),
    "bpf_map_delete_batch": (_INT, (_INT, _PTR, _PTR, _PTR)),
    "bpf_map_lookup_batch": (_INT, (_INT, _PTR, _PTR, _PTR, _PTR, _PTR, _PTR)),
    "bpf_obj_pin": (_INT, (_INT, _STR)),
    "bpf_obj_get": (_INT, (_STR,)),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _PTR, _PTR)),
    "bpf_link_create": (_INT, (_INT, _INT, _INT, _PTR)),
    "bpf_link_update": (_INT, (_INT, _INT, _PTR)),
    "bpf_link_detach": (_INT, (_INT,)),
    "bpf_prog_test_run_opts": (_INT, (_INT, _PTR)),
    "ring_buffer__new": (_PTR, (_INT, RECORD, _PTR, _PTR)),
    "ring_buffer__poll": (_INT, (_PTR, _INT)),
    "ring_buffer__free": (None, (_PTR,)),
    "libbpf_probe_bpf_map_type": (_INT, (_INT, _PTR)),
    "libbpf_set_print": (_PTR, (_PTR,)),
    "libbpf_version_string": (_STR, ()),
}


@cache
def _library() -> c.CDLL:
    """libbpf.so.1 with its signatures; OSError with the package to install if it is missing."""
    try:
        library = c.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise OSError(errno.ENOENT, "libbpf.so.1 is missing: install the package libbpf1") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    libc = c.CDLL(None)

    def keep(level: int, text: bytes, arguments: int) -> int:
        if level >= _LIBBPF_DEBUG:  # a thousand lines for each object: what is wrong is told as a warning
            return 0
        buffer = c.create_string_buffer(1 << 20)
        length: int = libc.vsnprintf(buffer, c.c_size_t(len(buffer)), text, c.c_void_p(arguments))
        _LOG.append(buffer.value.decode(errors="replace"))
        return length

    callback = _PRINT(keep)
    library.libbpf_set_print(c.cast(callback, c.c_void_p))
    _CALLBACKS.append(callback)
    return library


def version() -> str:
    """The version of the loaded library, such as 'v1.1'."""
    return str(_library().libbpf_version_string().decode())


@contextmanager
def _logged() -> Iterator[None]:
    _LOG.clear()
    yield


def _check(result: int, what: str) -> int:
    """*result* if it is not negative, else a LibbpfError: libbpf 1.x returns -errno."""
    if result < 0:
        code = -result if result != -1 else (c.get_errno() or errno.EPERM)
        raise LibbpfError(code, what, "".join(_LOG))
    return result


class Object:
    """A compiled object file on its way into the kernel: open, configure, load, take its fds, close.

    The fds that map_fd() and program_fd() answer belong to the object: dup them to outlive it.
    """

    def __init__(self, path: Path) -> None:
        """Open *path*; LibbpfError if it is not an object file."""
        self.path = path
        with _logged():
            self._handle = _library().bpf_object__open_file(os.fsencode(path), None)
        if not self._handle:
            raise LibbpfError(c.get_errno() or errno.ENOENT, f"open {path}", "".join(_LOG))
        self._maps = {self._map_name(m): m for m in self._next_maps()}

    def _next_maps(self) -> Iterator[int]:
        current = _library().bpf_object__next_map(self._handle, None)
        while current:
            yield current
            current = _library().bpf_object__next_map(self._handle, current)

    @staticmethod
    def _map_name(handle: int) -> str:
        return str(_library().bpf_map__name(handle).decode())

    def map_names(self) -> tuple[str, ...]:
        """Names of its maps; the constants are called '.rodata'."""
        return tuple("." + name.rpartition(".")[2] if "." in name else name for name in self._maps)

    def _map(self, name: str) -> int:
        for known, handle in self._maps.items():
            if known == name or (name.startswith(".") and known.endswith(name)):
                return handle
        raise KeyError(f"{self.path.name} has no map {name!r}, it has {', '.join(self._maps)}")

    def set_constants(self, value: bytes) -> None:
        """Fill .rodata, whole, before the load."""
        _check(_library().bpf_map__set_initial_value(self._map(".rodata"), value, len(value)), "set .rodata")

    def set_max_entries(self, name: str, entries: int) -> None:
        """Size a map before the load."""
        _check(_library().bpf_map__set_max_entries(self._map(name), entries), f"size map {name}")

    def skip_map(self, name: str) -> None:
        """Do not create this map: every use of it must be in a branch that the verifier prunes."""
        _check(_library().bpf_map__set_autocreate(self._map(name), False), f"skip map {name}")

    def reuse_map(self, name: str, fd: int) -> None:
        """Use an existing map, of the same type and sizes, instead of creating one."""
        _check(_library().bpf_map__reuse_fd(self._map(name), fd), f"reuse map {name}")

    def skip_program(self, name: str) -> None:
        """Do not load this program."""
        _check(_library().bpf_program__set_autoload(self._program(name), False), f"skip {name}")

    def set_ifindex(self, program: str, ifindex: int) -> None:
        """Load *program* onto the device itself (offload)."""
        _library().bpf_program__set_ifindex(self._program(program), ifindex)

    def load(self) -> None:
        """Create the maps and load the programs; LibbpfError carries the verifier's log."""
        with _logged():
            _check(_library().bpf_object__load(self._handle), f"load {self.path.name}")

    def map_fd(self, name: str) -> int:
        """The fd of a map, after the load; -1 for a skipped one."""
        return int(_library().bpf_map__fd(self._map(name)))

    def _program(self, name: str) -> int:
        handle = _library().bpf_object__find_program_by_name(self._handle, name.encode())
        if not handle:
            raise KeyError(f"{self.path.name} has no program {name!r}")
        return int(handle)

    def program_fd(self, name: str) -> int:
        """The fd of a program, after the load."""
        return _check(_library().bpf_program__fd(self._program(name)), f"fd of {name}")

    def close(self) -> None:
        """Close the object and its fds; pinned or attached things live on."""
        if self._handle:
            _library().bpf_object__close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def map_create(kind: int, name: str, key_size: int, value_size: int, max_entries: int, **options: int) -> int:
    """A new map's fd; *options* are fields of bpf_map_create_opts (map_flags, inner_map_fd)."""
    opts = MapCreateOpts(sz=c.sizeof(MapCreateOpts), **options)
    fd = _library().bpf_map_create(kind, name.encode(), key_size, value_size, max_entries, c.byref(opts))
    return _check(fd, f"create map {name}")


def map_update(fd: int, key: bytes, value: Any, flags: int = BPF_ANY) -> None:
    """Insert or replace one element; *value* is bytes or a ctypes buffer of the map's value size."""
    pointer = value if isinstance(value, bytes) else c.byref(value)
    _check(_library().bpf_map_update_elem(fd, key, pointer, flags), "update map element")


def map_lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The element's value, None if there is none."""
    value = c.create_string_buffer(value_size)
    result = _library().bpf_map_lookup_elem(fd, key, value)
    if result == -errno.ENOENT or (result == -1 and c.get_errno() == errno.ENOENT):
        return None
    _check(result, "look up map element")
    return value.raw


def map_delete(fd: int, key: bytes) -> bool:
    """Delete one element; False if there was none."""
    result = _library().bpf_map_delete_elem(fd, key)
    if result == -errno.ENOENT:
        return False
    _check(result, "delete map element")
    return True


def map_next_key(fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """The key after *key* (None: the first), None at the end."""
    following = c.create_string_buffer(key_size)
    result = _library().bpf_map_get_next_key(fd, key, following)
    if result == -errno.ENOENT:
        return None
    _check(result, "next map key")
    return following.raw


def map_update_batch(fd: int, keys: int, values: int, count: int) -> int:
    """Insert *count* elements from two arrays by address; answers how many went in before an error."""
    number = c.c_uint32(count)
    opts = MapBatchOpts(sz=c.sizeof(MapBatchOpts))
    result = _library().bpf_map_update_batch(fd, keys, values, c.byref(number), c.byref(opts))
    if result < 0:
        raise LibbpfError(-result, f"update {count} map elements, {number.value} done")
    return int(number.value)


def map_delete_batch(fd: int, keys: int, count: int) -> int:
    """Delete *count* elements by an array of keys; answers how many went before a missing one."""
    number = c.c_uint32(count)
    opts = MapBatchOpts(sz=c.sizeof(MapBatchOpts))
    result = _library().bpf_map_delete_batch(fd, keys, c.byref(number), c.byref(opts))
    if result < 0 and result != -errno.ENOENT:
        raise LibbpfError(-result, f"delete {count} map elements, {number.value} done")
    return int(number.value)


def map_lookup_batch(
    fd: int, cursor: bytes | None, following: int, keys: int, values: int, count: int
) -> tuple[int, bool]:
    """Read up to *count* elements into two arrays; answers (how many, whether that was the last)."""
    number = c.c_uint32(count)
    opts = MapBatchOpts(sz=c.sizeof(MapBatchOpts))
    result = _library().bpf_map_lookup_batch(
        fd, cursor, following, keys, values, c.byref(number), c.byref(opts)
    )
    if result < 0 and result != -errno.ENOENT:
        raise LibbpfError(-result, "read map elements")
    return int(number.value), result == -errno.ENOENT


def pin(fd: int, path: Path) -> None:
    """Pin a map, program or link; the path must not exist and must be on a bpffs."""
    _check(_library().bpf_obj_pin(fd, os.fsencode(path)), f"pin {path}")


def get_pinned(path: Path) -> int:
    """The fd of what is pinned at *path*."""
    return _check(_library().bpf_obj_get(os.fsencode(path)), f"open pin {path}")


def _info(fd: int, info: c.Structure) -> None:
    size = c.c_uint32(c.sizeof(info))
    _check(_library().bpf_obj_get_info_by_fd(fd, c.byref(info), c.byref(size)), "object info")


def map_info(fd: int) -> MapInfo:
    """Type, sizes and name of a map."""
    info = MapInfo()
    _info(fd, info)
    return info


def link_info(fd: int) -> LinkInfo:
    """What a link attaches where; ifindex 0 means that its interface is gone."""
    info = LinkInfo()
    _info(fd, info)
    return info


def program_info(fd: int) -> ProgInfo:
    """Id, tag and sizes of a program."""
    info = ProgInfo()
    _info(fd, info)
    return info


def link_create_xdp(program_fd: int, ifindex: int, flags: int) -> int:
    """Attach a program to an interface; *flags* are XDP_FLAGS_*. Answers the link's fd.

    Closing it detaches unless the link is pinned. Needs Linux 5.9.
    """
    opts = LinkCreateOpts(sz=c.sizeof(LinkCreateOpts), flags=flags)
    fd = _library().bpf_link_create(program_fd, ifindex, BPF_XDP, c.byref(opts))
    return _check(fd, f"attach XDP to interface index {ifindex}")


def link_create_egress(program_fd: int, ifindex: int) -> int:
    """Attach a program of type sched_cls to what leaves by an interface (tcx). Answers the link's fd.

    Closing it detaches unless the link is pinned. Needs Linux 6.6; EINVAL before.
    """
    opts = LinkCreateOpts(sz=c.sizeof(LinkCreateOpts))
    fd = _library().bpf_link_create(program_fd, ifindex, BPF_TCX_EGRESS, c.byref(opts))
    return _check(fd, f"attach to the egress of interface index {ifindex}")


def link_update(link_fd: int, program_fd: int) -> None:
    """Replace a link's program at once: every packet meets the old one or the new one."""
    _check(_library().bpf_link_update(link_fd, program_fd, None), "replace the program of a link")


def link_detach(link_fd: int) -> None:
    """Take the program off the interface, also while the link is pinned."""
    _check(_library().bpf_link_detach(link_fd), "detach a link")


def program_run(
    fd: int, data: bytes, *, repeat: int = 1, context: bytes | None = None, out_size: int = 0
) -> tuple[int, bytes, int]:
    """BPF_PROG_TEST_RUN: run a program on *data* without sending anything.

    Answers (return value, the packet afterwards if *out_size* > 0, mean nanoseconds of a run).
    Maps do change. LibbpfError EINVAL for data under 14 bytes.
    """
    out = c.create_string_buffer(out_size) if out_size else None
    opts = TestRunOpts(
        sz=c.sizeof(TestRunOpts),
        data_in=c.cast(c.c_char_p(data), c.c_void_p),
        data_size_in=len(data),
        data_out=c.cast(out, c.c_void_p) if out else None,
        data_size_out=out_size,
        ctx_in=c.cast(c.c_char_p(context), c.c_void_p) if context else None,
        ctx_size_in=len(context) if context else 0,
        repeat=repeat,
    )
    _check(_library().bpf_prog_test_run_opts(fd, c.byref(opts)), "run program")
    return int(opts.retval), out.raw[: opts.data_size_out] if out else b"", int(opts.duration)


def program_send(fd: int, data: bytes, context: bytes, repeat: int, batch_size: int) -> None:
    """BPF_PROG_TEST_RUN with live frames: run an XDP program *repeat* times on copies of *data*.

    Its verdicts (XDP_TX, XDP_REDIRECT, XDP_PASS) are carried out for real. Blocks until done. Linux 5.18.
    LibbpfError EINTR if a signal ended it early. Source: Documentation/bpf/bpf_prog_run.rst.
    """
    opts = TestRunOpts(
        sz=c.sizeof(TestRunOpts),
        data_in=c.cast(c.c_char_p(data), c.c_void_p),
        data_size_in=len(data),
        ctx_in=c.cast(c.c_char_p(context), c.c_void_p),
        ctx_size_in=len(context),
        repeat=repeat,
        flags=BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size=batch_size,
    )
    _check(_library().bpf_prog_test_run_opts(fd, c.byref(opts)), "send live frames")


def probe_map_type(kind: int) -> int:
    """Whether the kernel makes maps of this kind: 1, 0, or -errno if it does not tell."""
    return int(_library().libbpf_probe_bpf_map_type(kind, None))


def ring_new(fd: int, each: Any) -> int:
    """A reader of a ring; *each*, a RECORD that the caller keeps alive, gets its records."""
    handle = _library().ring_buffer__new(fd, each, None, None)
    if not handle:
        raise LibbpfError(c.get_errno() or errno.ENOMEM, "read a ring buffer")
    return int(handle)


def ring_poll(handle: int, milliseconds: int) -> int:
    """Wait for records and hand all of them over; how many. 0 after a signal too."""
    number = _library().ring_buffer__poll(handle, milliseconds)
    return 0 if number == -errno.EINTR else _check(number, "poll a ring buffer")


def ring_free(handle: int) -> None:
    """End the reader; what it did not read stays in the ring."""
    _library().ring_buffer__free(handle)
