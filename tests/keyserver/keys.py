"""Keys as files, and the `openssl` command that signs and verifies with them."""

import hashlib
import os
import subprocess
import tempfile

from frame import SIGN

# What follows AlgorithmIdentifier's tag and length: OIDs of RFC 3279, 5480 and 8410.
KINDS = {
    bytes.fromhex("06092a864886f70d010101"): "rsa",
    bytes.fromhex("06072a8648ce3d020106082a8648ce3d030107"): "p256",
    bytes.fromhex("06072a8648ce3d020106052b81040022"): "p384",
    bytes.fromhex("06072a8648ce3d020106052b81040023"): "p521",
    bytes.fromhex("06032b6570"): "ed25519",
}


class Failed(Exception):
    """The command refused."""


def openssl(*words, data=b""):
    """Runs the command, and gives what it wrote."""
    done = subprocess.run(("openssl",) + words, input=data, capture_output=True)
    if done.returncode != 0:
        raise Failed(done.stderr.decode(errors="replace").strip())
    return done.stdout


def der(data, at):
    """The tag of the value at that place, its content, and where the next one begins."""
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, at = int.from_bytes(data[at:at + count], "big"), at + count
    return tag, data[at:at + length], at + length


class PublicKey:
    """A public key in a file of PEM."""

    def __init__(self, path, private=False):
        self.path = path
        words = ("pkey", "-in", path, "-pubout", "-outform", "DER")
        spki = openssl(*words, *(() if private else ("-pubin",)))
        _, fields, _ = der(spki, 0)
        _, algorithm, after = der(fields, 0)
        _, bits, _ = der(fields, after)
        self.kind = next(kind for oid, kind in KINDS.items() if algorithm.startswith(oid))
        # SHA-1 of the bits, without the count of unused ones (RFC 5280, 4.2.1.2, method 1).
        self.ski = hashlib.sha1(bits[1:]).digest()

    def operations(self):
        """The opcodes that sign with such a key."""
        return [op for op, (kind, _, _) in SIGN.items() if kind == self.kind]

    def verifies(self, opcode, message, signature):
        """Whether the command takes the signature, over the whole message."""
        _, padding, digest = SIGN[opcode]
        with tempfile.TemporaryDirectory() as folder:
            said, signed = os.path.join(folder, "message"), os.path.join(folder, "signature")
            write(said, message)
            write(signed, signature)
            if digest:
                words = ["dgst", f"-{digest}", "-verify", self.path, "-signature", signed]
                if padding == "pss":
                    words += options("-sigopt", padding, digest)
                words.append(said)
            else:
                words = ["pkeyutl", "-verify", "-pubin", "-inkey", self.path, "-rawin"]
                words += ["-in", said, "-sigfile", signed]
            try:
                openssl(*words)
            except Failed:
                return False
        return True


class PrivateKey(PublicKey):
    """A private key in a file of PEM."""

    def __init__(self, path):
        super().__init__(path, private=True)

    def sign(self, opcode, payload):
        """Signs a digest, or for Ed25519 a message."""
        _, padding, digest = SIGN[opcode]
        words = ["pkeyutl", "-sign", "-inkey", self.path]
        if digest:
            return openssl(*words, *options("-pkeyopt", padding, digest), data=payload)
        # The command wants to know the length beforehand, which a pipe does not tell.
        with tempfile.NamedTemporaryFile() as message:
            message.write(payload)
            message.flush()
            return openssl(*words, "-rawin", "-in", message.name)


def options(flag, padding, digest):
    """What tells the command how RSA pads; `digest` as salt length means: as long as the hash."""
    said = [f"digest:{digest}"] if flag == "-pkeyopt" else []
    if padding == "pkcs1":
        said.append("rsa_padding_mode:pkcs1")
    if padding == "pss":
        said += ["rsa_padding_mode:pss", "rsa_pss_saltlen:digest", f"rsa_mgf1_md:{digest}"]
    return [word for option in said for word in (flag, option)]


def digest_of(opcode, message):
    """The payload of an operation over a message."""
    digest = SIGN[opcode][2]
    return hashlib.new(digest, message).digest() if digest else message


def folder_of_keys(folder):
    """All private keys of a folder by their names on the wire."""
    paths = (os.path.join(folder, name) for name in sorted(os.listdir(folder)))
    keys = [PrivateKey(path) for path in paths if path.endswith(".key")]
    return {key.ski: key for key in keys}


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
