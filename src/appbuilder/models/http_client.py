"""The one HTTP client of a process for all model servers."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import ssl
import threading
import urllib.request
from collections import deque
from collections.abc import Iterable, Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy

import certifi
import httpcore2
import httpx2

from appbuilder.models.base import Timeout
from appbuilder.models.network import InterruptibleBackend, shut_down
from appbuilder.models.timeouts import Patience
from appbuilder.settings import Settings

MAX_ERROR = 64 * 1024
"""Bytes read of the body of an answer with another status than 200; the rest is left unread."""

_KEPT_ALIVE = 100
_KEPT_ALIVE_FOR = 30.0
_OF_THE_BODY = (b"content-encoding", b"content-length", b"transfer-encoding")
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")

# Keyed by process and by the socket class: a client made before a fork, or before gevent patched, is not
# used after it.
_clients: dict[tuple[int, type], httpx2.Client] = {}
_abandoned: deque[tuple[httpx2.Response, object]] = deque()


def client() -> httpx2.Client:
    """The process's client: pooled, for any thread, following no redirects."""
    while _abandoned:
        with contextlib.suppress(IndexError):
            _abandoned.popleft()[0].close()
    key = (os.getpid(), socket.socket)
    found = _clients.get(key)
    if found is None:
        # A cookie set in one user's answer would be sent with the calls of all others: none is kept.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        made = httpx2.Client(transport=_Transport(), cookies=no_cookies)
        found = _clients.setdefault(key, made)
        atexit.register(_close_in, os.getpid(), found)
    return found


def _close_in(process: int, made: httpx2.Client) -> None:
    # Not in a child of that process: the pool's lock may have been held at the fork.
    if os.getpid() == process:
        made.close()


def abandon(response: httpx2.Response, readers: object) -> None:
    """For an answer no one reads any more, from a finalizer: the server sees the end of the connection now,
    the pool at the next call (a finalizer may run anywhere, also inside the pool's lock).

    :param readers: kept as long as *response*.
    """
    shut_down(response.extensions["network_stream"].get_extra_info("socket"))
    _abandoned.append((response, readers))


def timeouts(settings: Settings, wanted: Timeout = None) -> httpx2.Timeout:
    """*wanted*, and the settings where it says nothing. To be used for one call, its further tries included:
    what it allows to read and write is one :class:`Patience`.
    """
    connect, silence = wanted if isinstance(wanted, tuple) else (settings.connect_timeout, wanted)
    silence = settings.model_timeout if silence is None else silence
    return httpx2.Timeout(Patience(silence), connect=connect, pool=silence)


def patience(wait: httpx2.Timeout) -> Patience:
    """The one of :func:`timeouts`."""
    assert isinstance(wait.read, Patience)
    return wait.read


class _Transport(httpx2.BaseTransport):
    """httpx2's own transport takes no network backend, so this does its work on httpcore2.

    Proxies come from the environment (``HTTPS_PROXY``, ``NO_PROXY``...) as with ``requests``; loopback
    addresses never go through one.
    """

    def __init__(self) -> None:
        self._proxies = urllib.request.getproxies()
        self._pools: dict[tuple[str, bool], httpcore2.ConnectionPool] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        with _translated():
            response = self._pool(url).handle_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        made = httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )
        return made if made.is_success else _shortened(made)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def _pool(self, url: httpx2.URL) -> httpcore2.ConnectionPool:
        proxy = self._proxy(url)
        key = (proxy, url.scheme == "https" or proxy.startswith("https:"))
        with self._lock:
            if key not in self._pools:
                self._pools[key] = _new_pool(proxy, tls=key[1])
            return self._pools[key]

    def _proxy(self, url: httpx2.URL) -> str:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all") or ""
        if not proxy or url.host in _LOOPBACK or urllib.request.proxy_bypass(url.host):
            return ""
        return proxy if "://" in proxy else f"http://{proxy}"


def _shortened(response: httpx2.Response) -> httpx2.Response:
    """*response* with the beginning of its body, which is an error's text; whoever reads it reads no more."""
    kept = bytearray()
    try:
        # What cannot be read of it (too late, broken, not to be decompressed) is not there: its status is.
        with contextlib.suppress(httpx2.HTTPError):
            for part in response.iter_bytes():
                kept += part[: MAX_ERROR - len(kept)]
                if len(kept) == MAX_ERROR:
                    break
    finally:
        response.close()
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_BODY]
    return httpx2.Response(
        response.status_code, headers=headers, content=bytes(kept), extensions=response.extensions
    )


class _Body(httpx2.SyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._response.stream, Iterable)
        with _translated():
            yield from self._response.stream

    def close(self) -> None:
        self._response.close()


def _new_pool(proxy: str, *, tls: bool) -> httpcore2.ConnectionPool:
    return httpcore2.ConnectionPool(
        ssl_context=_tls_context() if tls else None,
        proxy=_proxy(proxy) if proxy else None,
        # How many calls run at the same time is for the caller to bound: here nothing waits.
        max_connections=None,
        max_keepalive_connections=_KEPT_ALIVE,
        keepalive_expiry=_KEPT_ALIVE_FOR,
        network_backend=InterruptibleBackend(),
    )


def _proxy(address: str) -> httpcore2.Proxy:
    parsed = httpx2.Proxy(address)
    return httpcore2.Proxy(
        url=httpcore2.URL(
            scheme=parsed.url.raw_scheme, host=parsed.url.raw_host, port=parsed.url.port, target=b"/"
        ),
        auth=parsed.raw_auth,
        headers=parsed.headers.raw,
    )


def _tls_context() -> ssl.SSLContext:
    # Through the module, so that a late patch by gevent is seen; with certifi besides the system's store, as
    # slim containers have none; with requests' variable, as programs for the SDK may rely on it.
    context = ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE") or None)
    context.load_default_certs()
    context.load_verify_locations(certifi.where())
    return context


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """httpcore2's errors as httpx2's: each has its namesake there."""
    try:
        yield
    except (
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.ProxyError,
        httpcore2.TimeoutException,
        httpcore2.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error
