"""What a Postfix must be set up like before its gate is trusted; and its queue's listing. postconf is played."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest

from orchestrator.adapters.postfix_config import (
    PostfixSettings,
    main_cf,
    map_lines,
    policy_lines,
    read_settings,
    require_map,
    require_policy,
)
from orchestrator.adapters.postfix_policy import service_names
from orchestrator.adapters.postfix_queue import PostfixMailQueue
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.inventory import PostfixQueue
from orchestrator.model.traffic import QueueDepth

SERVICE = "inet:127.0.0.1:9998"
DEFAULTS = {
    "smtpd_delay_reject": "yes",
    "smtpd_sender_restrictions": "",
    "smtpd_end_of_data_restrictions": "",
    "smtpd_upstream_proxy_protocol": "",
    "postscreen_upstream_proxy_protocol": "",
    "smtpd_policy_service_timeout": "100s",
    "smtpd_policy_service_try_limit": "2",
    "smtpd_policy_service_default_action": "451 4.3.5 Server configuration problem",
}
GATED = {"smtpd_upstream_proxy_protocol": "haproxy", **policy_lines(SERVICE)}
MASTER = "smtp inet n - y - - smtpd\ncleanup unix n - y - 0 cleanup\n"


@dataclass
class PlayedPostfix:
    """A host that answers postconf, postqueue and stat out of what it is given."""

    settings: dict[str, str]
    overrides: dict[str, str] = field(default_factory=dict)
    master: str = MASTER
    queue: str = ""
    host: str = "mx1"
    remote: bool = False
    flushed: int = 0

    def by_hand(self, line: str) -> str:
        """Where a person types it."""
        return line

    async def run(
        self, command: Sequence[str], *, stdin: str = "", timeout: float = 10.0, accept: Collection[int] = (0,)
    ) -> str:
        """Answer one command."""
        match command:
            case ["postconf", "-c", "/etc/postfix", "-x", *names]:
                return "".join(f"{name} = {(DEFAULTS | self.settings)[name]}\n" for name in names)
            case ["postconf", "-c", "/etc/postfix", "-Px"]:
                return "".join(f"{name} = {value}\n" for name, value in self.overrides.items())
            case ["postconf", "-c", "/etc/postfix", "-M"]:
                return self.master
            case ["stat", "-L", "-c", "%.Y", *files]:
                return "".join(f"{100 + number}.5\n" for number, _ in enumerate(files))
            case ["postqueue", "-c", "/etc/postfix", "-j"]:
                return self.queue
            case ["postqueue", "-c", "/etc/postfix", "-f"]:
                self.flushed += 1
                return ""
        raise AssertionError(command)


def read(settings: dict[str, str], overrides: dict[str, str] | None = None, master: str = MASTER) -> PostfixSettings:
    """The settings of a host that is set up like this."""
    return asyncio.run(read_settings(PlayedPostfix(settings, overrides or {}, master), "/etc/postfix"))


def refusal(settings: PostfixSettings) -> UnfitError:
    """Why the policy gate cannot be used there."""
    with pytest.raises(UnfitError) as unfit:
        require_policy(settings, [SERVICE])
    return unfit.value


def test_the_lines_that_we_print_are_fit() -> None:
    """With exactly those lines, both gates are taken."""
    require_policy(read(GATED), [SERVICE])
    require_map(read(map_lines("/etc/gate.cf")), "/etc/gate.cf")


def test_the_options_may_stand_in_the_settings_for_all_services() -> None:
    """Old style: a plain name, and timeout, tries and default action by their own settings."""
    plain = f"check_policy_service {SERVICE}, reject_unknown_sender_domain"
    options = {"smtpd_policy_service_timeout": "3", "smtpd_policy_service_try_limit": "1"}
    settings = GATED | options | {"smtpd_policy_service_default_action": "dunno"}
    settings |= {"smtpd_sender_restrictions": plain, "smtpd_end_of_data_restrictions": plain}
    require_policy(read(settings), [SERVICE])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"smtpd_delay_reject": "yes"}, "nothing is asked at MAIL FROM"),
        ({"smtpd_sender_restrictions": ""}, "smtpd_sender_restrictions does not begin with check_policy_service"),
        ({"smtpd_end_of_data_restrictions": ""}, "smtpd_end_of_data_restrictions does not begin with"),
        ({"smtpd_sender_restrictions": f"permit_mynetworks, check_policy_service {SERVICE}"}, "does not begin with"),
        ({"smtpd_sender_restrictions": "check_policy_service inet:127.0.0.1:10031"}, "does not begin with"),
        ({"smtpd_sender_restrictions": f"check_policy_service {SERVICE}"}, "timeout=100s makes every client wait"),
        ({"smtpd_sender_restrictions": f"check_policy_service {SERVICE}"}, "try_limit=2 makes every client wait again"),
        ({"smtpd_sender_restrictions": f"check_policy_service {SERVICE}"}, "default_action=451"),
        (
            {"smtpd_sender_restrictions": f"check_policy_service {{ {SERVICE}, timeout = 1m, try_limit=1 }}"},
            "timeout=1m makes every client wait",
        ),
        ({"smtpd_upstream_proxy_protocol": ""}, "PROXY protocol"),
    ],
)
def test_what_does_not_ask_the_gate_or_fails_closed_is_unfit(change: dict[str, str], why: str) -> None:
    """Each departure from the lines is named, with the host."""
    error = refusal(read(GATED | change))
    assert why in error.message
    assert "mx1" in error.message


def test_the_remedy_is_the_lines_themselves_with_what_was_there() -> None:
    """Put into main.cf, they make it fit, and the restrictions of before still follow the gate."""
    before = {"smtpd_sender_restrictions": "check_sender_access inline:{x@y=OK}, reject_non_fqdn_sender"}
    error = refusal(read(before | {"smtpd_upstream_proxy_protocol": "haproxy"}))
    lines = dict(line.split(" = ", 1) for line in error.remedy.splitlines()[1:])
    assert lines["smtpd_sender_restrictions"].endswith("}, check_sender_access inline:{x@y=OK} reject_non_fqdn_sender")
    require_policy(read(lines | {"smtpd_upstream_proxy_protocol": "haproxy"}), [SERVICE])
    again = refusal(read(lines | {"smtpd_upstream_proxy_protocol": "haproxy", "smtpd_delay_reject": "yes"}))
    assert again.remedy.splitlines()[1:] == main_cf(lines).splitlines()


def test_an_override_in_master_cf_counts() -> None:
    """A service that drops the gate with -o is unfit though main.cf is right, and is named."""
    error = refusal(read(GATED, {"smtp/inet/smtpd_sender_restrictions": "permit"}))
    assert "smtp/inet: smtpd_sender_restrictions" in error.message


def test_only_services_behind_the_switch_count() -> None:
    """Where one service speaks the PROXY protocol, submission with its own restrictions is let alone."""
    overrides = {
        "smtp/inet/smtpd_upstream_proxy_protocol": "haproxy",
        "submission/inet/smtpd_sender_restrictions": "permit_sasl_authenticated, reject",
    }
    master = MASTER + "submission inet n - y - - smtpd -o smtpd_sender_restrictions=$mua_sender_restrictions\n"
    require_policy(read(policy_lines(SERVICE), overrides, master), [SERVICE])


def test_postscreen_speaks_the_proxy_protocol_for_its_smtpd() -> None:
    """Then the smtpd that it passes sessions to has to ask the gate."""
    master = "smtp inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd\n"
    settings = policy_lines(SERVICE) | {"postscreen_upstream_proxy_protocol": "haproxy"}
    require_policy(read(settings, {}, master), [SERVICE])


def test_the_table_may_be_read_through_proxymap() -> None:
    """Both spellings of the table are the same table; another one is not."""
    asked = {"smtpd_sender_restrictions": "check_sender_access proxy:sqlite:/etc/gate.cf reject"}
    require_map(read({"smtpd_delay_reject": "no"} | asked), "/etc/gate.cf")
    with pytest.raises(UnfitError, match=r"does not begin with check_sender_access sqlite:/etc/other\.cf"):
        require_map(read({"smtpd_delay_reject": "no"} | asked), "/etc/other.cf")


def test_a_host_without_smtpd_is_unfit() -> None:
    """There is nothing to put a gate in front of."""
    with pytest.raises(UnfitError, match="no smtpd service"):
        read(GATED, master="pickup unix n - y 60 1 pickup\n")


def test_changed_is_the_later_of_both_files() -> None:
    """A session that began between them may still be without the gate."""
    assert read(GATED).changed == 101.5


@pytest.mark.parametrize(
    ("listen", "name"),
    [
        ("127.0.0.1:9998", "inet:127.0.0.1:9998"),
        ("0.0.0.0:9998", "inet:127.0.0.1:9998"),
        ("[::]:9998", "inet:[::1]:9998"),
        ("10.0.0.5:9998", "inet:10.0.0.5:9998"),
    ],
)
def test_the_service_is_named_as_postfix_writes_it(listen: str, name: str) -> None:
    """The first name is the one to put into main.cf."""
    assert service_names(listen)[0] == name


def test_the_queue_is_counted_by_its_own_names() -> None:
    """Each message counts in the queue that it lies in; maildrop is on its way in."""
    names = ["active", "deferred", "deferred", "hold", "incoming", "maildrop"]
    listing = "".join(f'{{"queue_name": "{name}", "queue_id": "A", "recipients": []}}\n' for name in names)
    queue = PostfixMailQueue("mx1", PostfixQueue(driver="postfix"), PlayedPostfix({}, queue=listing))
    assert asyncio.run(queue.depth()) == QueueDepth(incoming=2, active=1, deferred=2, hold=1)


def test_an_old_postqueue_is_rejected() -> None:
    """A listing that is no JSON is not taken for an empty queue."""
    played = PlayedPostfix({}, queue="-Queue ID-  --Size-- ----Arrival Time----\n")
    with pytest.raises(RejectedError, match="cannot count the mail queue of mx1"):
        asyncio.run(PostfixMailQueue("mx1", PostfixQueue(driver="postfix"), played).depth())


def test_flush_asks_once() -> None:
    """One request to the queue manager."""
    played = PlayedPostfix({})
    asyncio.run(PostfixMailQueue("mx1", PostfixQueue(driver="postfix"), played).flush())
    assert played.flushed == 1
