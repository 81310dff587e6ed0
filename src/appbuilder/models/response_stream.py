"""An answer under way over HTTP: what all servers we speak to share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Generic, TypeAlias, TypeVar

import httpx2

from appbuilder.models import http_client
from appbuilder.models.failures import Failure, describe_failure, with_retries
from appbuilder.models.network import current_token
from appbuilder.models.timeouts import Patience
from appbuilder.settings import Settings

_T = TypeVar("_T")

_Piece = TypeVar("_Piece")

_MOST_EARLY = 1000
"""Pieces kept before the first that is worth waiting for."""

Sent: TypeAlias = tuple[httpx2.Response, Iterator[_Piece]]
"""A response, and the pieces that are read from it."""


# What open streams read from. Were it only theirs, the garbage collector would finalize the generators of a
# forgotten one, and with them take the pool's lock, wherever it happens to run: inside that lock too.
_under_way: dict[int, Sent[object]] = {}


class Reader:
    """Which errors reading a response may raise (besides ours), and what failure each is."""

    def __init__(
        self, foreign: tuple[type[Exception], ...], failure_of: Callable[[Exception], Failure]
    ) -> None:
        self._foreign = foreign
        self._failure_of = failure_of

    def begin(
        self,
        send: Callable[[], Sent[_Piece]],
        settings: Settings,
        patience: Patience,
        id_header: str,
        texts: Sequence[str],
    ) -> ResponseStream[_Piece]:
        """Sends a call and waits for the first piece of its answer that renews *patience*; until then it is
        tried again.

        :param texts: what the call holds of users' words.
        :param id_header: where the response tells the server's id of the call.
        """

        def attempt() -> tuple[Sent[_Piece], list[_Piece]]:
            response, pieces = self.read(send)
            try:
                return (response, pieces), self.read(lambda: _early(pieces, patience))
            except BaseException:
                response.close()
                raise

        (response, rest), early = with_retries(attempt, settings, current_token(), texts, patience)
        patience.pause()
        pieces = chain(early, rest)
        call_id = response.headers.get(id_header)
        return ResponseStream(response, pieces, self, patience, call_id=call_id, texts=texts)

    def read(self, work: Callable[[], _T]) -> _T:
        """*work*'s result.

        :raises Failure: it raised a foreign error.
        """
        try:
            return work()
        except self._foreign as error:
            raise self._failure_of(error) from error


def _early(pieces: Iterator[_Piece], patience: Patience) -> list[_Piece]:
    """The pieces up to the first that is worth waiting for."""
    patience.progressed = False
    early = []
    for piece in islice(pieces, _MOST_EARLY):
        early.append(piece)
        if patience.progressed:
            break
    return early


class ResponseStream(Iterator[_Piece], Generic[_Piece]):
    """Pieces read from *response*. Closes it exactly once, whatever happens."""

    def __init__(
        self,
        response: httpx2.Response,
        pieces: Iterator[_Piece],
        reader: Reader,
        patience: Patience,
        *,
        call_id: str | None,
        texts: Sequence[str],
    ) -> None:
        self.id = call_id
        self._texts = texts
        self._response = response
        self._pieces = pieces
        self._reader = reader
        self._patience = patience
        self._token = current_token()
        self._closed = False
        _under_way[id(self)] = (response, pieces)

    def __next__(self) -> _Piece:
        try:
            if self._token is not None:
                self._token.raise_if_cancelled()
            piece = None if self._closed else self._reader.read(lambda: next(self._pieces, None))
        except Failure as failure:
            self.close()
            describe_failure(failure, self._texts)
        except BaseException:
            self.close()
            raise
        if piece is None:
            self.close()
            raise StopIteration
        self._patience.pause()
        return piece

    def close(self) -> None:
        """Breaks the answer off; after its end it does nothing."""
        if not self._closed:
            self._closed = True
            _under_way.pop(id(self), None)
            self._response.close()

    def __del__(self) -> None:
        sent = _under_way.pop(id(self), None)
        if sent is not None:
            http_client.abandon(sent[0], sent)
