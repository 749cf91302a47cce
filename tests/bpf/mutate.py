# SPDX-License-Identifier: Apache-2.0
"""Frames that nobody would send but an attacker: real ones changed, and noise."""

from collections.abc import Callable, Sequence
from random import Random

SHORTEST, LONGEST = 14, 3000  # what PROG_RUN takes, with room to spare
_BYTES = (0, 1, 0x0F, 0x40, 0x45, 0x60, 0x7F, 0x80, 0xFE, 0xFF, 6, 17, 44, 51, 58, 60)
_WORDS = (0, 1, 7, 8, 19, 20, 40, 0x7FFF, 0x8000, 0xFFFF, 0x0800, 0x86DD, 0x8100, 0x88A8)
_TAG = b"\x81\x00\x00\x64"
_HEADERS = 96  # bytes within which headers lie

Corpus = Sequence[bytes]
Change = Callable[[Random, bytearray, Corpus], None]


def flip_bits(r: Random, frame: bytearray, _: Corpus) -> None:
    """A few bits of the headers, or of anything."""
    for _bit in range(r.choice((1, 1, 2, 8))):
        frame[r.randrange(min(len(frame), r.choice((_HEADERS, LONGEST))))] ^= 1 << r.randrange(8)


def set_byte(r: Random, frame: bytearray, _: Corpus) -> None:
    """One byte to what parsers trip over: lengths, versions, protocol numbers."""
    frame[r.randrange(12, min(len(frame), _HEADERS))] = r.choice(_BYTES)


def set_word(r: Random, frame: bytearray, _: Corpus) -> None:
    """Two bytes: lengths, offsets of fragments, EtherTypes."""
    at = r.randrange(12, min(len(frame), _HEADERS)) & ~1
    frame[at : at + 2] = r.choice(_WORDS).to_bytes(2, "big")


def set_length(r: Random, frame: bytearray, _: Corpus) -> None:
    """The length of IPv4 or IPv6 in an untagged frame to about what it should be."""
    at = 18 if frame[12] == 0x86 else 16
    rest = len(frame) - (54 if at == 18 else 14)
    length = max(0, rest + r.choice((-21, -20, -9, -8, -1, 0, 1, 8)))
    frame[at : at + 2] = (length & 0xFFFF).to_bytes(2, "big")


def cut(r: Random, frame: bytearray, _: Corpus) -> None:
    """The end goes."""
    del frame[r.randrange(SHORTEST, len(frame) + 1) :]


def lengthen(r: Random, frame: bytearray, _: Corpus) -> None:
    """Something follows that no header speaks of."""
    frame += r.randbytes(r.choice((1, 8, 60, 1400)))


def remove(r: Random, frame: bytearray, _: Corpus) -> None:
    """A piece from the middle goes: headers meet what was not meant to follow."""
    at = r.randrange(12, min(len(frame), _HEADERS))
    del frame[at : at + r.choice((1, 2, 4, 8, 20))]


def splice(r: Random, frame: bytearray, corpus: Corpus) -> None:
    """The head of one, the rest of another."""
    other = r.choice(corpus)
    at = r.choice((14, 18, 34, 54, r.randrange(12, _HEADERS)))
    frame[at:] = other[r.choice((at, 14, 34, 54)) :]


def tag(r: Random, frame: bytearray, _: Corpus) -> None:
    """One more VLAN."""
    frame[12:12] = _TAG


def move(r: Random, frame: bytearray, _: Corpus) -> None:
    """Another IPv4 source or, the same bytes, another IPv6 one: any at all, or a neighbour."""
    at = 26 if frame[12] == 8 else r.choice((22, 26, 30, 34))
    if len(frame) >= at + 4:
        frame[at : at + 4] = r.randbytes(4) if r.randrange(2) else frame[at : at + 3] + r.randbytes(1)


def renumber(r: Random, frame: bytearray, _: Corpus) -> None:
    """Ports, sequence and acknowledgement of an untagged segment."""
    at = (34 if frame[12] == 8 else 54) + r.choice((0, 2, 4, 8))
    if len(frame) >= at + 4:
        frame[at : at + 4] = r.choice((bytes(4), b"\xff\xff\xff\xff", r.randbytes(4)))


CHANGES: tuple[Change, ...] = (
    *(flip_bits, set_byte, set_word, set_length, cut, lengthen, remove, splice, tag),
    *(move, move, renumber, renumber),
)


def mutated(r: Random, corpus: Corpus) -> bytes:
    """One of the corpus with up to four changes; one in sixteen is noise, one in sixteen as it was."""
    kind = r.randrange(16)
    if kind == 0:
        return _noise(r)
    frame = bytearray(r.choice(corpus))
    for _ in range(0 if kind == 1 else r.choice((1, 1, 2, 4))):
        r.choice(CHANGES)(r, frame, corpus)
        if len(frame) < SHORTEST:
            frame += bytes(SHORTEST - len(frame))
    return bytes(frame[:LONGEST])


def _noise(r: Random) -> bytes:
    """Random bytes, mostly behind an EtherType that is parsed."""
    size = r.choice((SHORTEST, 34, 54, 60, 128, 1514))
    if r.randrange(4) == 0:
        return r.randbytes(size)
    return r.randbytes(12) + r.choice((b"\x08\x00\x45", b"\x86\xdd\x60", _TAG)) + r.randbytes(size)
