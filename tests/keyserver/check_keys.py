"""Signing and verifying by the command, tested by itself."""

import os
import tempfile
import unittest

import frame
import keys

MAKE = {
    "rsa": ("RSA", "rsa_keygen_bits:2048"),
    "p256": ("EC", "ec_paramgen_curve:P-256"),
    "p384": ("EC", "ec_paramgen_curve:P-384"),
    "p521": ("EC", "ec_paramgen_curve:P-521"),
    "ed25519": ("ED25519", None),
}


class Keys(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        for kind, (algorithm, option) in MAKE.items():
            path = os.path.join(self.folder.name, f"{kind}.key")
            more = ("-pkeyopt", option) if option else ()
            keys.openssl("genpkey", "-algorithm", algorithm, *more, "-out", path)

    def tearDown(self):
        self.folder.cleanup()

    def test_every_operation_is_verified_and_no_other_message_is(self):
        held = keys.folder_of_keys(self.folder.name)
        self.assertEqual(sorted(key.kind for key in held.values()), sorted(MAKE))
        seen = set()
        for key in held.values():
            path = key.path + ".pub"
            keys.openssl("pkey", "-in", key.path, "-pubout", "-out", path)
            public = keys.PublicKey(path)
            self.assertEqual((public.ski, public.kind), (key.ski, key.kind))
            for opcode in key.operations():
                seen.add(opcode)
                signature = key.sign(opcode, keys.digest_of(opcode, b"said"))
                self.assertTrue(public.verifies(opcode, b"said", signature), hex(opcode))
                self.assertFalse(public.verifies(opcode, b"unsaid", signature), hex(opcode))
        self.assertEqual(seen, set(frame.SIGN))

    def test_the_name_of_a_key_is_the_sha_1_that_openssl_puts_into_certificates(self):
        for ski, key in keys.folder_of_keys(self.folder.name).items():
            made = keys.openssl("req", "-x509", "-new", "-key", key.path, "-subj", "/CN=a",
                                "-addext", "subjectKeyIdentifier=hash")
            said = keys.openssl("x509", "-noout", "-ext", "subjectKeyIdentifier", data=made)
            self.assertIn(ski.hex().upper(), said.decode().replace(":", "").upper())
