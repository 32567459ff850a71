"""No way out: every connection and name look-up that leaves this machine raises.

Python imports a module of this name at start-up. `execute.py` puts this folder on the kernels'
PYTHONPATH and `tests/conftest.py` calls `block` itself, so neither a chapter nor a test can lean on
the network without a red result. Loopback stays open: a notebook talks to its kernel over it.
"""

import ipaddress
import os
import socket
import sys
from pathlib import Path

#: Libraries that would look online say so at once, draw no bars, and cache inside the tree.
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_CACHE": str(Path(__file__).resolve().parents[3] / "_build" / "datasets"),
    "TOKENIZERS_PARALLELISM": "false",
}
CONNECTIONS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


class NetworkBlocked(RuntimeError):
    """Raised in place of a connection. Not an OSError, which libraries often catch and forget."""


def is_local(host):
    """Say whether a host is this machine: no name, a name of its own, or a loopback address."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def guard(event, args):
    """Audit hook (PEP 578): sees each socket call of this process, whoever makes it."""
    if event in CONNECTIONS:
        address = args[1]
        # A str or bytes address is a Unix socket; None comes from a socket connected before.
        if isinstance(address, tuple) and not is_local(address[0]):
            raise NetworkBlocked(f"the network is blocked here: {event} to {address[0]!r}")
    elif event in LOOKUPS and not is_local(args[0]):
        raise NetworkBlocked(f"the network is blocked here: {event} of {args[0]!r}")


def block():
    """Block this process for the rest of its life (an audit hook cannot be removed)."""
    if not getattr(sys, "_clipnotes_blocked", False):
        sys._clipnotes_blocked = True
        os.environ.update(SETTINGS)
        sys.addaudithook(guard)


if __name__ == "sitecustomize":
    block()
    import other_machine  # stands beside this file, so Python finds it here

    other_machine.begin()
