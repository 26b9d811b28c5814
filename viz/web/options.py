"""How to serve the viewer."""

import ipaddress
import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class ServeOptions:
    """How to serve the viewer; the options of `visualizer.py --serve`.

    Attributes:
        host: Name or address to bind to.
        port: Port; 0 for any free one.
        quality: Of JPEG pictures, 1 to 100.
        max_sessions: Browsers at the same time.
        max_upload_bytes: Largest file that a visitor may upload; 0 for none.
        token: What visitors have to know; None on the loopback.
        simple: Show picture, seed, truncation and directions only.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    quality: int = 85
    max_sessions: int = 8
    max_upload_bytes: int = 1 << 30
    token: str | None = None
    simple: bool = False

    @property
    def allow_addresses(self) -> bool:
        """Whether visitors may name web addresses, which the server then fetches.

        From other computers they may not: the server could reach what they do not, such as the
        services of its own network, and would tell them what answers there.
        """
        return is_loopback(self.host) and not self.simple


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a host; other names are not looked up."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def make_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)
