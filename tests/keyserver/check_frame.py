"""The codec, tested by itself."""

import unittest

import frame
import vectors
from frame import Malformed, raw_item

PING = {frame.OPCODE: b"\xf1"}


class Frames(unittest.TestCase):
    def test_vectors_written_by_hand_are_what_is_emitted(self):
        by_hand = vectors.frames()
        for name, number, items, _, _ in vectors.VECTORS:
            self.assertEqual(frame.emit(number, items), by_hand[name], name)
            self.assertEqual(frame.parse_body(by_hand[name][8:]), items, name)
        sizes = [len(bytes_) for bytes_ in by_hand.values()]
        self.assertEqual(sizes, [1024, 1024, 1024, 2015])

    def test_padding_fills_to_1024_and_an_empty_one_marks_the_edge(self):
        # Header, opcode and payload take 15 bytes beside what is in the payload.
        for unpadded, padded in ((1020, 1024), (1021, 1024), (1022, 1025), (1023, 1026),
                                 (1024, 1024), (1025, 1025)):
            items = {**PING, frame.PAYLOAD: b"x" * (unpadded - 15)}
            self.assertEqual(len(frame.emit(1, items)), padded, unpadded)
            self.assertEqual(len(frame.emit(1, items, padded=False)), unpadded)

    def test_what_was_emitted_is_parsed_again(self):
        fixed = {frame.OPCODE: 1, frame.CLIENT_IP: 4, frame.SERVER_IP: 16, frame.SKI: 20,
                 frame.CERTIFICATE_DIGEST: 32, frame.COMPLIANCE_REGION: 1}
        items = {tag: bytes([tag]) * fixed.get(tag, 9) for tag in frame.ORDER}
        self.assertEqual(frame.parse_body(frame.emit(1, items)[8:]), items)

    def test_one_or_two_bytes_at_the_end_are_nothing(self):
        body = frame.emit_body(PING)
        self.assertEqual(frame.parse_body(body + b"\x11"), PING)
        self.assertEqual(frame.parse_body(body + b"\x11\x00"), PING)
        with self.assertRaises(Malformed):
            frame.parse_body(body + b"\x14\x00\x01")

    def test_known_items_come_once_and_unknown_ones_do_not_matter(self):
        body = frame.emit_body(PING)
        self.assertEqual(frame.parse_body(raw_item(0x30, b"x") * 2 + body), PING)
        for tag in frame.KNOWN:
            with self.assertRaises(Malformed, msg=hex(tag)):
                frame.parse_body(raw_item(tag, b"x") * 2)

    def test_lengths_are_strict_or_lenient_by_their_tag(self):
        for tag, good in frame.STRICT.items():
            for length in range(20):
                body = raw_item(tag, b"x" * length)
                if length in good:
                    self.assertEqual(frame.parse_body(body), {tag: b"x" * length})
                else:
                    self.assertRaises(Malformed, frame.parse_body, body)
        for tag, good in frame.LENIENT.items():
            for length in (0, good - 1, good + 1):
                self.assertEqual(frame.parse_body(raw_item(tag, b"x" * length)), {})
            self.assertEqual(frame.parse_body(raw_item(tag, b"x" * good)), {tag: b"x" * good})
