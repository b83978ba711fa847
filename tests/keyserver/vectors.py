"""The golden vectors, as the description writes them down."""

import frame
from report import tell

SKI = bytes(range(20))
DIGEST = bytes(range(32))

# Name, number, items, and what the frame is by hand: its head, and how many zeros pad it.
VECTORS = (
    ("ping", 1, {frame.OPCODE: b"\xf1", frame.PAYLOAD: b"hello"},
     "010003f800000001" "110001f1" "12000568656c6c6f" "2003e9", 1001),
    ("ecdsa-sha256", 10, {frame.OPCODE: b"\x15", frame.PAYLOAD: DIGEST, frame.SKI: SKI},
     "010003f80000000a" "11000115" "120020" + DIGEST.hex() + "040014" + SKI.hex() + "2003b7", 951),
    ("key-not-found", 0x01020304, {frame.OPCODE: b"\xff", frame.PAYLOAD: b"\x02"},
     "010003f801020304" "110001ff" "12000102" "2003ed", 1005),
    ("long-pong", 2, {frame.OPCODE: b"\xf2", frame.PAYLOAD: b"x" * 2000},
     "010007d700000002" "110001f2" "1207d0" + "78" * 2000, 0),
)


def frames():
    """Each vector by its name, as it is written by hand."""
    return {name: bytes.fromhex(head) + bytes(zeros) for name, _, _, head, zeros in VECTORS}


def run(_):
    """Prints the vectors, each checked against what this codec emits and parses."""
    for name, number, items, head, zeros in VECTORS:
        by_hand = bytes.fromhex(head) + bytes(zeros)
        parsed = frame.parse_body(by_hand[frame.HEADER.size:])
        good = frame.emit(number, items) == by_hand and parsed == items
        tell("vector", name=name, id=number, ok=good, hex=by_hand.hex())
