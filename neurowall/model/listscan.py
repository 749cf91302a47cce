# SPDX-License-Identifier: Apache-2.0
"""Vectorised reading of plain IPv4 lines, the bulk of every large list.

Strict: what is not exactly four decimal octets with an optional prefix length, followed by nothing but
separators, digits and a comment, is left to the careful reader. So the fast path never decides that a line
is wrong.
"""

from dataclasses import dataclass

import numpy as np

from neurowall.model.entries import Array, Bools, Indices, clear_host_bits

_CHUNK = 65536  # lines at a time: the working arrays stay in the cache, and memory stays bounded
_OTHER, _BLANK, _COMMENT, _END, _DIGIT = range(5)
_KIND = np.zeros(256, np.uint8)
_KIND[list(b" \t,\r")] = _BLANK
_KIND[list(b"#;")] = _COMMENT
_KIND[list(b"\n")] = _END
_KIND[list(b"0123456789")] = _DIGIT
MAX_LINE = 4096  # bytes; longer lines are no entries, unless comments
_MAX_TOKEN = 18  # len("255.255.255.255/32")


@dataclass(frozen=True)
class Lines:
    """What the scan read, and which lines it left.

    address (uint32, host bits cleared) and length (uint8) are in file order with duplicates. host_bits holds
    line numbers from 1, unread line indices from 0. start has the offset of each line and of the end.
    """

    address: Array
    length: Array
    host_bits: Array
    unread: Indices
    start: Indices
    data: bytes

    def raw(self, index: int, limit: int) -> bytes:
        """The bytes of line *index* with its line end, at most *limit*."""
        begin = int(self.start[index])
        return self.data[begin : min(int(self.start[index + 1]), begin + limit)]


def scan(data: bytes) -> Lines:
    """Read the plain IPv4 lines of *data*."""
    if not data.endswith(b"\n"):
        data += b"\n"
    text = np.frombuffer(data, np.uint8)
    start = np.concatenate(([0], np.flatnonzero(text == ord("\n")) + 1))
    parts = [_scan_chunk(text, start[at : at + _CHUNK + 1], at) for at in range(0, len(start) - 1, _CHUNK)]
    address, length, host_bits, unread = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Lines(address, length, host_bits, unread, start, data)


def _scan_chunk(text: Array, start: Indices, first: int) -> tuple[Array, Array, Array, Indices]:
    """Read the lines that begin at start[:-1] and end before start[1:]; *first* is the index of the first.

    Returns addresses, lengths, line numbers with host bits, and indices of the lines not read.
    """
    base = int(start[0])
    chunk = text[base : int(start[-1])]
    begin, end = start[:-1] - base, start[1:] - base - 1  # end: of the newline
    kind = _KIND[chunk]
    separator = np.flatnonzero((kind != _OTHER) & (kind != _DIGIT))
    token_end = separator[np.searchsorted(separator, begin)]
    nothing = _is_nothing(kind, begin, end, token_end)
    sized = (token_end > begin) & (token_end - begin <= _MAX_TOKEN) & (end - begin <= MAX_LINE)
    candidate = np.flatnonzero(~nothing & sized)
    plain, address, length = _read_tokens(chunk, begin[candidate], token_end[candidate])
    plain &= _rest_is_plain(chunk, kind, token_end[candidate], end[candidate])
    read, address, length = candidate[plain], address[plain], length[plain]
    unread = ~nothing
    unread[read] = False
    kept = clear_host_bits(4, address, length)
    return kept, length, read[kept != address] + first + 1, np.flatnonzero(unread) + first


def _is_nothing(kind: Array, begin: Indices, end: Indices, token_end: Indices) -> Bools:
    """Empty lines, and lines that are comments from their first byte on."""
    return np.asarray((token_end == begin) & ((begin == end) | (kind[begin] == _COMMENT)))


def _read_tokens(chunk: Array, begin: Indices, end: Indices) -> tuple[Bools, Array, Array]:
    """Which tokens are a dotted quad with an optional length; their addresses, host bits kept; lengths."""
    slash = _next(chunk, ord("/"), begin, end)
    dots = [_next(chunk, ord("."), begin, slash)]
    for _ in range(2):
        dots.append(_next(chunk, ord("."), np.minimum(dots[-1] + 1, slash), slash))
    address = np.zeros(len(begin), np.uint32)
    plain = np.ones(len(begin), np.bool_)
    for left, right in zip([begin, *(dot + 1 for dot in dots)], [*dots, slash], strict=True):
        octet, good = _number(chunk, left, right, 3)
        plain &= good & (octet <= 255)
        address = address << np.uint32(8) | octet
    length, good = _number(chunk, slash + 1, end, 2)
    bare = slash == end
    plain &= bare | (good & (length >= 1) & (length <= 32))
    return plain, address, np.where(bare | ~plain, 32, length).astype(np.uint8)


def _next(chunk: Array, byte: int, begin: Indices, end: Indices) -> Indices:
    """The first position of *byte* in each [begin, end), or end."""
    positions = np.append(np.flatnonzero(chunk == byte), len(chunk))
    return np.asarray(np.minimum(positions[np.searchsorted(positions, begin)], end))


def _number(chunk: Array, begin: Indices, end: Indices, digits: int) -> tuple[Array, Bools]:
    """The decimal numbers in each [begin, end), and which are 1 to *digits* digits without a leading zero."""
    size = end - begin
    good = (size >= 1) & (size <= digits)
    value = np.zeros(len(begin), np.uint32)
    for place in range(digits):
        # Positions outside the number are read somewhere harmless and not used.
        digit = chunk[np.maximum(end - 1 - place, 0)] - np.uint8(ord("0"))
        inside = place < size
        good &= ~inside | (digit <= 9)
        value += np.where(inside, digit, 0).astype(np.uint32) * np.uint32(10**place)
    leading_zero = (size > 1) & (chunk[np.minimum(begin, len(chunk) - 1)] == ord("0"))
    return value, good & ~leading_zero


def _rest_is_plain(chunk: Array, kind: Array, token_end: Indices, end: Indices) -> Bools:
    """Which lines have nothing but separators and digits between the token and a comment or the line end.

    A carriage return is plain only right before the line end.
    """
    odd = (kind == _OTHER) | ((chunk == ord("\r")) & (np.append(chunk[1:], 0) != ord("\n")))
    count = np.concatenate(([0], np.cumsum(odd, dtype=np.int32)))
    stops = np.append(np.flatnonzero(kind == _COMMENT), len(chunk))
    stop = np.minimum(stops[np.searchsorted(stops, token_end)], end)
    return np.asarray(count[stop] == count[token_end])
