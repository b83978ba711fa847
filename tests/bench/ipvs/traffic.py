#!/usr/bin/env python3
"""Sends UDP to a director in a guest, and prints the instructions that the guest took for a packet.

traffic.py PORT GUEST-RUN LABEL ADDRESS BACKEND PACKETS, in the namespace of the guest's tap; started
by `run`. ADDRESS may be `route`: the packets are then addressed to BACKEND itself, and the guest is
their router."""
import socket
import subprocess
import sys
import time

port, guest_run, label, address, backend, packets = sys.argv[1:]
packets = int(packets)
TRAIN = 64
FLOWS = 64
SECONDS = 0.02  # from train to train


def guest(command):
    return subprocess.run(
        [sys.executable, guest_run, port, "60", command],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def busy():
    """Nanoseconds, which are instructions, that the guest was not idle since it booted."""
    uptime, idle = guest("cat /proc/uptime").split()
    return (float(uptime) - float(idle)) * 1e9


def received():
    with open("/sys/class/net/guest0/statistics/rx_packets") as file:
        return int(file.read())


def send(count):
    """Packets of 64 bytes of several flows, in trains."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind(("guest0", 0))
    own = open("/sys/class/net/guest0/address").read().strip()
    guest_mac = bytes.fromhex("525400770002")
    frames = [frame(guest_mac, bytes.fromhex(own.replace(":", "")), 20000 + n) for n in range(FLOWS)]
    due = time.monotonic()
    for n in range(count):
        raw.send(frames[n % FLOWS])
        if n % TRAIN == TRAIN - 1:
            due += SECONDS
            time.sleep(max(0, due - time.monotonic()))
    time.sleep(0.5)


def frame(to, own, source_port):
    """One frame of 64 bytes: no UDP checksum, as IPv4 permits."""
    target = backend if address == "route" else address
    source = socket.inet_aton("10.78.0.10")
    ip = bytearray(bytes.fromhex("450000320000400040110000") + source + socket.inet_aton(target))
    total = sum(int.from_bytes(ip[n : n + 2], "big") for n in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    ip[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
    udp = source_port.to_bytes(2, "big") + (53).to_bytes(2, "big") + (30).to_bytes(2, "big")
    return to + own + b"\x08\x00" + bytes(ip) + udp + bytes(2) + bytes(22)


# Sessions begin, and the caches of the kernel fill.
send(10 * TRAIN)
sent_for = packets / TRAIN * SECONDS + 0.5
before = busy()
time.sleep(sent_for)
idle = busy() - before
came, before = received(), busy()
began = time.monotonic()
send(packets)
used = busy() - before
forwarded = received() - came
# What the guest does by itself goes on meanwhile.
idle *= (time.monotonic() - began) / sent_for
each = (used - idle) / packets
print(f"{label:28} {each:12.0f} {forwarded:10} {packets:8}", flush=True)
