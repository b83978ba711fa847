"""Mutual TLS as deployed peers speak it: both ends prove themselves, and nothing is optional."""

import socket
import ssl

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# All that deployed servers accept in TLS 1.2.
SUITES = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"


def trust(side, args):
    """The settings of one side: its certificate, its key, and whom it believes."""
    settings = ssl.SSLContext(side)
    if args.tls in VERSIONS:
        settings.minimum_version = settings.maximum_version = VERSIONS[args.tls]
    settings.set_ciphers(SUITES)
    settings.load_verify_locations(args.ca)
    settings.verify_mode = ssl.CERT_REQUIRED
    if args.cert:
        settings.load_cert_chain(args.cert, args.key)
    if args.alpn:
        settings.set_alpn_protocols([args.alpn])
    return settings


def address(text):
    """`HOST:PORT` as Python takes it."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def connect(args):
    """A connection to a key server, verified by its name."""
    settings = trust(ssl.PROTOCOL_TLS_CLIENT, args)
    plain = socket.create_connection(address(args.address), timeout=10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return settings.wrap_socket(plain, server_hostname=args.name)
