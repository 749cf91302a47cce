# SPDX-License-Identifier: Apache-2.0
"""Limits and bans of the maps in force. Implements logic.LimitPlane."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from neurowall.kernel import netlink
from neurowall.kernel.limits import identity_of
from neurowall.kernel.mapset import MapSet
from neurowall.kernel.routes import KernelRoutes
from neurowall.model.guards import Guards
from neurowall.model.limits import LimitBan, LimitCounters

SWEEP_SECONDS = 1800.0  # of what is over for hours
OWN_SECONDS = 10.0  # how soon an address that the gateway gets is never banned


class LimitPlane:
    """Of one data plane. *reading*: held while maps are read, so that none is closed meanwhile."""

    def __init__(self, maps: Callable[[], MapSet], reading: AbstractContextManager[object]) -> None:
        self._maps = maps
        self._reading = reading
        self._guards = Guards((), ())
        self._swept = self._looked = time.monotonic()

    def configure(self, guards: Guards) -> None:
        """Have these limits asked, on the interfaces that are there. KernelError if they do not fit."""
        self._guards = guards
        names = {guard.name for guard in guards.interfaces}
        numbers = {name: number for name in names if (number := netlink.interface_index(name)) is not None}
        with self._reading:
            self._maps().limits.put(guards.limits, numbers)
            self._spare()

    @property
    def _bans(self) -> bool:
        return any(each.limit.action == "ban" for each in self._guards.limits)

    def _spare(self) -> None:
        """The gateway itself and the operator are never banned."""
        never = {entry.source for entry in self._guards.failsafe}
        if self._bans:
            own = KernelRoutes().addresses().values()
            never |= {address for addresses in own for address in addresses}
        self._maps().bans.configure(never, self._guards.bans_per_second)
        self._looked = time.monotonic()

    def counters(self) -> dict[str, LimitCounters]:
        """What each limit counted, by name, in the policy's order."""
        with self._reading:
            found = self._maps().limits.counters()
        guards = self._guards.limits
        return {each.limit.name: found.get(identity_of(each), LimitCounters()) for each in guards}

    def bans(self) -> list[LimitBan]:
        """Everybody whom a limit banned, those whose ban ends first in front."""
        with self._reading:
            found = self._maps().bans.all()
        named = [LimitBan(address, until, self._name(limit)) for address, (until, limit) in found.items()]
        return sorted(named, key=lambda ban: ban.until)

    def ban(self, address: str) -> LimitBan | None:
        """The ban of an address, if a limit banned it."""
        with self._reading:
            found = self._maps().bans.find(address)
        return LimitBan(address, found[0], self._name(found[1])) if found else None

    def ban_count(self) -> int:
        """How many there are; those that are over count until they are taken out."""
        with self._reading:
            return len(self._maps().bans)

    def name_of(self, slot: int) -> str:
        """The name of the limit in a slot, "" if the policy has none there."""
        with self._reading:
            return self._name(self._maps().limits.identity_in(slot))

    def _name(self, identity: int) -> str:
        names = {identity_of(each): each.limit.name for each in self._guards.limits}
        return names.get(identity, "")

    def names(self) -> dict[int, str]:
        """Of the limit in each slot."""
        with self._reading:
            return {slot: self._name(each) for slot, each in self._maps().limits.identities().items()}

    def lift(self, address: str) -> bool:
        """End the ban of an address; whether there was one."""
        with self._reading:
            return self._maps().bans.lift(address)

    def tend(self) -> int:
        """Take out bans that are over, how many; and what else has its time."""
        now = time.monotonic()
        with self._reading:
            ended = self._maps().bans.expire()
            if now - self._swept >= SWEEP_SECONDS:
                self._swept = now
                self._maps().limits.sweep()
            if self._bans and now - self._looked >= OWN_SECONDS:
                self._spare()
        return ended
