"""Addresses for ssh, as people write them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from orchestrator.model.inventory import Host
from orchestrator.model.ssh import SshTarget, parse_ssh


@pytest.mark.parametrize(
    ("text", "target", "destination"),
    [
        ("mx1", SshTarget(host="mx1"), "mx1"),
        ("root@mx1.example.org", SshTarget(host="mx1.example.org", user="root"), "root@mx1.example.org"),
        ("root@mx1:2222", SshTarget(host="mx1", user="root", port=2222), "root@mx1"),
        ("2001:db8::1", SshTarget(host="2001:db8::1"), "2001:db8::1"),
        ("a@2001:db8::1", SshTarget(host="2001:db8::1", user="a"), "a@2001:db8::1"),
        ("a@[2001:db8::1]:22", SshTarget(host="2001:db8::1", user="a", port=22), "a@2001:db8::1"),
    ],
)
def test_an_address_has_its_parts(text: str, target: SshTarget, destination: str) -> None:
    """User and port may be left out; an IPv6 address has a port only in brackets."""
    assert parse_ssh(text) == target
    assert target.destination == destination


@pytest.mark.parametrize("text", ["-oProxyCommand=true", "a@-x", "mx1:0", "mx1:65536", "mx1:", "@mx1", "a b", "a@b@c"])
def test_what_ssh_would_misunderstand_is_refused(text: str) -> None:
    """Above all an address that ssh would take for an option."""
    with pytest.raises(ValueError, match="is no address for ssh"):
        parse_ssh(text)
    with pytest.raises(ValidationError):
        Host(ssh=text)


def test_no_address_is_the_name_of_the_host() -> None:
    """Left out or empty, it is for others to fill in."""
    assert Host() == Host(ssh="")
