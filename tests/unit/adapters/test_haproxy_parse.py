"""What HAProxy says, as values. The texts are HAProxy 2.6's own, cut down to what matters."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.haproxy_parse import (
    Stream,
    parse_age,
    parse_old_workers,
    parse_servers,
    parse_session_counts,
    parse_streams,
)
from orchestrator.errors import UnfitError
from orchestrator.model.traffic import Intake

STATE_COLUMNS = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)

UNCHECKED, PASSED, FAILED = "1 0 2 0", "6 3 4 6", "8 2 0 6"


def state(operation: int, admin: int, check: str = UNCHECKED, weight: int = 100) -> str:
    """A reply to 'show servers state' with one server."""
    row = f"2 smtp 1 mx1 127.0.0.1 {operation} {admin} {weight} 100 7 {check} 0 0 0 - 28125 - 0 0 - - 0"
    return f"1\n{STATE_COLUMNS}\n{row}\n\n"


@pytest.mark.parametrize(
    ("bits", "admin"),
    [
        (0x00, "ready"),
        (0x01, "maint"),
        (0x02, "maint"),
        (0x05, "maint"),
        (0x04, "ready"),
        (0x08, "drain"),
        (0x09, "maint"),
        (0x10, "drain"),
        (0x20, "maint"),
        (0x40, "ready"),
    ],
)
def test_reads_the_admin_state_bits(bits: int, admin: str) -> None:
    """Forced or inherited, in maintenance or draining; maintenance wins, and mere memories count for nothing."""
    (server,) = parse_servers(state(2, bits, weight=42))
    assert (server.backend, server.name) == ("smtp", "mx1")
    assert server.intake == Intake.model_validate({"weight": 42, "admin": admin})


@pytest.mark.parametrize(
    ("text", "up"),
    [
        pytest.param(state(2, 0), True, id="running"),
        pytest.param(state(1, 0, PASSED), True, id="starting slowly"),
        pytest.param(state(0, 0, FAILED), False, id="down"),
        pytest.param(state(0, 8, FAILED), False, id="down while it drains"),
        pytest.param(state(2, 8, PASSED), True, id="draining"),
        pytest.param(state(3, 0, PASSED), False, id="its check asks for no new sessions"),
        pytest.param(state(0, 1, UNCHECKED), True, id="in maintenance, never checked by configuration"),
        pytest.param(state(0, 1, "6 3 0 14"), True, id="in maintenance, passed before"),
        pytest.param(state(0, 1, "8 2 0 14"), False, id="in maintenance, failed before"),
        pytest.param(state(0, 1, "0 0 0 14"), False, id="in maintenance, to be checked and never was"),
    ],
)
def test_up_is_what_the_health_check_says(text: str, up: bool) -> None:
    """Up by the last word of the check, and where nothing checks."""
    (server,) = parse_servers(text)
    assert server.up is up


@pytest.mark.parametrize("text", ["", "Unknown command", f"2\n{STATE_COLUMNS}\n", "1\nno columns\n"])
def test_refuses_another_format_of_the_state(text: str) -> None:
    """Another version or no state at all is said, not guessed at."""
    with pytest.raises(UnfitError, match="show servers state"):
        parse_servers(text)


def test_refuses_a_torn_row() -> None:
    """A row with fewer fields than columns is no server."""
    with pytest.raises(UnfitError):
        parse_servers(f"1\n{STATE_COLUMNS}\n2 smtp 1 mx1\n")


def test_counts_sessions_of_one_backend() -> None:
    """The current sessions of each server, by the names of the columns, without totals and other backends."""
    text = (
        "# pxname,svname,qcur,qmax,scur,smax,\nsmtp,FRONTEND,,,9,9,\nsmtp,mx1,0,0,3,4,\nsmtp,mx2,0,0,0,4,\n"
        "smtp,BACKEND,0,0,3,4,\nother,mx1,0,0,7,7,\n\n"
    )
    assert parse_session_counts(text, "smtp") == {"mx1": 3, "mx2": 0}


@pytest.mark.parametrize("text", ["No such proxy.\n", "# pxname,svname,scur\nsmtp,mx1,many\n"])
def test_refuses_what_is_no_csv(text: str) -> None:
    """Anything else than HAProxy's CSV with numbers in it is an error."""
    with pytest.raises(UnfitError, match="show stat"):
        parse_session_counts(text, "smtp")


