# SPDX-License-Identifier: MIT
"""
The protocol spoken by hand: as much of protobuf's wire format as proto/shimport.proto needs, so that a test can
send what no well-behaved client would. Field numbers are those of shimport.proto.
"""

import os
import socket

PROTOCOL = 1
ATTACH, BARRIER, REPORT, WARM, STATUS, EXPLAIN, RELOAD, DROP = range(2, 10)
SERVED, BUILDING, STALE, FAILED, REFUSED, SEEN = range(1, 7)
PACKET_SIZE_MAX = 128 * 1024


def varint(number):
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def field(number, value):
    """An integer field, or one of bytes: a string or a message already encoded."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = os.fsencode(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """Decodes one message into {number: [values]}."""
    found = {}
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size = number()
            value = data[at : at + size]
            at += size
        found.setdefault(key >> 3, []).append(value)
    return found


def request(kind, body=b"", protocol=PROTOCOL):
    return field(1, protocol) + field(kind, body)


def interpreter(described):
    """An Interpreter message from what shimport.describe prints."""
    return (
        field(1, described["tag"]) + field(2, described["executable"]) + field(3, described.get("options") or "")
    )


def attach(described, paths, late=False):
    roots = b"".join(field(2, field(1, path)) for path in paths)
    return request(ATTACH, field(1, interpreter(described)) + roots + (field(3, 1) if late else b""))


def open_roots(paths):
    return [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in paths]


def ask(connection, packet, fds=()):
    """Sends one packet and returns the reply's fields and its descriptors."""
    socket.send_fds(connection, [packet], list(fds))
    data, received, _, _ = socket.recv_fds(connection, PACKET_SIZE_MAX, 253)
    return fields(data), received


def ask_attach(connection, described, paths, late=False):
    """Returns [(state, reason, image fd or None)] in the order of the paths. State fds are closed."""
    roots = open_roots(paths)
    try:
        reply, received = ask(connection, attach(described, paths, late), roots)
    finally:
        for fd in roots:
            os.close(fd)
    answers = []
    for encoded in fields(reply[1][0]).get(1, []):
        answer = fields(encoded)
        image = received.pop(0) if answer.get(4, [0])[0] else None
        if answer.get(5, [0])[0]:
            os.close(received.pop(0))
        answers.append((answer.get(1, [0])[0], answer.get(2, [b""])[0].decode(), image))
    assert not received
    return answers
