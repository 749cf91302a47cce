# SPDX-License-Identifier: Apache-2.0
"""`neurowall down`: end one instance's enforcement and remove what it made, whoever made it."""

import shutil
from typing import Any

from neurowall.data import tablememo
from neurowall.kernel import attachment, egress, netlink, pins, sysctl
from neurowall.kernel.nft import Nftables
from neurowall.management.daemon import preflight
from neurowall.management.errors import CommandError
from neurowall.management.instance import Instance, locked, stop_holder
from neurowall.model.errors import KernelError, Unsupported

SYSCTLS = "sysctls.json"
"""In the run directory: what forwarding was before."""


def take_down(instance: Instance) -> dict[str, Any]:
    """Stop the daemon if it runs, detach, restore offloads, remove pins, mount and run directory.

    Works without a daemon and without its policy: from the run directory alone. Running it again
    finishes what an earlier run could not. The intended state on disk is not touched.
    """
    done: list[str] = []
    if not instance.directory.is_dir():
        return {"instance": instance.name, "done": done}
    record = instance.recorded()
    netns = record.netns if record else None
    preflight.check(admin=netns is not None or pins.is_mounted(instance.bpffs))
    pid = stop_holder(instance)
    if pid is not None:
        done.append(f"stopped the daemon, pid {pid}")
    with locked(instance):
        try:
            done += _detach(instance, _records(instance, netns))
        except (KernelError, OSError) as error:
            raise CommandError(f"{error}; correct it and run `neurowall down` again") from error
        shutil.rmtree(instance.directory)
    done.append(f"removed {instance.directory}")
    return {"instance": instance.name, "done": done}


def end_enforcement(instance: Instance) -> list[str]:
    """Take programs, pins and mount away, restore offloads; says what there was.

    Call it in the network namespace of the interfaces, with the instance's lock held.
    """
    return _detach(instance, attachment.Records(instance.directory / "interfaces.json"))


def _detach(instance: Instance, records: attachment.Records) -> list[str]:
    root = instance.bpffs
    links = pins.Pins(root).links
    attached = sorted(link.name for link in links.iterdir()) if links.is_dir() else []
    done = [f"detached from {name}" for name in attached]
    done += [
        f"gave {name} its offloads back: {', '.join(record.offloads)}"
        for name, record in records.by_name.items()
        if record.offloads
    ]
    egress.detach_all(root, records)
    done += _without_table(instance)
    if root.is_dir():
        pins.unmount(root)
        done.append(f"removed maps and pins in {root}")
    return done


def _without_table(instance: Instance) -> list[str]:
    """Take the table away, and give forwarding back as it was; only if the daemon made them."""
    done = []
    memo = instance.directory / tablememo.NAME
    if memo.exists():
        Nftables().delete_table()
        memo.unlink(missing_ok=True)
        done.append("removed table inet neurowall")
    if (instance.directory / SYSCTLS).exists():
        sysctl.restore(instance.directory / SYSCTLS)
        done.append("set forwarding back")
    return done


def _records(instance: Instance, netns: str | None) -> attachment.Records:
    """What is known of the interfaces, in whose namespace this thread is afterwards."""
    records = attachment.Records(instance.directory / "interfaces.json")
    if netns:
        try:
            netlink.enter_namespace(netns)
        except Unsupported:
            # The interfaces went with the namespace; those of the same name here are somebody else's.
            records.by_name.clear()
    return records
