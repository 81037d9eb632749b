"""How the clients of each profile behave."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.lab import profiles
from orchestrator.lab.profiles import PROFILES, ProfileName, behaviours, queueing_delay


def test_the_mixed_profile_of_fifty() -> None:
    """42 chatty clients, 4 with a slow DATA, 3 that pause for long, one that says nothing but NOOP."""
    found = Counter(behaviours("mixed", 50))
    assert found == {profiles.CHATTY: 42, profiles.SLOW: 4, profiles.PAUSING: 3, profiles.NOOP: 1}


@given(st.integers(4, 500))
def test_the_mixed_profile_keeps_its_kinds_at_any_size(clients: int) -> None:
    """Every lab of at least four clients has as many as asked for, and one of each odd kind."""
    found = behaviours("mixed", clients)
    assert len(found) == clients
    assert {profiles.SLOW, profiles.PAUSING, profiles.NOOP} <= set(found)


@pytest.mark.parametrize("profile", [profile for profile in PROFILES if profile != "postfix"])
def test_there_are_as_many_clients_as_asked_for(profile: ProfileName) -> None:
    """A lab of one client has one, a lab of fifty has fifty."""
    assert [len(behaviours(profile, count)) for count in (1, 50)] == [1, 50]


def test_only_hot_and_scan_servers_are_slow_to_queue() -> None:
    """The window in which a cut makes a duplicate is the profile's, and longest with a scanner."""
    assert {profile: queueing_delay(profile) for profile in PROFILES} == {
        "hot": 0.05,
        "steady": 0.0,
        "scan": 0.3,
        "mixed": 0.0,
        "postfix": 0.0,
    }
