# SPDX-License-Identifier: Apache-2.0
"""Broken programs, each of which the differential must find: proof that it can fail.

A mutation replaces one piece of bpf/*.h; when the source moves on, the piece no longer fits and the test
says so.
"""

import platform
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from tests.bpf import frames
from tests.bpf.conftest import MakeFirewall
from tests.bpf.differential import disagreements
from tests.bpf.harness import DROP
from tests.sampling import some

SOURCES = Path(__file__).parents[2] / "bpf"
FRAMES = 40_000
MUTATIONS: dict[str, tuple[str, str, str]] = {
    "an ihl below five is accepted": (
        "parse.h",
        "ip->version != 4 || header < sizeof(*ip) || total < header",
        "ip->version != 4 || total < header",
    ),
    "a total length below the header is accepted": (
        "parse.h",
        "header < sizeof(*ip) || total < header)",
        "header < sizeof(*ip))",
    ),
    "padding is read as payload": (
        "parse.h",
        "packet->l4_length = total - header;",
        "packet->l4_length = packet->end - packet->cursor - header;",
    ),
    "the payload length of IPv6 is ignored": (
        "parse.h",
        "packet->l4_length = bpf_ntohs(ip->payload_len);",
        "packet->l4_length = packet->end - packet->cursor;",
    ),
    "ports are read from later fragments": (
        "parse.h",
        "	if (UNLIKELY(packet->fragment_later))\n		return NW_REASON_DEFAULT;\n",
        "",
    ),
    "an IPv4 fragment that overlaps the TCP flags passes": (
        "parse.h",
        "(fragment & IPV4_OFFSET_MASK) == 1 && ip->protocol == IPPROTO_TCP",
        "(fragment & IPV4_OFFSET_MASK) == 1 && ip->protocol == 255",
    ),
    "AH is counted in units of eight": ("parse.h", " - (units & -is_authentication) * 4", ""),
    "a fragment header has a length field": (
        "parse.h",
        "header->length & (is_fragment - 1)",
        "header->length",
    ),
    "hop-by-hop is accepted anywhere": (
        "parse.h",
        "if (depth && packet->protocol == IPPROTO_HOPOPTS)",
        "if (depth > NW_EXTENSION_DEPTH)",
    ),
    "a tag too many is not IP": (
        "parse.h",
        "return NW_REASON_VLAN_DEPTH;",
        "return NW_REASON_DEFAULT;",
    ),
    "a TCP data offset below five is accepted": (
        "parse.h",
        "if (UNLIKELY(header < sizeof(*tcp)))\n		return NW_REASON_MALFORMED_TCP;",
        "",
    ),
    "a UDP length below eight is accepted": ("parse.h", "UNLIKELY(length < sizeof(*udp) ||", "UNLIKELY("),
    "the second line is skipped": (
        "lists.h",
        "class_id = search_line(line_of(hash4(host_order, 1)), host_order, &unused);",
        "unused = class_id = 0;",
    ),
    "the spill map is skipped": ("lists.h", "if (class_id || !(metadata & NW_LINE_SPILL))", "if (1)"),
    "the last slot of a line is skipped": (
        "lists.h",
        "i < NW_LINE_SLOTS; i++) {\n		__u64 slot = line->slots[i];\n		__u64 differs",
        "i < NW_LINE_SLOTS - 1; i++) {\n		__u64 slot = line->slots[i];\n		__u64 differs",
    ),
    "the second line of longer prefixes is skipped": (
        "lists.h",
        "best = search_long(long_line(host_order, 1), host_order, best, &metadata);",
        "",
    ),
    "the spill trie of longer prefixes is skipped": (
        "lists.h",
        "if (!(metadata & NW_LINE_SPILL))\n		return best & 0xFFFF;",
        "if (1)\n		return best & 0xFFFF;",
    ),
    "the first of the longer prefixes wins": ("lists.h", "== 0 && found > best)", "== 0 && !best)"),
    "longer prefixes are not looked up": ("lists.h", "if (value & NW_NET_LONGER)", "if (value == 1 << 20)"),
    "painted nets are taken from the wrong word": (
        "lists.h",
        "index = net >> 2, class_id",
        "index = net >> 3, class_id",
    ),
    "prefixes hide hosts": (
        "lists.h",
        "class_id = host4_in_table(address);\n\n	if (!class_id && ",
        "class_id = host4_in_table(address);\n\n	if (",
    ),
    "neighbour discovery may come from afar": ("decide.h", " && packet->ip6->hop_limit == 255", ""),
    "any source that begins with zeros is of the link": (
        "decide.h",
        "return !(address->s6_addr32[0] | address->s6_addr32[1] | address->s6_addr32[2] |",
        "return !(address->s6_addr32[0] | address->s6_addr32[0] | address->s6_addr32[0] | 0 *",
    ),
    "prefixes of IPv6 are not looked up": (
        "lists6.h",
        "return class_id ? class_id : prefix6_in_table(high, low);",
        "return class_id;",
    ),
    "hosts of IPv6 are not looked up": ("lists6.h", "if (is_marked6(NW_FILTER6_HOSTS, hash))", "if (0)"),
    "short prefixes of IPv6 are not looked up": ("lists6.h", "lower = lengths->lower;", "lower = 0;"),
    "the second line of IPv6 entries is skipped": (
        "lists6.h",
        "class_id = search_line6(line6_of(hash), high, low, length, &unused);",
        "class_id = unused;",
    ),
    "the spill map of IPv6 entries is skipped": (
        "lists6.h",
        "	return spilled_entry6(high, low, length);",
        "	return 0;",
    ),
    "the last slot of an IPv6 line is skipped": (
        "lists6.h",
        "i < NW_LINE6_SLOTS; i++",
        "i < NW_LINE6_SLOTS - 1; i++",
    ),
    "the length of an IPv6 entry is not compared": ("lists6.h", "(tag >> 16 ^ length);", "0 * length;"),
    "only the upper half of an IPv6 address counts": ("lists6.h", " | (line->address[i][1] ^ low) |", " |"),
    "a list is looked up by the destination": (
        "lists.h",
        "lookup4_buckets(packet->ip4->saddr)",
        "lookup4_buckets(packet->ip4->daddr)",
    ),
    "an allowed list does not help": (
        "decide.h",
        "class->verdict == NW_VERDICT_PASS)",
        "class->verdict == NW_VERDICT_MAX)",
    ),
    "any source is the operator": (
        "decide.h",
        "entry && failsafe_source(entry, source) && failsafe_admits",
        "entry && failsafe_admits",
    ),
}


