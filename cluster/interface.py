"""The network interface of this node's address in Ray: gloo and NCCL would look up the hostname.

Debian and Ubuntu map the hostname to 127.0.1.1, which no other machine reaches. Ray knows the address of each node.
"""

from __future__ import annotations

import os
import socket
import struct

INTERFACE_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
_SIOCGIFADDR = 0x8915


def interface_of(address: str) -> str | None:
    """Return the interface of this machine with this IPv4 address; None without one, or if the system cannot tell."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                reply = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name[:15].encode()))
            except OSError:  # no IPv4 address, or no such call on this system
                continue
            if socket.inet_ntoa(reply[20:24]) == address:
                return name
    return None


def set_interface() -> None:
    """Let gloo and NCCL use the interface of the node's address in Ray; values of the user are kept."""
    import ray

    name = interface_of(str(ray.util.get_node_ip_address()))  # type: ignore[no-untyped-call]
    for variable in INTERFACE_VARIABLES if name else ():
        os.environ.setdefault(variable, str(name))