PROCESSES = """#<PID>          <type>          <reloads>       <uptime>        <version>
6380            master          2 [failed: 0]   0d00h04m04s     2.6.12-1+deb12u4
# workers
8231            worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
8031            worker          1               0d00h00m18s     2.6.12-1+deb12u4
6406            worker          2               0d00h04m04s     2.6.12-1+deb12u4
# programs

"""


def test_finds_the_old_workers() -> None:
    """Only what stands under 'old workers', and none when there is no such part."""
    assert parse_old_workers(PROCESSES) == [8031, 6406]
    assert parse_old_workers(PROCESSES.partition("# old")[0]) == []


def test_refuses_what_is_no_list_of_processes() -> None:
    """A worker's socket in place of the master's does not look like a master without old workers."""
    with pytest.raises(UnfitError, match="show proc"):
        parse_old_workers("Unknown command: 'show proc'\n")


SESSION = """0x56199c8d5ff0: [22/Nov/2026:14:34:01.019388] id=17 proto=tcpv4 source=127.0.0.1:41876
  flags=0x4a, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=0x56199c80f3a0, pend_pos=(nil) waiting=0 epoch=0
  frontend=smtp (id=2 mode=tcp), listener=? (id=1) addr=127.0.0.1:28025
  backend=smtp (id=2 mode=tcp) addr=127.0.0.1:44352
  server=mx2 (id=2) addr=127.0.0.1:28126
  task=0x56199ca03510 (state=0x00 nice=0 calls=2 rate=1 exp=0s tmask=0x1 age=1s)
  scf=0x56199c804cd0 flags=0x00000000 state=EST endp=CONN,0x56199ca032c0,0x028c0001 sub=1
      co0=0x56199ca031a0 ctrl=tcpv4 xprt=RAW mux=PASS data=STRM target=LISTENER:0x56199c80e1f0
  req=0x56199c8d6010 (f=0x848202 an=0x0 pipe=0 tofwd=-1 total=6)
      an_exp=<NEVER> rex=4m58s wex=<NEVER>
  res=0x56199c8d6070 (f=0x80048202 an=0x0 pipe=0 tofwd=-1 total=16)
      an_exp=<NEVER> rex=4m58s wex=<NEVER>
"""

ASKER = """0x7fd8c8048140: [22/Nov/2026:14:34:02.348585] id=18 proto=unix_stream source=unix:1
  flags=0x8, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=(nil), pend_pos=(nil) waiting=0 epoch=0x1
  frontend=GLOBAL (id=0 mode=tcp), listener=? (id=1) addr=unix:1
  backend=<NONE> (id=-1 mode=-)
  server=<NONE> (id=-1)
  task=0x7fd8c8047f30 (state=0x00 nice=-64 calls=1 rate=1 exp=2m tmask=0x2 age=0s)
"""


def test_reads_a_session() -> None:
    """Who, where, how old to the microsecond, and how many bytes went each way; the asker is none."""
    (stream,) = parse_streams(SESSION + ASKER, "smtp")
    assert stream.age == pytest.approx(1.329197)
    assert [dataclasses.replace(stream, age=0)] == [
        Stream(
            pointer="0x56199c8d5ff0",
            number=17,
            client="127.0.0.1:41876",
            backend="smtp",
            server="mx2",
            age=0,
            bytes_to_member=6,
            bytes_to_client=16,
        )
    ]


