"""OSC packets against python-osc's builders, against the specification's own examples, and against noise."""

import math
import random
import struct

import pytest
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from l2s_node.control.packet import MAX_DEPTH, matching, read_packet, write_message
from l2s_node.errors import ControlError


def built(address, *args):
    builder = OscMessageBuilder(address)
    for arg in args:
        builder.add_arg(*arg if isinstance(arg, tuple) else (arg,))
    return builder.build()


def bundle_of(*contents, when=IMMEDIATELY):
    builder = OscBundleBuilder(when)
    for content in contents:
        builder.add_content(content)
    return builder.build()


def test_the_specifications_examples():
    oscillator = b"/oscillator/4/frequency\0,f\0\0\x43\xdc\0\0"
    foo = bytes.fromhex("2f666f6f000000002c69697366660000000003e8ffffffff68656c6c6f0000003f9df3b640b5b22d")
    assert read_packet(oscillator) == [("/oscillator/4/frequency", [440.0])]
    ((address, args),) = read_packet(foo)
    assert address == "/foo" and args[:3] == [1000, -1, "hello"]
    assert args[3:] == pytest.approx([1.234, 5.678], rel=1e-6)
    assert write_message("/oscillator/4/frequency", 440.0) == oscillator
    assert write_message("/foo", *args) == foo


def test_every_type_that_an_independent_client_builds():
    message = built(
        "/a", 3, 0.5, "größer", True, False, (2.5, "d"), (1 << 40, "h"), (None, "N"), (b"abc", "b"), [7, "x"]
    )
    assert read_packet(message.dgram) == [
        ("/a", [3, 0.5, "größer", True, False, 2.5, 1 << 40, None, b"abc", 7, "x"]),
    ]


def test_types_that_shift_the_rest_elsewhere():
    data = b"/a\0\0,ScIrmi\0" + b"sym\0" + b"\0\0\0x" + b"\1\2\3\4" + b"\5\6\7\x08" + b"\0\0\0\x2a"
    assert read_packet(data) == [("/a", ["sym", "x", math.inf, 0x01020304, 0x05060708, 42])]


def test_what_is_written_can_be_read_by_others():
    read = OscMessage(write_message("/l2s/mix", 0.25, 3, True, "ünï"))
    assert (read.address, read.params) == ("/l2s/mix", [0.25, 3, 1, "ünï"])


def test_bundles_keep_their_order_whatever_their_time_tags():
    inner = bundle_of(built("/b", 2), when=2e9)
    outer = bundle_of(built("/a", 1), inner, built("/c", 3), when=1e9)
    assert [message.address for message in read_packet(outer.dgram)] == ["/a", "/b", "/c"]


def bundle_bytes(*elements):
    return b"#bundle\0" + bytes(8) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


def nested(depth):
    data = bundle_bytes()
    for _ in range(depth):
        data = bundle_bytes(data)
    return data


@pytest.mark.parametrize(
    "data",
    {
        "empty": b"",
        "text": b"hello",
        "no end": b"/mix",
        "cut off": b"/mix\0\0\0\0,f\0\0\x3f",
        "no tags": b"/mix\0\0\0\0abc\0",
        "unknown tag": b"/mix\0\0\0\0,Z\0\0",
        "blob too long": b"/mix\0\0\0\0,b\0\0\x7f\xff\xff\xff",
        "blob of negative size": b"/mix\0\0\0\0,b\0\0\xff\xff\xff\xff",
        "element of negative size": bundle_bytes() + struct.pack(">i", -4),
        "element of no size": bundle_bytes() + struct.pack(">i", 0),
        "element too long": bundle_bytes() + struct.pack(">i", 99),
        "too deep": nested(MAX_DEPTH + 1),
        "as deep as a datagram can": nested(3000),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_is_no_osc_is_said_so(data):
    with pytest.raises(ControlError):
        read_packet(data[1])


def test_an_empty_bundle_says_nothing():
    assert read_packet(bundle_bytes()) == []
    assert read_packet(nested(MAX_DEPTH - 1)) == []


def test_noise_and_damaged_packets_raise_nothing_else():
    rng = random.Random(1)
    good = [built("/l2s/mix", 0.5, "abc", (b"1234567", "b")).dgram, nested(3), bundle_bytes(built("/a", 1).dgram)]
    for _ in range(3000):
        data = bytearray(rng.choice([*good, rng.randbytes(rng.randrange(64)), b"/" + rng.randbytes(20)]))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            messages = read_packet(bytes(data[: rng.randrange(len(data) + 1)]))
        except ControlError:
            continue
        assert all(message.address.startswith("/") for message in messages)


NAMES = ["mix", "fade", "pan_x", "pan_y", "flip_x", "status/fps"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("mix", ["mix"]),
        ("{mix,fade}", ["mix", "fade"]),
        ("pan_?", ["pan_x", "pan_y"]),
        ("pan_[x-z]", ["pan_x", "pan_y"]),
        ("pan_[!x]", ["pan_y"]),
        ("*_x", ["pan_x", "flip_x"]),
        ("*", ["mix", "fade", "pan_x", "pan_y", "flip_x"]),
        ("status/*", ["status/fps"]),
        ("m.x", []),
        ("[a-]ix", []),
        ("[&&^m~~||]ix", ["mix"]),
    ],
)
def test_address_patterns(pattern, found):
    assert matching(pattern, NAMES) == found


@pytest.mark.parametrize("pattern", ["{mix", "[a-z", "[]", "[!]", "[z-a]", "*a*a*a*a*a*a*a*a*a*a*b", "a" * 300])
def test_address_patterns_that_are_refused(pattern):
    with pytest.raises(ControlError):
        matching(pattern, NAMES)
