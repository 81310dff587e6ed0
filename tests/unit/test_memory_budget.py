"""Bytes in flight, of a process and of each caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder.engine.memory_budget import Account, Budget
from appbuilder.errors import AppBuilderError, Overloaded, RateLimited


def test_a_caller_has_a_share_and_the_process_a_whole() -> None:
    budget = Budget(100, 60)
    ann, bob, unknown = budget.account("ann"), budget.account("bob"), budget.account("")
    ann.take(60)
    with pytest.raises(RateLimited) as refused:
        ann.take(1)
    assert refused.value.retry_after > 0
    with pytest.raises(RateLimited):
        budget.account("ann").take(1)
    bob.take(30)
    with pytest.raises(Overloaded) as full:
        bob.take(11)
    assert full.value.retry_after > 0
    unknown.take(10)
    assert budget.used == 100


def test_what_is_let_go_by_all_is_given_back() -> None:
    budget = Budget(100, 60)
    account = budget.account("ann")
    account.take(60)
    account.hold()
    account.release_account()
    assert budget.used == 60
    account.release_account()
    assert (budget.used, account.size) == (0, 0)
    budget.account("ann").take(60)


def test_without_a_limit_everything_is_taken() -> None:
    budget = Budget(0, 0)
    budget.account("ann").take(2**60)
    assert budget.used == 2**60


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(0, 80), st.booleans())))
def test_no_order_of_things_goes_beyond_a_limit_or_loses_a_byte(steps: list[tuple[str, int, bool]]) -> None:
    budget, accounts = Budget(100, 60), list[Account]()
    sizes = {"": 0, "a": 0, "b": 0}
    for caller, size, ends in steps:
        account = budget.account(caller)
        try:
            account.take(size)
            sizes[caller] += size
        except AppBuilderError:
            assert sum(sizes.values()) + size > 100 or (caller and sizes[caller] + size > 60)
        assert budget.used == sum(sizes.values()) <= 100
        assert max(sizes["a"], sizes["b"]) <= 60
        if ends:
            sizes[caller] -= account.size
            account.release_account()
        else:
            accounts.append(account)
    for account in accounts:
        account.release_account()
    assert budget.used == 0
