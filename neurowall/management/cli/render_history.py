# SPDX-License-Identifier: Apache-2.0
"""What was and who did it, drawn for people: bans, audit, tokens, what differs between generations."""

from typing import TYPE_CHECKING, Any

from neurowall.management.cli.drawing import count, moment, say, table
from neurowall.management.times import duration

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]

_STYLES = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}


def _more(console: "Console", answer: Json) -> None:
    if answer.get("next") is not None:
        say(console, f"more follow: --after {answer['next']}")


def bans(console: "Console", answer: Json) -> None:
    """Single addresses that are blocked or allowed."""
    table(
        console,
        ("Address", "Kind", "List", "Limit", "Since (UTC)", "Ends in", "By", "Reason"),
        (
            (
                each["entry"],
                each["kind"],
                each["list"],
                each["limit"],
                moment(each["since"]),
                "-" if each["seconds_left"] is None else duration(each["seconds_left"]),
                each["by"],
                each["reason"],
            )
            for each in answer["bans"]
        ),
    )
    if not answer["bans"]:
        say(console, "no single address is blocked or allowed")
    if answer.get("history") == "unavailable":
        why = "the database does not answer: since when, by whom and why is not known"
        say(console, f"warning: {why}", style="yellow")
    _more(console, answer)


def ban_history(console: "Console", answer: Json) -> None:
    """What was blocked and allowed."""
    table(
        console,
        ("Address", "Kind", "List", "Limit", "Since (UTC)", "Until", "Ended", "By", "Reason", "Ended by"),
        (
            (
                each["entry"],
                each["kind"],
                each["list"],
                each["limit"],
                moment(each["since"]),
                moment(each["until"]),
                moment(each["ended"]),
                each["by"],
                each["reason"],
                each["ended_by"],
            )
            for each in answer["bans"]
        ),
    )
    if not answer["bans"]:
        say(console, "nothing was blocked or allowed yet")
    _more(console, answer)


def diff(console: "Console", answer: Json) -> None:
    """What differs in meaning between two generations."""
    for each in answer["differences"]:
        name = f" {each['name']}" if each["name"] else ""
        say(console, f"{each['sign']} {each['part']}{name}: {each['text']}", style=_STYLES[each["sign"]])
    what = f"from generation {answer['from']} to {answer['to']}"
    number = len(answer["differences"])
    say(console, f"{count(number)} difference{'' if number == 1 else 's'} {what}", style="bold")


def text_diff(console: "Console", answer: Json) -> None:
    """The same line by line, as `diff -u` would print it."""
    for line in answer["text_diff"].splitlines():
        say(console, line, style=_STYLES.get(line[:1], ""))


def audit(console: "Console", answer: Json) -> None:
    """Who did what."""
    table(
        console,
        (">Row", "When (UTC)", "Actor", "From", "Action", "Target", "Result", ">Status", "Generation"),
        (
            (
                each["id"],
                moment(each["when"]),
                each["actor"],
                each["source"],
                each["action"],
                each["target"],
                each["result"] or each["phase"],
                each["status"],
                _generations(each["before"], each["after"]),
            )
            for each in answer["audit"]
        ),
    )
    if not answer["audit"]:
        say(console, "no such row")
    _more(console, answer)


def _generations(before: int | None, after: int | None) -> str:
    if after is None or before == after:
        return "" if before is None else str(before)
    return f"{'' if before is None else before} -> {after}"


def verified(console: "Console", answer: Json) -> None:
    """Whether the chain of the audit holds."""
    if answer["ok"]:
        what = f"{count(answer['rows'])} rows, the last is {answer['head']}, hash {answer['hash']}"
        say(console, f"the audit is whole: {what}", style="bold")
    else:
        say(console, f"the audit was tampered with: {answer['why']}", style="bold red")
    if answer.get("note"):
        say(console, f"note: {answer['note']}", style="yellow")


def token_made(console: "Console", answer: Json) -> None:
    """A token, this once."""
    if answer.get("dry_run"):
        say(console, "dry run, no token was made")
        return
    ends = f", until {moment(answer['expires'])} UTC" if answer["expires"] else ""
    say(console, f"token {answer['id']} {answer['name']}: {', '.join(answer['scopes'])}{ends}")
    if answer.get("saved"):
        say(console, f"it is in {answer['saved']}, and nowhere else")
        return
    say(console, answer["token"], style="bold")
    say(console, "keep it: it is not shown again", style="yellow")


def tokens(console: "Console", answer: Json) -> None:
    """Every token, without its secret."""
    table(
        console,
        ("Id", "Name", "Scopes", "Created (UTC)", "By", "Expires", "Last used", "From", "Revoked"),
        (
            (
                each["id"],
                each["name"],
                " ".join(each["scopes"]),
                moment(each["created"]),
                each["created_by"],
                moment(each["expires"]),
                moment(each["last_used"]),
                each["last_source"],
                moment(each["revoked"]),
            )
            for each in answer["tokens"]
        ),
    )
    if not answer["tokens"]:
        say(console, "there is no token: `neurowall token create NAME` makes one")
    _more(console, answer)


def token_revoked(console: "Console", answer: Json) -> None:
    """What was revoked."""
    if answer.get("dry_run"):
        say(console, "dry run, nothing was revoked")
    else:
        say(console, f"token {answer['id']} {'is' if answer['revoked'] else 'was already'} revoked")
    for each in answer["also"]:
        say(
            console,
            f"{'with it' if answer.get('dry_run') else 'revoked with it'}: {each['id']} {each['name']}",
        )


def whoami(console: "Console", answer: Json) -> None:
    """Who asks, and what he may."""
    ends = f", until {moment(answer['expires'])} UTC" if answer["expires"] else ""
    say(console, f"{answer['actor']} from {answer['source']}: {', '.join(answer['scopes'])}{ends}")
