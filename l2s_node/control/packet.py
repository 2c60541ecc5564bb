"""OSC 1.0 packets: what the bytes of a datagram say, the bytes of a message, and which names an address means.

python-osc writes. The reader is our own, because a stage network is no polite place: python-osc 1.10's loops for ever
on a bundle whose element has a negative size (20 bytes do), lets RecursionError and UnicodeDecodeError out, sorts a
packet by time tags and loses its place after a tag that it doesn't know (``S``, ``c``, ``I``).

Source: "The Open Sound Control 1.0 Specification", https://opensoundcontrol.stanford.edu/spec-1_0.html
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pythonosc.osc_message_builder import OscMessageBuilder

from l2s_node.errors import ControlError

Argument = float | int | bool | str | bytes | None

MAX_DATAGRAM = 65_507
"""Bytes that fit a UDP datagram over IPv4: 65,535 less the headers of IP (20) and UDP (8)."""

MAX_DEPTH = 16
"""Bundles within bundles; nobody sends more than two."""

MAX_WILDCARDS = 4
"""``*`` and ``{}`` in one address; keeps the time that a match can take polynomial and short."""


class Message(NamedTuple):
    """One OSC message.

    Attributes:
        address: starts with "/"; may be a pattern, see `matching`.
        args: its values in order; arrays are flattened.
    """

    address: str
    args: list[Argument]


def read_packet(data: bytes) -> list[Message]:
    """The messages of a datagram in their order; bundles are unpacked, time tags passed over.

    Raises:
        ControlError: it isn't OSC, or is cut off.
    """
    return list(_read(data, 0))


def _read(data: bytes, depth: int) -> Iterator[Message]:
    if data.startswith(b"#bundle\0"):
        yield from _read_bundle(data, depth)
    elif data.startswith(b"/"):
        yield _read_message(data)
    else:
        raise ControlError(f"a packet starts with neither an address nor #bundle: {data[:16]!r}")


def _read_bundle(data: bytes, depth: int) -> Iterator[Message]:
    if depth >= MAX_DEPTH:
        raise ControlError(f"a packet holds bundles more than {MAX_DEPTH} deep")
    position = 16  # "#bundle\0" and the time tag
    while position < len(data):
        size, start = _number(data, position, _INT)
        position = start + int(size)
        if size <= 0 or position > len(data):
            raise ControlError(f"an element of a bundle is said to have {size} bytes, {len(data) - start} are there")
        yield from _read(data[start:position], depth + 1)


def _read_message(data: bytes) -> Message:
    address, position = _text(data, 0)
    if position >= len(data):  # old senders leave out the tags where there are no arguments
        return Message(address, [])
    tags, position = _text(data, position)
    if not tags.startswith(","):
        raise ControlError(f"{address[:80]!r} carries arguments without type tags")
    args: list[Argument] = []
    for tag in tags[1:]:
        if tag in _CONSTANTS:
            args.append(_CONSTANTS[tag])
        elif tag in _NUMBERS:
            number, position = _number(data, position, _NUMBERS[tag])
            args.append(chr(int(number) & 0x7F) if tag == "c" else number)
        elif tag in "sS":
            text, position = _text(data, position)
            args.append(text)
        elif tag == "b":
            blob, position = _blob(data, position)
            args.append(blob)
        elif tag not in "[]":
            raise ControlError(f"{address[:80]!r} carries an argument of the unknown type {tag!r}")
    return Message(address, args)


_INT = struct.Struct(">i")
_NUMBERS = {tag: struct.Struct(f">{code}") for tag, code in zip("ifhdtrmc", "ifqdQIII", strict=True)}
_CONSTANTS: dict[str, Argument] = {"T": True, "F": False, "N": None, "I": math.inf}


def _number(data: bytes, position: int, layout: struct.Struct) -> tuple[float | int, int]:
    try:
        (number,) = layout.unpack_from(data, position)
    except struct.error as err:
        raise ControlError(f"a packet of {len(data)} bytes is cut off at byte {position}") from err
    return number, position + layout.size


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = data.find(b"\0", position)
    if end < 0:
        raise ControlError(f"a packet of {len(data)} bytes is cut off in a text at byte {position}")
    return data[position:end].decode("utf-8", "replace"), _padded(end + 1)


def _blob(data: bytes, position: int) -> tuple[bytes, int]:
    size, start = _number(data, position, _INT)
    end = start + int(size)
    if size < 0 or end > len(data):
        raise ControlError(f"a blob is said to have {size} bytes, {len(data) - start} are there")
    return data[start:end], _padded(end)


def _padded(length: int) -> int:
    return (length + 3) & ~3


def write_message(address: str, *args: float | int | bool | str) -> bytes:
    """The bytes of one message: float as ``f``, int and bool as ``i``, str as ``s``."""
    builder = OscMessageBuilder(address)
    for arg in args:
        if isinstance(arg, str):
            builder.add_arg(arg, "s")
        elif isinstance(arg, int):  # bool as well: TouchDesigner's OSC In CHOP takes numbers only
            builder.add_arg(int(arg), "i")
        else:
            builder.add_arg(arg, "f")
    return builder.build().dgram


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Which of `names` an OSC address pattern means: ``?  *  [abc]  [!a-c]  {mix,fade}``; ``*`` stops at a "/".

    Raises:
        ControlError: the pattern isn't closed, or has more than `MAX_WILDCARDS` of ``*`` and ``{}``.
    """
    if sum(map(pattern.count, "*{")) > MAX_WILDCARDS or len(pattern) > 256:
        raise ControlError(f"the address pattern {pattern[:80]!r} has too many wildcards")
    try:
        known = re.compile("".join(map(_expression, _PIECES.findall(pattern))))
    except re.error as err:
        raise ControlError(f"the address pattern {pattern[:80]!r} can't be read: {err}") from err
    return [name for name in names if known.fullmatch(name)]


def is_pattern(address: str) -> bool:
    return any(sign in address for sign in "?*[{")


_PIECES = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]|.", re.DOTALL)
_RANGE = re.compile(r".-.|.", re.DOTALL)


def _expression(piece: str) -> str:
    """One piece of an address pattern as a regular expression."""
    if piece in ("?", "*"):
        return "[^/]" if piece == "?" else "[^/]*"
    if piece[0] == "{" and len(piece) > 1:
        return "(?:" + "|".join(map(re.escape, piece[1:-1].split(","))) + ")"
    if piece[0] == "[" and len(piece) > 1:
        inverted = piece[1] == "!"
        parts = _RANGE.findall(piece[2 if inverted else 1 : -1])
        return f"[{'^' if inverted else ''}{''.join(map(_range, parts))}]"
    if piece in "{[":
        raise re.error(f"{piece} is not closed")
    return re.escape(piece)


def _range(part: str) -> str:
    return f"{re.escape(part[0])}-{re.escape(part[2])}" if len(part) == 3 else re.escape(part)
