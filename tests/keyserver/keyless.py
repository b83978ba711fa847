"""A second implementation of the plain Keyless protocol, by the standard library alone.

    keyless.py client ADDRESS …      signs by every operation, and verifies by `openssl`
    keyless.py negative ADDRESS …    sends what nobody should, and tells what came back
    keyless.py hold ADDRESS …        stays connected until the server closes
    keyless.py server …              holds a folder of keys, and signs by `openssl`
    keyless.py vectors               prints the golden vectors
    keyless.py parse FILE            reads bodies in hexadecimal, one a line, and tells their items
    keyless.py check                 tests itself
"""

import argparse
import sys
import unittest

# A test leaves nothing behind in the folder of the sources.
sys.dont_write_bytecode = True

import client  # noqa: E402
import frame  # noqa: E402
import negative  # noqa: E402
import server  # noqa: E402
import vectors  # noqa: E402
from report import tell  # noqa: E402


def main():
    args = arguments().parse_args()
    args.run(args)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("client", client.run), ("negative", negative.run), ("hold", client.hold)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("address")
        command.add_argument("--name", default="localhost", help="whom its certificate must name")
        command.add_argument("--pubkey", action="append", default=[], help="a key that may be used")
        command.add_argument("--foreign", action="append", default=[], help="one that may not")
        command.add_argument("--deep", type=int, default=50, help="requests at once")
        transport(command)
    command = commands.add_parser("server")
    command.set_defaults(run=server.run)
    command.add_argument("--listen", required=True)
    command.add_argument("--keys", required=True, help="a folder of *.key in PEM")
    command.add_argument("--delay", type=float, default=0, help="milliseconds before each answer")
    command.add_argument("--shuffle", action="store_true", help="answer the last first")
    command.add_argument("--fault", choices=server.FAULTS, default="none")
    transport(command)
    command = commands.add_parser("parse")
    command.set_defaults(run=parse)
    command.add_argument("file", type=argparse.FileType())
    for name, run in (("vectors", vectors.run), ("check", check)):
        commands.add_parser(name).set_defaults(run=run)
    return parser


def transport(command):
    command.add_argument("--cert")
    command.add_argument("--key")
    command.add_argument("--ca", required=True)
    command.add_argument("--tls", choices=("1.2", "1.3", "any"), default="any")
    command.add_argument("--alpn")


def parse(args):
    for line in args.file:
        try:
            items = frame.parse_body(bytes.fromhex(line))
        except frame.Malformed as error:
            tell("malformed", why=str(error))
            continue
        # An item that is empty is as if it were not there.
        named = {f"{tag:02x}": value.hex() for tag, value in sorted(items.items()) if value}
        tell("items", items=named)


def check(_):
    import check_frame
    import check_keys
    suite = unittest.TestSuite()
    for module in (check_frame, check_keys):
        suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
