# SPDX-License-Identifier: Apache-2.0
"""Vectorised reading of plain IPv4 and IPv6 lines, the bulk of every large list.

Strict: what is not exactly four decimal octets or groups of hexadecimal digits with an optional prefix
length, followed by nothing that could be another address, is left to the careful reader. So the fast path
never decides that a line is wrong.
"""

from dataclasses import dataclass

import numpy as np

from neurowall.model.entries import V6, Array, Bools, Indices, clear_host_bits

_CHUNK = 32768  # lines at a time: the working arrays stay in the cache, and memory stays bounded
_PIECE = 1 << 22  # bytes at a time in which line ends are looked for
_OTHER, _BLANK, _COMMENT, _END, _DIGIT = range(5)
_KIND = np.zeros(256, np.uint8)
_KIND[list(b" \t,\r")] = _BLANK
_KIND[list(b"#;")] = _COMMENT
_KIND[list(b"\n")] = _END
_KIND[list(b"0123456789")] = _DIGIT
_BREAK = (_KIND != _OTHER) & (_KIND != _DIGIT)  # what a word ends at
_HEX = np.full(256, 16, np.uint8)  # the value of a hexadecimal digit; 16: it is none
_HEX[list(b"0123456789abcdef")] = range(16)
_HEX[list(b"ABCDEF")] = range(10, 16)
MAX_LINE = 4096  # bytes; longer lines are no entries, unless comments
_MAX_TOKEN = 43  # an IPv6 address of 39 characters and "/128"
_MAPPED = 0xFFFF  # the sixth group of ::ffff:0:0/96, which no list may have


@dataclass(frozen=True)
class Lines:
    """What the scan read, and which lines it left.

    address4 (uint32), address6 (S16), both with host bits cleared, and length4, length6 (uint8) are in file
    order with duplicates. host_bits holds line numbers from 1, unread line indices from 0. start has the
    offset of each line and of the end.
    """

    address4: Array
    length4: Array
    address6: Array
    length6: Array
    host_bits: Array
    unread: Indices
    start: Array
    data: bytes

    def raw(self, index: int, limit: int) -> bytes:
        """The bytes of line *index* with its line end, at most *limit*."""
        begin = int(self.start[index])
        return self.data[begin : min(int(self.start[index + 1]), begin + limit)]


def scan(data: bytes) -> Lines:
    """Read the plain lines of *data*."""
    if not data.endswith(b"\n"):
        data += b"\n"
    text = np.frombuffer(data, np.uint8)
    start = _starts(text)
    parts = [_scan_chunk(text, start[at : at + _CHUNK + 1], at) for at in range(0, len(start) - 1, _CHUNK)]
    address4, length4, address6, length6, host_bits, unread = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Lines(address4, length4, address6, length6, host_bits, unread, start, data)


def _starts(text: Array) -> Array:
    """The offset of each line and of the end; found piece by piece, since flatnonzero answers in 8 bytes."""
    offset = np.uint32 if len(text) < 1 << 32 else np.int64
    parts = [np.zeros(1, offset)]
    for begin in range(0, len(text), _PIECE):
        ends = np.flatnonzero(text[begin : begin + _PIECE] == ord("\n"))
        parts.append((ends + (begin + 1)).astype(offset))
    return np.concatenate(parts)


def _scan_chunk(text: Array, start: Array, first: int) -> tuple[Array, ...]:
    """Read the lines that begin at start[:-1] and end before start[1:]; *first* is the index of the first.

    Returns the columns of Lines up to `unread`.
    """
    base = int(start[0])
    chunk = text[base : int(start[-1])]
    edges = start.astype(np.intp) - base
    begin, end = edges[:-1], edges[1:] - 1  # end: of the newline
    kind = _KIND[chunk]
    separator = np.flatnonzero((kind != _OTHER) & (kind != _DIGIT))
    token_end = separator[np.searchsorted(separator, begin)]
    unread = ~_is_nothing(kind, begin, end, token_end)
    sized = (token_end > begin) & (token_end - begin <= _MAX_TOKEN) & (end - begin <= MAX_LINE)
    candidate = np.flatnonzero(unread & sized)
    candidate = candidate[_rest_is_plain(chunk, kind, token_end[candidate], end[candidate])]
    columns: list[Array] = []
    cleared = [np.empty(0, np.intp)]
    for family, read_tokens in ((4, _read_tokens4), (6, _read_tokens6)):
        plain, address, length = read_tokens(chunk, begin[candidate], token_end[candidate])
        read, address, length = candidate[plain], address[plain], length[plain]
        kept = clear_host_bits(family, address, length)
        columns += [kept, length]
        cleared.append(read[kept != address] + first + 1)
        unread[read] = False
        candidate = candidate[~plain]
    return (*columns, np.concatenate(cleared), np.flatnonzero(unread) + first)


