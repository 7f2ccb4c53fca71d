"""Playing in a browser: a small server of one page and a JSON interface, for this machine only by default."""

from muzen.web.server import serve

__all__ = ["serve"]
