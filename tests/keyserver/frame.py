"""The frames of the Keyless protocol: a header of eight bytes, and items of tag, length and value.

Written from the description of the protocol alone, with the standard library alone, so that an
error in the Rust half does not repeat itself here.
"""

import struct

HEADER = struct.Struct(">BBHI")
ITEM = struct.Struct(">BH")

CERTIFICATE_DIGEST = 0x01
SERVER_NAME = 0x02
CLIENT_IP = 0x03
SKI = 0x04
SERVER_IP = 0x05
CERT_ID = 0x06
OPCODE = 0x11
PAYLOAD = 0x12
CUSTOM_NAME = 0x13
EXTRA = 0x14
SPAN = 0x15
REQUEST_CONTEXT = 0x16
COMPLIANCE_REGION = 0x17
PADDING = 0x20

# The order in which deployed peers write; padding is last.
ORDER = (
    OPCODE, PAYLOAD, EXTRA, SKI, CERTIFICATE_DIGEST, CLIENT_IP, SERVER_IP, SERVER_NAME, CERT_ID,
    CUSTOM_NAME, SPAN, REQUEST_CONTEXT, COMPLIANCE_REGION,
)
KNOWN = frozenset(ORDER) | {PADDING}

# Lengths of another kind make the frame malformed ...
STRICT = {OPCODE: {1}, CLIENT_IP: {4, 16}, SERVER_IP: {4, 16}, COMPLIANCE_REGION: {1}}
# ... and here they make the item as if it were not there.
LENIENT = {SKI: 20, CERTIFICATE_DIGEST: 32}

SIGN = {
    0x05: ("rsa", "pkcs1", "sha256"),
    0x06: ("rsa", "pkcs1", "sha384"),
    0x07: ("rsa", "pkcs1", "sha512"),
    0x35: ("rsa", "pss", "sha256"),
    0x36: ("rsa", "pss", "sha384"),
    0x37: ("rsa", "pss", "sha512"),
    0x15: ("p256", None, "sha256"),
    0x16: ("p384", None, "sha384"),
    0x17: ("p521", None, "sha512"),
    0x18: ("ed25519", None, None),
}
PING, PONG, RESPONSE, ERROR = 0xF1, 0xF2, 0xF0, 0xFF

CRYPTO, KEY_NOT_FOUND, BAD_OPCODE, UNEXPECTED_OPCODE, INTERNAL = 0x01, 0x02, 0x05, 0x06, 0x08

SMALLEST = 1024


class Malformed(Exception):
    """The body cannot be read: who reads it closes the connection without an answer."""


def parse_body(body):
    """The items of a body by their tags, padding left out."""
    items, seen, at = {}, set(), 0
    # One or two bytes that are left over are no item, and no error.
    while len(body) - at >= ITEM.size:
        tag, length = ITEM.unpack_from(body, at)
        at += ITEM.size
        if length > len(body) - at:
            raise Malformed(f"item {tag:#04x} runs past the body")
        value = bytes(body[at:at + length])
        at += length
        if tag not in KNOWN:
            continue
        if tag in seen:
            raise Malformed(f"item {tag:#04x} comes twice")
        seen.add(tag)
        if tag in STRICT and length not in STRICT[tag]:
            raise Malformed(f"item {tag:#04x} is of {length} bytes")
        if tag != PADDING and LENIENT.get(tag, length) == length:
            items[tag] = value
    return items


def emit_body(items):
    """Items by their tags as a body, in the order of deployed peers; what is empty is not written."""
    return b"".join(raw_item(tag, items[tag]) for tag in ORDER if items.get(tag))


def raw_item(tag, value):
    """One item, be it as wrong as it may."""
    return ITEM.pack(tag, len(value)) + value


def raw_frame(number, body, major=1, minor=0):
    """A frame around a body that is taken as it is."""
    return HEADER.pack(major, minor, len(body), number) + body


def emit(number, items, padded=True):
    """A whole frame."""
    body = emit_body(items)
    if padded and HEADER.size + len(body) < SMALLEST:
        more = max(0, SMALLEST - (HEADER.size + len(body) + ITEM.size))
        body += raw_item(PADDING, bytes(more))
    return raw_frame(number, body)


def read(stream):
    """The next frame's number, items and size; `None` where the peer has closed in between two."""
    header = exactly(stream, HEADER.size)
    if not header:
        return None
    _, _, length, number = HEADER.unpack(header)
    body = exactly(stream, length)
    if len(body) < length:
        raise EOFError("cut within a frame")
    return number, parse_body(body), HEADER.size + length


def exactly(stream, count):
    """That many bytes; none if the stream has ended."""
    parts = bytearray()
    while len(parts) < count:
        part = stream.recv(count - len(parts))
        if not part and parts:
            raise EOFError("cut within a frame")
        if not part:
            break
        parts += part
    return bytes(parts)
