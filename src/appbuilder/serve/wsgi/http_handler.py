"""HTTP/1.1 on a thread: werkzeug's request handler with deadlines, bounds and an end to every body."""

from __future__ import annotations

import io
from typing import Any, cast

from werkzeug.serving import DechunkedInput, WSGIRequestHandler

from appbuilder.logs import logger
from appbuilder.serve.wsgi.socket_deadlines import DeadlineSocket, SocketDeadlines

_MAX_CHUNK_LINE = 4096


def handler_class(limits: SocketDeadlines | None = None) -> type[WSGIRequestHandler]:
    """The handler, for a server that has ``limits`` and ``alive``, or with *limits* for any."""

    class Handler(_Handler):
        pass

    Handler.limits = limits
    return Handler


class _Handler(WSGIRequestHandler):
    """One request per connection, as werkzeug does it."""

    protocol_version = "HTTP/1.1"
    limits: SocketDeadlines | None = None

    def setup(self) -> None:
        server: Any = self.server
        limits = self.limits or server.limits
        self.connection: Any = DeadlineSocket(self.request, limits, lambda: getattr(server, "alive", True))
        self.rfile: Any = io.BufferedReader(_Reader(self.connection))
        self.wfile: Any = _Writer(self.connection)

    def finish(self) -> None:
        self.connection.finish()

    def parse_request(self) -> bool:
        """Reads the head; answers and gives False where it is not clear how long the body is."""
        if not super().parse_request():
            return False
        status = _framing(self.headers, self.request_version)
        if status:
            self.close_connection = True
            self.send_error(status)
        return not status

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """A line per request: only where the server is for development."""
        if self.limits is not None:
            super().log(type, message, *args)

    def run_wsgi(self) -> None:
        """Answers one request. The body is closed however that ends, before anything else is done."""
        self.environ = self.make_environ()
        if "Transfer-Encoding" in self.headers:
            self.environ["wsgi.input"] = DechunkedInput(cast(Any, _ShortLines(self.rfile)))
        answer = _Answer(self)
        body = self.server.app(self.environ, answer.start)
        try:
            for piece in body:
                answer.write(piece)
            answer.end()
        except ConnectionError:
            logger.debug("a client left before its answer was whole")
        finally:
            if hasattr(body, "close"):
                body.close()


class _Answer:
    """An answer on its way out."""

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._sent = False
        self._chunked = False

    def start(self, status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
        """WSGI's ``start_response``."""
        if error is not None and self._sent:
            raise error[1].with_traceback(error[2])
        self._head = (status, headers)
        return self.write

    def write(self, data: bytes) -> None:
        """Sends a piece of the body, the head before the first."""
        head = b"" if self._sent else self._take_head()
        if self._handler.command == "HEAD":
            data = b""
        if data and self._chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        if head or data:
            self._handler.connection.sendall(head + data)

    def end(self) -> None:
        """Nothing follows."""
        self.write(b"")
        if self._chunked:
            self._handler.connection.sendall(b"0\r\n\r\n")

    def _take_head(self) -> bytes:
        assert self._head is not None, "the application sent a body without a status"
        self._sent = True
        handler, (status, headers) = self._handler, self._head
        code, _, reason = status.partition(" ")
        names = {name.lower() for name, _ in headers}
        bodyless = handler.command == "HEAD" or code in ("204", "304") or code.startswith("1")
        self._chunked = not (bodyless or "content-length" in names or handler.request_version < "HTTP/1.1")
        own = [("Date", handler.date_time_string()), ("Connection", "close")]
        if self._chunked:
            own.append(("Transfer-Encoding", "chunked"))
        handler.log_request(code)
        handler.close_connection = True
        kept = [(name, value) for name, value in headers if name.lower() != "connection"]
        lines = [f"HTTP/1.1 {code} {reason}", *(f"{name}: {value}" for name, value in kept + own), "", ""]
        return "\r\n".join(lines).encode("latin-1")


class _Reader(io.RawIOBase):
    def __init__(self, connection: DeadlineSocket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._connection.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Writer(io.RawIOBase):
    """What http.server writes its own errors to."""

    def __init__(self, connection: DeadlineSocket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._connection.sendall(bytes(data))
        return len(data)


class _ShortLines:
    """A reader whose lines end: chunks begin with a line that has no length of its own."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.read = reader.read

    def readline(self, size: int = _MAX_CHUNK_LINE) -> bytes:
        line: bytes = self._reader.readline(min(size, _MAX_CHUNK_LINE))
        return line


def _framing(headers: Any, version: str) -> int:
    """The status of a head that leaves open where its body ends (RFC 9112, section 6.3); 0 of a good one."""
    lengths = headers.get_all("Content-Length", [])
    codings = headers.get_all("Transfer-Encoding", [])
    if len(lengths) > 1 or (lengths and codings):
        return 400
    if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
        return 400
    if codings and version < "HTTP/1.1":
        return 400
    return 501 if codings and [c.strip().lower() for c in codings] != ["chunked"] else 0
