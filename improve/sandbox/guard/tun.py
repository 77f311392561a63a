"""A network device of the namespace that we are in, whose packets whoever holds its descriptor reads and writes."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import Final

DEVICE: Final = "/dev/net/tun"
NAME: Final = "nodes"  # of the interface
MTU: Final = 65_000  # bytes: each packet costs a system call or two on its way
_NETMASK: Final = "255.255.255.0"

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001  # packets of IP with nothing before them
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8913, 0x8914, 0x8916, 0x891C, 0x8922
_IFF_UP: Final = 0x1


def create(address: str) -> int:
    """Make it and give it an IPv4 address in a network of 254. Its descriptor: with it, the device ends.

    Raises `OSError`. Needs CAP_NET_ADMIN over the network namespace, and the machine's /dev.
    """
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, _request(struct.pack("H", _IFF_TUN_NO_PI)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFMTU, _request(struct.pack("i", MTU)))
        fcntl.ioctl(any_socket, _SIOCSIFADDR, _request(_internet(address)))
        fcntl.ioctl(any_socket, _SIOCSIFNETMASK, _request(_internet(_NETMASK)))
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _request(b"")), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _request(struct.pack("H", flags | _IFF_UP)))
    return descriptor


def _request(value: bytes) -> bytes:
    """A struct ifreq of 64-bit machines."""
    return struct.pack("16s24s", NAME.encode(), value)


def _internet(address: str) -> bytes:
    return struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(address))