def test_reads_an_ipv6_client() -> None:
    """The client of IPv6 stands as HAProxy has it, without brackets."""
    (stream,) = parse_streams(SESSION.replace("tcpv4 source=127.0.0.1", "tcpv6 source=2001:db8::7"), "smtp")
    assert stream.client == "2001:db8::7:41876"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SESSION.replace("backend=smtp", "backend=web"), id="another backend"),
        pytest.param(SESSION.replace("server=mx2", "server=<NONE>"), id="still waits for a server"),
        pytest.param(SESSION + "  *** session terminated while we were watching it ***\n", id="ended meanwhile"),
        pytest.param("", id="none at all"),
    ],
)
def test_leaves_out_what_no_member_carries(text: str) -> None:
    """Sessions of other backends, without a member, or that have just ended are not this backend's."""
    assert parse_streams(text, "smtp") == []


@pytest.mark.parametrize(
    "gone", ["  backend=smtp (id=2 mode=tcp)", " source=127.0.0.1:41876", " total=6", " total=16", " age=1s", "id=17 "]
)
def test_refuses_a_session_with_something_missing(gone: str) -> None:
    """A number that is not there is never taken for zero: stillness would be read into it."""
    with pytest.raises(UnfitError, match="show sess"):
        parse_streams(SESSION.replace(gone, ""), "smtp")


def test_refuses_what_is_no_session() -> None:
    """An error message is not an empty list."""
    with pytest.raises(UnfitError, match="Permission denied"):
        parse_streams("Permission denied\n\n", "smtp")


@pytest.mark.parametrize(
    ("age", "dates", "seconds"),
    [
        ("59m3s", "22/Nov/2026:13:34:59", 3543.348585),
        ("1s", "22/Nov/2026:13:34:01", 2.0),  # the clock was put forward by an hour
        ("1h2m", "22/Nov/2026:14:34:01", 3719.0),  # and back
    ],
)
def test_the_age_stays_within_what_haproxy_says(age: str, dates: str, seconds: float) -> None:
    """Two dates give the exact age, unless the clock jumped between them."""
    text = SESSION.replace("age=1s", f"age={age}").replace("22/Nov/2026:14:34:01.019388", f"{dates}.000000")
    (stream,) = parse_streams(text + ASKER, "smtp")
    assert stream.age == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "least", "greatest"),
    [
        ("?", 0, 1),
        ("0s", 0, 1),
        ("59s", 58, 60),
        ("1m2s", 61, 63),
        ("5m", 299, 301),
        ("3h5m", 11_099, 11_160),
        ("3h", 10_799, 10_860),
        ("2d4h", 187_199, 190_800),
    ],
)
def test_an_age_stands_for_a_span(text: str, least: int, greatest: int) -> None:
    """HAProxy writes at most two units of a difference of whole seconds; what it cuts off is the span."""
    assert parse_age(text) == (least, greatest)


@pytest.mark.parametrize("text", ["", "now", "5", "-3s", "1w"])
def test_refuses_what_is_no_age(text: str) -> None:
    """Another form of an age is an error, not zero."""
    with pytest.raises(ValueError, match="age"):
        parse_age(text)


@given(began=st.floats(0, 1), lasted=st.floats(0, 400 * 86_400))
def test_the_span_holds_the_true_age(began: float, lasted: float) -> None:
    """Counted and written as HAProxy does it, every age lies within the span that is read back."""
    least, greatest = parse_age(as_haproxy_writes(int(began + lasted) - int(began)))
    assert least <= lasted <= greatest


def as_haproxy_writes(seconds: int) -> str:
    """Its human_time(): the greatest unit, and the next one unless that is zero."""
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    place = next((index for index, (_, size) in enumerate(units) if seconds >= size), 3)
    written = ""
    for name, size in units[place : place + 2]:
        number, seconds = divmod(seconds, size)
        written += f"{number}{name}" if number or not written else ""
    return written
