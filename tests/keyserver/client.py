"""A client of the plain protocol: it signs by every operation, and believes no signature."""

import secrets

import frame
import keys
import tls
from report import tell


def run(args):
    """Pings, signs by every operation of every key, and then many at once."""
    public = [keys.PublicKey(path) for path in args.pubkey]
    with tls.connect(args) as stream:
        tell("connected", tls=stream.version(), suite=stream.cipher()[0],
             alpn=stream.selected_alpn_protocol())
        ping(stream)
        for key in public:
            for opcode in key.operations():
                sign_each_length(stream, key, opcode)
        pipeline(stream, public, args.deep)


def ping(stream):
    """Payloads on both sides of the padding's edges come back as they went."""
    for number, length in enumerate((0, 5, 1005, 1006, 1007, 1008, 1009, 1010, 2000, 65528), 1):
        payload = secrets.token_bytes(length)
        stream.sendall(frame.emit(number, {frame.OPCODE: b"\xf1", frame.PAYLOAD: payload}))
        answered, items, size = frame.read(stream)
        expected = frame.emit(number, {frame.OPCODE: b"\xf2", frame.PAYLOAD: payload})
        good = answered == number and items.get(frame.PAYLOAD, b"") == payload
        tell("ping", length=length, ok=good and items[frame.OPCODE] == b"\xf2",
             size=size, expected_size=len(expected))


def sign_each_length(stream, key, opcode):
    """Messages of several lengths: the digest crosses, or for Ed25519 the message."""
    for length in (1, 64, 1500):
        message = secrets.token_bytes(length)
        stream.sendall(question(7, key, opcode, message))
        number, items, size = frame.read(stream)
        tell("sign", key=key.kind, opcode=opcode, length=length, size=size,
             **judge(key, opcode, message, items), ok_id=number == 7)


def pipeline(stream, public, deep):
    """Writes many requests in one go, and takes the answers as they come."""
    asked, frames, order = {}, [], []
    for number in range(deep):
        key = public[number % len(public)]
        opcodes = key.operations()
        opcode = opcodes[number // len(public) % len(opcodes)]
        # Identifiers that are far from one another, and no count that both ends could guess.
        name = (number * 2654435761 + 17) % 2**32
        message = secrets.token_bytes(40)
        asked[name] = key, opcode, message
        order.append(name)
        frames.append(question(name, key, opcode, message))
    stream.sendall(b"".join(frames))
    came, verified = [], 0
    for _ in range(deep):
        name, items, _ = frame.read(stream)
        key, opcode, message = asked.pop(name)
        came.append(name)
        verified += judge(key, opcode, message, items)["verified"]
    tell("pipeline", deep=deep, verified=verified, unanswered=len(asked),
         in_order=came == order)


def question(number, key, opcode, message):
    """A request to sign."""
    return frame.emit(number, {
        frame.OPCODE: bytes([opcode]),
        frame.PAYLOAD: keys.digest_of(opcode, message),
        frame.SKI: key.ski,
        frame.SERVER_NAME: b"a.test",
        frame.CLIENT_IP: bytes([192, 0, 2, 1]),
    })


def judge(key, opcode, message, items):
    """What an answer to that request is worth."""
    if items.get(frame.OPCODE) != bytes([frame.RESPONSE]):
        code = items.get(frame.PAYLOAD, b"").hex()
        return {"verified": False, "came": f"{items.get(frame.OPCODE, b'').hex()} {code}"}
    known = set(items) <= {frame.OPCODE, frame.PAYLOAD}
    good = key.verifies(opcode, message, items.get(frame.PAYLOAD, b""))
    return {"verified": good and known, "came": "signature"}


def hold(args):
    """Connects, asks once, and then waits for the server to close."""
    with tls.connect(args) as stream:
        stream.sendall(frame.emit(1, {frame.OPCODE: b"\xf1"}))
        frame.read(stream)
        tell("holding")
        stream.settimeout(60)
        try:
            tell("closed", clean=frame.read(stream) is None)
        except OSError as error:
            tell("closed", clean=False, error=str(error))
