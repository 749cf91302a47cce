# SPDX-License-Identifier: Apache-2.0
"""The sandbox of a unit without systemd: `python sandbox.py mounts|calls JSON COMMAND...` starts a command.

`mounts`, as root: a private mount namespace, all of it read-only but some paths, a folder bound elsewhere.
`calls`, as anybody with no new privileges: a seccomp filter. Both are what systemd does for ProtectSystem=,
ProtectKernelTunables=, ReadWritePaths=, SystemCallFilter=, RestrictAddressFamilies=, RestrictNamespaces= and
MemoryDenyWriteExecute=. Only the standard library: it runs outside of any environment.
"""

import ctypes as c
import errno
import json
import os
import re
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

LIBC = c.CDLL(None, use_errno=True)
_NEWNS, _BIND, _REC, _SLAVE = 0x20000, 0x1000, 0x4000, 1 << 19  # linux/sched.h, linux/mount.h
_MOUNT_SETATTR, _AT_RECURSIVE, _RDONLY = 442, 0x8000, 1
_NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
_X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64
_PR_SET_SECCOMP, _FILTER = 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # SECCOMP_RET_*
_LOAD, _EQUALS, _SET, _AND, _RETURN = 0x20, 0x15, 0x45, 0x54, 0x06  # BPF_LD|W|ABS, JEQ, JSET, ALU|AND, RET
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # struct seccomp_data
_WRITE, _EXECUTE = 2, 4  # PROT_*
Instruction = tuple[int, int, int, int]


def _checked(result: int, what: str) -> None:
    if result:
        raise OSError(c.get_errno(), f"{what}: {os.strerror(c.get_errno())}")


def _bind(source: str, target: str) -> None:
    flags = _BIND | _REC
    _checked(LIBC.mount(source.encode(), target.encode(), None, flags, None), f"bind {source} at {target}")


def _writable(path: str, *, yes: bool) -> None:
    """Change the mounts at and below *path*, which is a mount point."""
    attributes = struct.pack("=4Q", 0 if yes else _RDONLY, _RDONLY if yes else 0, 0, 0)
    size, flags = c.c_size_t(len(attributes)), c.c_uint(_AT_RECURSIVE)
    _checked(LIBC.syscall(_MOUNT_SETATTR, -100, path.encode(), flags, attributes, size), f"protect {path}")


def protect(read_only: Collection[str], writable: Collection[str], binds: dict[str, str]) -> None:
    """Leave the host's mounts as they are and have others in this process; the longest path decides."""
    _checked(LIBC.unshare(_NEWNS), "unshare")
    _checked(LIBC.mount(b"none", b"/", None, _REC | _SLAVE, None), "make mounts slaves")
    for source, target in binds.items():
        _bind(source, target)
    for path in sorted({*read_only, *writable}):
        if path != "/":
            _bind(path, path)
        _writable(path, yes=path in writable)


def _numbers() -> dict[str, int]:
    found = re.findall(r"^#define __NR_(\w+) (\d+)$", _NUMBERS.read_text(), re.MULTILINE)
    return {name: int(number) for name, number in found}


def _program(
    allowed: Collection[str], families: Collection[str], *, exact_memory: bool
) -> Iterator[Instruction]:
    number = _numbers()
    yield _LOAD, 0, 0, _ARCH
    yield _EQUALS, 1, 0, _X86_64
    yield _RETURN, 0, 0, _REFUSE
    yield _LOAD, 0, 0, _NUMBER
    if families:
        kinds = sorted(int(getattr(socket, name)) for name in families)
        yield _EQUALS, 0, len(kinds) + 3, number["socket"]
        yield _LOAD, 0, 0, _FIRST_ARGUMENT
        for place, kind in enumerate(kinds):
            yield _EQUALS, len(kinds) - place, 0, kind
        yield _RETURN, 0, 0, _REFUSE
        yield _RETURN, 0, 0, _ALLOW
    if exact_memory:
        yield from _memory(number["mmap"], _WRITE | _EXECUTE)
        yield from _memory(number["mprotect"], _EXECUTE)
    for name in sorted(set(allowed) & number.keys()):  # the groups name calls of other machines too
        yield _EQUALS, 0, 1, number[name]
        yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _REFUSE


def _memory(number: int, forbidden: int) -> Iterator[Instruction]:
    """Refuse a call whose third argument has all of these bits of protection."""
    yield _EQUALS, 0, 5, number
    yield _LOAD, 0, 0, _FIRST_ARGUMENT + 2 * 8
    yield _AND, 0, 0, forbidden
    yield _EQUALS, 0, 1, forbidden
    yield _RETURN, 0, 0, _REFUSE
    yield _LOAD, 0, 0, _NUMBER


def restrict(allowed: Collection[str], families: Collection[str], *, exact_memory: bool) -> None:
    """Refuse every other system call with EPERM, for good."""
    code = [struct.pack("=HBBI", *each) for each in _program(allowed, families, exact_memory=exact_memory)]
    program = c.create_string_buffer(b"".join(code))
    header = struct.pack("@HP", len(code), c.addressof(program))
    _checked(LIBC.prctl(_PR_SET_SECCOMP, _FILTER, header, 0, 0), "seccomp")


def main() -> None:
    """See the module."""
    kind, options, *command = sys.argv[1:]
    if kind == "mounts":
        protect(**json.loads(options))
    else:
        restrict(**json.loads(options))
    os.execvp(command[0], command)  # noqa: S606 - there is no shell


if __name__ == "__main__":
    main()