def _is_nothing(kind: Array, begin: Indices, end: Indices, token_end: Indices) -> Bools:
    """Empty lines, and lines that are comments from their first byte on."""
    return np.asarray((token_end == begin) & ((begin == end) | (kind[begin] == _COMMENT)))


def _read_tokens4(chunk: Array, begin: Indices, end: Indices) -> tuple[Bools, Array, Array]:
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


def _read_tokens6(chunk: Array, begin: Indices, end: Indices) -> tuple[Bools, Array, Array]:
    """As _read_tokens4 for groups of hexadecimal digits, at most one run of them left out as `::`."""
    slash = _next(chunk, ord("/"), begin, end)
    every = np.append(np.flatnonzero(chunk == ord(":")), len(chunk))
    first = np.searchsorted(every, begin)
    colons = np.searchsorted(every, slash) - first
    plain = (colons >= 2) & (colons <= 8)
    rows = np.flatnonzero(plain)  # few or none in a list of IPv4
    # Where each of up to nine pieces between colons ends, and how long it is: a row a piece.
    edge = every[np.minimum(first[rows] + np.arange(9)[:, None], len(every) - 1)]
    edge = np.minimum(edge, slash[rows])
    size = np.diff(edge, axis=0, prepend=begin[None, rows] - 1) - 1
    groups, good = _groups(_HEX[chunk], edge, size, colons[rows])
    length, numeric = _number(chunk, slash[rows] + 1, end[rows], 3)
    bare = slash[rows] == end[rows]
    good &= bare | (numeric & (length >= 1) & (length <= 128))
    good &= (groups[:, 5] != _MAPPED) | groups[:, :5].any(axis=1)
    plain[rows] = good
    addresses, lengths = np.zeros(len(begin), V6), np.full(len(begin), 128, np.uint8)
    addresses[rows] = np.ascontiguousarray(groups.astype(">u2")).view(V6).reshape(-1)
    lengths[rows] = np.where(bare | ~good, 128, length)
    return plain, addresses, lengths


def _groups(digits: Array, edge: Indices, size: Indices, colons: Indices) -> tuple[Array, Bools]:
    """The eight groups of each address, and which addresses are well-formed.

    edge and size have a column an address: where its pieces between colons end, and how long they are.
    """
    every = np.arange(len(colons))
    number = np.arange(9)[:, None]
    gaps = (number > 0) & (number < colons) & (size == 0)
    gap = np.where(gaps.any(axis=0), gaps.argmax(axis=0), 9)  # the piece that is empty, 9: there is none
    # A piece at either end may be empty only beside the gap.
    good = (size[0] > 0) | (gap == 1)
    good &= (size[colons, every] > 0) | (gap == colons - 1)
    count = ((size > 0) & (number <= colons)).sum(axis=0)
    good &= np.where(gap == 9, count == 8, (gaps.sum(axis=0) == 1) & (count <= 7))
    good &= (size <= 4).all(axis=0)
    groups = np.zeros((len(colons), 8), np.uint16)
    for piece in range(9):
        rows = np.flatnonzero(good & (piece <= colons) & (size[piece] > 0))
        end, length = edge[piece, rows], size[piece, rows]
        value = np.zeros(len(rows), np.uint16)
        for place in range(4):
            digit = digits[np.maximum(end - 1 - place, 0)]
            inside = place < length
            good[rows] &= ~inside | (digit < 16)
            value |= np.where(inside, digit, 0).astype(np.uint16) << np.uint16(4 * place)
        groups[rows, np.where(piece < gap[rows], piece, 7 - colons[rows] + piece)] = value
    return groups, good


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
    """Which lines have no other address or range between the token and a comment or the line end.

    No address is without a dot or a colon. A dash is a range only as a word of its own. A carriage return is
    plain only right before the line end, in a comment too: else one line may be many.
    """
    odd = (chunk == ord(".")) | (chunk == ord(":"))
    dashes = np.flatnonzero(chunk == ord("-"))
    odd[dashes] = _BREAK[chunk[dashes - 1]] & _BREAK[chunk[dashes + 1]]
    count = np.concatenate(([0], np.cumsum(odd, dtype=np.int32)))
    stops = np.append(np.flatnonzero(kind == _COMMENT), len(chunk))
    stop = np.minimum(stops[np.searchsorted(stops, token_end)], end)
    plain = np.asarray(count[stop] == count[token_end])
    returns = np.flatnonzero(chunk == ord("\r"))
    returns = returns[chunk[returns + 1] != ord("\n")]
    if len(returns):
        plain &= np.searchsorted(returns, token_end) == np.searchsorted(returns, end)
    return plain