def compiled(folder: Path, *mutations: tuple[str, str, str], defines: tuple[str, ...] = ()) -> Path:
    """An object built from a copy of the sources with some pieces replaced: file, old, new."""
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    for file, old, new in mutations:
        text = (folder / file).read_text()
        assert text.count(old) == 1, f"the mutation of {file} no longer fits the source: {old!r}"
        (folder / file).write_text(text.replace(old, new))
    target = folder / "neurowall.bpf.o"
    argv = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v2", "-idirafter"]
    argv += [f"/usr/include/{platform.machine()}-linux-gnu", "-c", str(folder / "neurowall.bpf.c")]
    argv += [f"-D{name}" for name in defines]
    subprocess.run([*argv, "-o", str(target)], check=True, timeout=60)
    return target


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", some(MUTATIONS, every=2))
def test_the_differential_catches_a_broken_program(
    make_firewall: MakeFirewall, name: str, tmp_path: Path
) -> None:
    """With no more frames than the ordinary run looks at."""
    path = compiled(tmp_path, MUTATIONS[name])
    firewall = make_firewall(engine="buckets", failsafe=True, lines=2, path=path)
    r = Random("mutations")
    start = frames.policy(r, unparsed=DROP, failsafe=True)
    assert next(disagreements(firewall, start, r, FRAMES), None) is not None
