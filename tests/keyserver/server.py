"""A key server of the plain protocol, which signs by the `openssl` command.

It can also be a bad one: see `FAULTS`.
"""

import secrets
import select
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import frame
import keys
import tls
from report import tell

FAULTS = {
    "none": "answers as it should",
    "garbage": "answers by bytes that are no items",
    "internal": "answers every signature by error 08",
    "late": "answers well, and too late (see --delay)",
    "other-key": "signs with another key of the same kind",
    "silent": "reads, answers pings, and is silent else",
    "mute": "accepts and reads, and never answers at all",
    "wrong-id": "answers for an identifier that nobody asked",
}

# Requests of one connection that are answered together, the last first.
BATCH = 8
# How long a batch waits for one more.
GATHER = 0.01


def run(args):
    """Serves until it is killed."""
    held = keys.folder_of_keys(args.keys)
    settings = tls.trust(ssl.PROTOCOL_TLS_SERVER, args)
    with socket.create_server(tls.address(args.listen)) as listener:
        tell("listening", keys=[ski.hex() for ski in held])
        while True:
            plain, _ = listener.accept()
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(plain, settings, held, args)
            threading.Thread(target=connection.serve, daemon=True).start()


class Connection:
    """One client, from its handshake to its end, on one thread: `ssl` is not to be shared."""

    def __init__(self, plain, settings, held, args):
        self.plain, self.settings, self.held, self.args = plain, settings, held, args

    def serve(self):
        """Answers until the client ends, or sends what cannot be read."""
        try:
            with self.settings.wrap_socket(self.plain, server_side=True) as stream:
                tell("accepted", tls=stream.version(), alpn=stream.selected_alpn_protocol())
                with ThreadPoolExecutor(BATCH) as pool:
                    while (batch := self.batch(stream)):
                        time.sleep(self.args.delay / 1000)
                        answers = list(pool.map(lambda request: self.one(*request[:2]), batch))
                        stream.sendall(b"".join(reversed(answers)))
        except (OSError, EOFError, frame.Malformed) as error:
            tell("ended", why=str(error))

    def batch(self, stream):
        """What the client has sent by now, in a list; an empty one at its end."""
        taken = [frame.read(stream)]
        while taken[-1] is not None and len(taken) < BATCH and waits(stream, self.args.shuffle):
            taken.append(frame.read(stream))
        return [request for request in taken if request is not None]

    def one(self, number, items):
        """The answer to one request; empty where there is none."""
        fault, opcode = self.args.fault, items.get(frame.OPCODE, b"\0")[0]
        if fault == "mute":
            return b""
        if opcode == frame.PING:
            return response(number, frame.PONG, items.get(frame.PAYLOAD, b""))
        if fault == "silent":
            return b""
        if fault == "garbage":
            # A good header, so that the reader does not just wait for more.
            return frame.raw_frame(number, secrets.token_bytes(1000))
        if fault == "internal":
            return error(number, frame.INTERNAL)
        if fault == "wrong-id":
            number ^= 0x80000000
        return self.sign(number, opcode, items)

    def sign(self, number, opcode, items):
        """The answer to a request to sign."""
        if opcode in (frame.RESPONSE, frame.ERROR, frame.PONG):
            return error(number, frame.UNEXPECTED_OPCODE)
        if opcode not in frame.SIGN:
            return error(number, frame.BAD_OPCODE)
        key = self.held.get(items.get(frame.SKI))
        if key is None:
            return error(number, frame.KEY_NOT_FOUND)
        if opcode not in key.operations():
            return error(number, frame.BAD_OPCODE)
        payload = items.get(frame.PAYLOAD, b"")
        if frame.SIGN[opcode][2] and len(payload) != len(keys.digest_of(opcode, b"")):
            return error(number, frame.CRYPTO)
        if self.args.fault == "other-key":
            others = (other for other in self.held.values() if other.kind == key.kind)
            key = next(other for other in others if other is not key)
        try:
            return response(number, frame.RESPONSE, key.sign(opcode, payload))
        except keys.Failed:
            return error(number, frame.CRYPTO)


def waits(stream, patient):
    """Whether there is more to read, now or soon."""
    if stream.pending():
        return True
    return bool(select.select([stream], [], [], GATHER if patient else 0)[0])


def response(number, opcode, payload):
    return frame.emit(number, {frame.OPCODE: bytes([opcode]), frame.PAYLOAD: payload})


def error(number, code):
    return response(number, frame.ERROR, bytes([code]))
