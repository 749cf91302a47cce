# SPDX-License-Identifier: Apache-2.0
"""`neurowall init`: the examples, and a first policy for this machine."""

from importlib.resources import files

from neurowall.kernel import machine, netlink
from neurowall.logic.firstpolicy import Machine, first_policy
from neurowall.management.errors import CommandError, UsageProblem
from neurowall.management.session import own_session, read_session
from neurowall.model.policy import load_policy


def example_text(name: str) -> str:
    """An example policy. Raises UsageProblem if there is none of that name."""
    folder = files("neurowall.management") / "examples"
    known = sorted(
        each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml")
    )
    if name not in known:
        raise UsageProblem(f"no example '{name}': there are {', '.join(known)}")
    return (folder / f"{name}.yaml").read_text(encoding="utf-8")


def own_text(netns: str | None) -> str:
    """A first policy for the interfaces of this network namespace. Raises CommandError, Unsupported."""
    if netns:
        netlink.enter_namespace(netns)
    given = own_session()
    try:
        session = read_session(given) if given else None
    except ValueError:
        session = None
    found = Machine(machine.devices(), machine.listeners(), machine.forwarding(), session)
    try:
        text = first_policy(found)
    except ValueError as error:
        raise CommandError(f"{error}; `neurowall init --example home` prints one to start from") from error
    load_policy(text, "policy.yaml")  # a policy that this very version refuses must not leave here
    return text
