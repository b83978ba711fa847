"""Requests as nobody should send them, and what came back.

What came is `pong`, `signature`, `error NN`, `closed` (without an answer), or `silent`.
"""

import hashlib

import frame
import keys
import tls
from frame import raw_frame, raw_item
from report import tell

DIGEST = hashlib.sha256(b"a message").digest()
PING = raw_item(frame.OPCODE, b"\xf1") + raw_item(frame.PAYLOAD, b"hello")


def run(args):
    """Sends each case on a connection of its own, and tells whether that lives on."""
    public = {key.kind: key for key in map(keys.PublicKey, args.pubkey)}
    foreign = [keys.PublicKey(path) for path in args.foreign]
    cases = framing() + skis(public, foreign) + operations(public) + lengths(public)
    for name, data in cases:
        with tls.connect(args) as stream:
            came, size = ask(stream, data)
            lives = came not in ("closed", "silent") and ask(stream, raw_frame(9, PING))[0] == "pong"
            tell("negative", name=name, came=came, size=size, lives=lives)


def ask(stream, data):
    """Sends bytes, and names what they bring."""
    stream.settimeout(5)
    try:
        stream.sendall(data)
        answer = frame.read(stream)
    except TimeoutError:
        return "silent", 0
    # A close without TLS's own word of it is a close as well.
    except (OSError, EOFError):
        return "closed", 0
    if answer is None:
        return "closed", 0
    _, items, size = answer
    opcode = items.get(frame.OPCODE, b"\x00")[0]
    names = {frame.PONG: "pong", frame.RESPONSE: "signature"}
    if opcode == frame.ERROR:
        return f"error {items[frame.PAYLOAD].hex()}", size
    return names.get(opcode, f"opcode {opcode:02x}"), size


def framing():
    """The rules of header and items."""
    opcode, payload = raw_item(frame.OPCODE, b"\xf1"), raw_item(frame.PAYLOAD, b"hello")
    padding = raw_item(frame.PADDING, b"\0" * 9)
    bodies = {
        "plain ping": PING,
        "ping in reverse order": payload + opcode,
        "ping after padding": padding + PING,
        "one byte too many": PING + b"\0",
        "two bytes too many": PING + b"\0\0",
        "three bytes too many are an item": PING + b"\0\0\0",
        "unknown tag 00": raw_item(0x00, b"x" * 9) + PING,
        "unknown tag 18": raw_item(0x18, b"x" * 9) + PING,
        "unknown tag ff": PING + raw_item(0xFF, b""),
        "unknown tag twice": raw_item(0x30, b"x") * 2 + PING,
        "item past the body by one": PING + b"\x14\0\x02x",
        "item past the body by all": PING + b"\x14\xff\xff",
        "unknown item past the body": PING + b"\x30\0\x02x",
        "opcode twice": opcode + opcode,
        "payload twice": PING + payload,
        "padding twice": PING + padding + padding,
        "ski twice": PING + raw_item(frame.SKI, b"s" * 20) * 2,
        "extra twice": PING + raw_item(frame.EXTRA, b"") * 2,
        "opcode of no byte": raw_item(frame.OPCODE, b"") + payload,
        "opcode of two bytes": raw_item(frame.OPCODE, b"\xf1\xf1") + payload,
        "empty body": b"",
        "body of one byte": b"\0",
        "no opcode": payload,
        "compliance region of one": PING + raw_item(frame.COMPLIANCE_REGION, b"\x01"),
        "compliance region of none": PING + raw_item(frame.COMPLIANCE_REGION, b""),
        "compliance region of two": PING + raw_item(frame.COMPLIANCE_REGION, b"\1\1"),
        "every known item": PING + b"".join(
            raw_item(tag, b"x" * {frame.CLIENT_IP: 4, frame.SERVER_IP: 16, frame.SKI: 20,
                                  frame.CERTIFICATE_DIGEST: 32,
                                  frame.COMPLIANCE_REGION: 1}.get(tag, 7))
            for tag in frame.ORDER if tag not in (frame.OPCODE, frame.PAYLOAD)),
    }
    for tag, name in ((frame.CLIENT_IP, "client"), (frame.SERVER_IP, "server")):
        for length in (0, 3, 4, 5, 15, 16, 17):
            bodies[f"{name} ip of {length}"] = PING + raw_item(tag, b"\1" * length)
    cases = [(name, raw_frame(1, body)) for name, body in bodies.items()]
    longest = opcode + raw_item(frame.PAYLOAD, b"x" * (0xFFFF - len(opcode) - 3))
    cases.append(("longest frame", raw_frame(0xFFFFFFFF, longest)))
    cases.append(("minor version 7", raw_frame(1, PING, minor=7)))
    cases.append(("major version 2", raw_frame(1, PING, major=2)))
    return cases


def skis(public, foreign):
    """Which key is meant, and whose it is."""
    ask_p256 = raw_item(frame.OPCODE, b"\x15") + raw_item(frame.PAYLOAD, DIGEST)
    own = public["p256"].ski
    digest = raw_item(frame.CERTIFICATE_DIGEST, b"d" * 32)
    bodies = {
        "own key": ask_p256 + raw_item(frame.SKI, own),
        "no ski": ask_p256,
        "unknown ski": ask_p256 + raw_item(frame.SKI, b"?" * 20),
        "ski of 19": ask_p256 + raw_item(frame.SKI, own[:19]),
        "ski of 21": ask_p256 + raw_item(frame.SKI, own + b"x"),
        "certificate digest only": ask_p256 + digest,
        "certificate digest of 31 beside own key":
            ask_p256 + raw_item(frame.CERTIFICATE_DIGEST, b"d" * 31) + raw_item(frame.SKI, own),
    }
    for key in foreign:
        opcode = bytes(key.operations()[:1])
        payload = keys.digest_of(opcode[0], b"a message")
        bodies[f"foreign {key.kind}"] = (
            raw_item(frame.OPCODE, opcode) + raw_item(frame.PAYLOAD, payload)
            + raw_item(frame.SKI, key.ski))
    return [(name, raw_frame(1, body)) for name, body in bodies.items()]


def operations(public):
    """Opcodes that are no operation, and those of another kind of key."""
    cases = []
    for opcode in range(0x100):
        if opcode not in frame.SIGN and opcode != frame.PING:
            cases.append((f"opcode {opcode:02x}", signing(opcode, public["rsa"], DIGEST)))
    for kind, key in public.items():
        for opcode in frame.SIGN:
            if opcode not in key.operations():
                payload = keys.digest_of(opcode, b"a message")
                cases.append((f"mismatch {opcode:02x} {kind}", signing(opcode, key, payload)))
    return cases


def lengths(public):
    """Digests of another length than their hash's."""
    cases = []
    for key in public.values():
        for opcode in key.operations():
            if frame.SIGN[opcode][2] is None:
                continue
            right = len(keys.digest_of(opcode, b""))
            for length in {0, 1, 20, 28, right - 1, right + 1, 32, 36, 48, 64, 256} - {right}:
                name = f"digest {opcode:02x} of {length}"
                cases.append((name, signing(opcode, key, b"d" * length)))
    # What an RSA decryption would be asked: a block of the modulus' length.
    for opcode in (0x01, 0x08):
        cases.append((f"block {opcode:02x}", signing(opcode, public["rsa"], b"\0\2" + b"x" * 254)))
    return cases


def signing(opcode, key, payload):
    """A request to sign whatever by that key."""
    items = raw_item(frame.OPCODE, bytes([opcode])) + raw_item(frame.PAYLOAD, payload)
    return raw_frame(1, items + raw_item(frame.SKI, key.ski))
