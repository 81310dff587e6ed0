"""What a request takes of the memory, counted from the first byte of its body to the last of its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appbuilder import jsontext
from appbuilder.engine.memory_budget import Account
from appbuilder.serve.auth.request_info import Scope
from appbuilder.serve.http.messages import ACCOUNT, IDENTITY, own_connection
from appbuilder.serve.http.rate_limits import limit_key
from appbuilder.serve.http.state import Service


def account_of(service: Service, scope: Scope) -> Account:
    """The account of a request whose caller is known; the front lets go of it."""
    account = scope.get(ACCOUNT)
    if account is None:
        account = scope[ACCOUNT] = service.engine().budget.account(limit_key(scope[IDENTITY]))
    return account


async def written(account: Account, work: Callable[[], bytes]) -> bytes:
    """The bytes that *work* makes of an answer; of a large one off the event loop.

    :param account: of the request, which tells how large it is.
    """
    if account.size <= jsontext.LONG:
        return work()

    def of_long_texts() -> bytes:
        with jsontext.long_texts_expected():
            return work()

    return await own_connection(account.size, of_long_texts)


def charge(account: Account, body: bytes, value: Any) -> None:
    """Counts *value*, which was read from *body*, in the place of the body.

    Twice: what is kept of it is another copy, and so is what is written of it.

    :raises RateLimited, Overloaded: there is not so much left.
    """
    if len(body) > jsontext.LONG:
        account.resize(2 * jsontext.size_of(value))
    elif len(body) > jsontext.SHORT:
        account.resize(2 * jsontext.memory_of(body))
