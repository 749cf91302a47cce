# SPDX-License-Identifier: Apache-2.0
"""Programs that say what the live ones would do, on the live maps, and change nothing: nw_config.dry_run."""

import os
import struct
from collections.abc import Callable

from neurowall.kernel import layout, libbpf
from neurowall.kernel.guards import Role
from neurowall.kernel.mapset import MapSet
from neurowall.model.errors import KernelError
from neurowall.model.reasons import Reason

_MD = struct.Struct(
    "=6I"
)  # xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex


class DryPrograms:
    """One for each role that was asked for; drop() them when the maps are others. Locked by the caller."""

    def __init__(self, maps: Callable[[], MapSet]) -> None:
        self._maps = maps
        self._programs: dict[Role, int] = {}

    def run(self, role: Role, ifindex: int, frame: bytes) -> tuple[Reason, int, int | None]:
        """Why a frame that arrives there would get its verdict, the class, and the slot of a limit.

        KernelError if the kernel does not load or run it.
        """
        if role not in self._programs:
            config = role.switch(self._maps().config())
            config.dry_run = 1
            self._programs[role] = self._maps().load(role.program, config)
        context = _MD.pack(0, len(frame), 0, ifindex, 0, 0)
        try:
            answer, _, _ = libbpf.program_run(self._programs[role], frame, context=context)
        except libbpf.LibbpfError as error:
            raise KernelError(f"run the program without effect: {error}") from error
        constant = layout.Constant
        reason = Reason(answer >> constant.DRY_REASON_SHIFT & 63)
        rest = answer >> constant.DRY_CLASS_SHIFT
        class_id, over = rest & (1 << constant.DRY_CLASS_BITS) - 1, rest >> constant.DRY_CLASS_BITS
        return reason, class_id, over - 1 if over else None

    def drop(self) -> None:
        """Forget all of them."""
        for fd in self._programs.values():
            os.close(fd)
        self._programs.clear()
