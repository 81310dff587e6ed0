"""gevent patches a process late where the program was loaded before the fork: ``serve``, or ``--preload``."""

from __future__ import annotations

import ssl
import sys


def patch_ssl() -> None:
    """Gives modules that took ``SSLContext`` from ``ssl`` before gevent patched it the patched one.

    With the other one every property of a context calls itself for ever, so urllib3, and with it requests,
    could make no connection with TLS (https://github.com/gevent/gevent/issues/1016). Does nothing where
    gevent has not patched ``ssl``.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_object_patched("ssl", "SSLContext"):
        return
    original = monkey.get_original("ssl", "SSLContext")
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "gevent":
            space = getattr(module, "__dict__", {})
            for each in [key for key, value in list(space.items()) if value is original]:
                space[each] = ssl.SSLContext
