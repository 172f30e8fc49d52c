"""What becomes of a membership: decisions of people, the word of an outside list, and which of them holds."""

from __future__ import annotations

from itertools import product

import pytest

from poms.webservice.rules.memberships import ROLE_WORDS, Standing, change_words, decided, followed, listed
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, ROLES, SHIFTER

SAYS = ("", *ROLES)


@pytest.mark.parametrize("role", SAYS)
def test_a_list_that_speaks_of_somebody_new_is_followed(role):
    """There is nothing else to go by."""
    assert listed(None, "ferry", role, by_hand=False) == Standing(role, "ferry", role)


@pytest.mark.parametrize(("first", "then"), list(product(SAYS, SAYS)))
def test_a_list_is_followed_while_nobody_decided_otherwise(first, then):
    """Whatever it says next."""
    assert listed(Standing(first, "ferry", first), "ferry", then, by_hand=True) == Standing(then, "ferry", then)


@pytest.mark.parametrize(("given", "said"), list(product(SAYS, SAYS)))
def test_what_was_decided_here_stays_whatever_a_list_says(given, said):
    """The list's word is kept beside it."""
    now = decided(Standing(ANALYSIS, "ferry", ANALYSIS), given)

    after = listed(now, "ferry", said, by_hand=True)

    assert after.role == (given if given != ANALYSIS else said)
    assert after.source_role == said


@pytest.mark.parametrize("said", SAYS)
def test_a_list_that_comes_later_does_not_overrule_a_person(said):
    """Somebody whom a person added, before any list named him or her."""
    after = listed(Standing(PRODUCTION), "ferry", said, by_hand=True)

    assert (after.role, after.kept) == (PRODUCTION, said != PRODUCTION)


def test_a_list_takes_over_what_nobody_decided():
    """Memberships from before decisions were recorded."""
    assert listed(Standing(PRODUCTION), "ferry", ANALYSIS, by_hand=False) == Standing(ANALYSIS, "ferry", ANALYSIS)


def test_who_agrees_with_the_list_keeps_nothing():
    """It goes on deciding."""
    kept = Standing(SHIFTER, "ferry", ANALYSIS, kept=True)

    assert decided(kept, ANALYSIS) == Standing(ANALYSIS, "ferry", ANALYSIS)
    assert followed(kept) == Standing(ANALYSIS, "ferry", ANALYSIS)


def test_without_a_list_there_is_nothing_to_follow():
    """It stays as it is."""
    assert followed(Standing(SHIFTER)) == decided(Standing(), SHIFTER) == Standing(SHIFTER)


def test_each_role_and_each_change_has_words():
    """Also coming and going."""
    assert set(ROLE_WORDS) == set(ROLES)
    assert (change_words("", ANALYSIS), change_words(ANALYSIS, "")) == ("no member → analysis", "analysis → no member")
