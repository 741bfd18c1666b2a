"""Python imports this at start where `llmlab.offline` put its folder on PYTHONPATH: it turns the network off.

An audit hook sees every connection and name lookup that Python makes, whichever library asks, and cannot be
removed. Loopback, Unix sockets and this machine's own name stay open: a kernel talks to its client over them.

Where the environment asks for it, what numpy and PyTorch draw is perturbed, as `perturbing.py` beside this says.
"""

import _socket
import importlib.machinery
import importlib.util
import ipaddress
import os
import sys

INTERNET = {int(_socket.AF_INET), int(getattr(_socket, "AF_INET6", _socket.AF_INET))}


class NetworkOff(ConnectionRefusedError):
    """Raised instead of connecting; an OSError, as on a machine without a network."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_here(host: str) -> bool:
    """Whether `host` names this machine: "" and 0.0.0.0 mean it too when something connects to them."""
    if _is_address(host):
        address = ipaddress.ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or address.is_unspecified
    name = host.rstrip(".").lower()
    return name in ("", "localhost", _socket.gethostname().lower()) or name.endswith((".localhost", ".localdomain"))


def _text(host: object) -> str:
    return bytes(host).decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host or "")


def _refuse(host: str, port: object = None) -> None:
    tried = f"[{host}]" if ":" in host and port is not None else host
    tried += f":{_text(port)}" if port is not None else ""
    raise NetworkOff(f"the network is off while notebooks run (tried {tried})")


def _on_address(sock: object, address: object = None) -> None:
    if int(getattr(sock, "family", -1)) in INTERNET and isinstance(address, tuple) and len(address) >= 2:
        host = _text(address[0])
        if not _is_here(host):
            _refuse(host, address[1])


def _on_name(host: object, port: object = None, *_: object) -> None:
    host = _text(host)
    if not _is_here(host) and not _is_address(host):  # an address needs no lookup: connecting to it is refused
        _refuse(host, port)


def _on_reverse(address: object, *_: object) -> None:
    host = _text(address[0] if isinstance(address, tuple) else address)
    if not _is_here(host):
        _refuse(host)


CHECKS = {
    "socket.connect": _on_address,
    "socket.sendto": _on_address,
    "socket.sendmsg": _on_address,
    "socket.getaddrinfo": _on_name,
    "socket.gethostbyname": _on_name,
    "socket.gethostbyaddr": _on_reverse,
    "socket.getnameinfo": _on_reverse,
}


def _audit(event: str, arguments: tuple) -> None:
    check = CHECKS.get(event)
    if check is not None:
        check(*arguments)


class _Perturbing:
    """A finder of modules that changes `numpy.random` and `torch` as soon as they have run, and no others."""

    def __init__(self, folder: str):
        spec = importlib.util.spec_from_file_location("perturbing", os.path.join(folder, "perturbing.py"))
        perturbing = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(perturbing)
        self.changes = {"numpy.random": perturbing.perturb_numpy, "torch": perturbing.perturb_torch}

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name not in self.changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), self.changes[name](module))
        return spec


def _run_shadowed(folder: str) -> None:
    """Run the `sitecustomize` that this one hides: some systems come with one of their own."""
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != folder]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


HERE = os.path.dirname(os.path.abspath(__file__))
sys.addaudithook(_audit)
if os.environ.get("LLMLAB_PERTURBED"):
    sys.meta_path.insert(0, _Perturbing(HERE))
_run_shadowed(HERE)
