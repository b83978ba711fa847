"""Says which packets of pcap files scapy would have built otherwise: lengths, checksums, options."""

import sys

from scapy.all import ICMP, IP, TCP, UDP, GRE, IPv6, PcapReader
from scapy.layers.inet6 import IPv6ExtHdrFragment, _ICMPv6


def network(packet):
    """The outermost header of IP, or None."""
    return packet.getlayer(IP) or packet.getlayer(IPv6)


def is_part(layer):
    """Whether what follows this header of IP is a part of a packet."""
    if type(layer) is IP:
        return layer.frag != 0 or bool(layer.flags.MF)
    return type(layer.payload) is IPv6ExtHdrFragment


def forget(layer):
    """Has scapy compute all that can be computed, down to what is quoted or cut."""
    while layer:
        part = type(layer) in (IP, IPv6) and is_part(layer)
        computed = {IP: ("len", "chksum", "ihl"), IPv6: ("plen",), TCP: ("chksum", "dataofs"), UDP: ("len",)}
        for field in computed.get(type(layer), ()):
            delattr(layer, field)
        if type(layer) is UDP and layer.chksum != 0:
            del layer.chksum
        elif type(layer) is ICMP:
            del layer.chksum
        elif type(layer) is GRE and layer.chksum_present:
            del layer.chksum
        elif isinstance(layer, _ICMPv6):
            del layer.cksum
        if part or type(layer) is ICMP or isinstance(layer, _ICMPv6):
            return
        layer = layer.payload


def judge(path):
    """How many packets a file has, and what is wrong with them."""
    count, wrong = 0, []
    with PcapReader(path) as packets:
        for number, packet in enumerate(packets, 1):
            ip = network(packet)
            if ip is None:
                continue
            count += 1
            # Whatever a link has put behind the packet is none of it.
            length = ip.len if type(ip) is IP else ip.plen + 40
            original = bytes(ip.original)[:length]
            again = type(ip)(original)
            forget(again)
            built = bytes(again)
            if built != original:
                at = next((n for n, (a, b) in enumerate(zip(built, original)) if a != b), -1)
                wrong.append(f"{path}:{number}: byte {at} of {ip.summary()}")
    return count, wrong


total, faults = 0, []
for name in sys.argv[1:]:
    count, wrong = judge(name)
    total += count
    faults += wrong
print(total)
print("\n".join(faults[:20]))
