"""One Postfix instance per host, each with its own configuration, queue and data folder.

Built by hand and not by ``postmulti`` or ``postfix start``, which need 0.25 s each and write to the system's own
configuration (Postfix MULTI_INSTANCE_README). Settings: postconf(5), services: master(5).
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator.lab.certificates import Certificates
from orchestrator.lab.layout import Gate
from orchestrator.lab.requirements import MASTER

_QUEUES: Final = ("incoming", "active", "deferred", "hold", "maildrop")
_POSTFIX_ONLY: Final = (
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "private",
    "saved",
    "trace",
)

GATE_SCHEMA: Final = (
    "PRAGMA journal_mode = DELETE;\n"
    "BEGIN IMMEDIATE;\n"
    "CREATE TABLE IF NOT EXISTS gate\n"
    "  (one INTEGER PRIMARY KEY CHECK (one = 1), closed INTEGER NOT NULL, action TEXT NOT NULL);\n"
    "CREATE TABLE IF NOT EXISTS spare (sender TEXT PRIMARY KEY);\n"
    "INSERT OR IGNORE INTO gate VALUES (1, 0, '421 4.3.2 Service moving to another site, please reconnect');\n"
    "COMMIT;\n"
)
GATE_QUERY: Final = (
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM spare WHERE sender = '%s') "
    "THEN 'DUNNO' ELSE action END FROM gate WHERE closed"
)

_SERVICES: Final = """\
pickup     unix n - n 60 1 pickup
cleanup    unix n - n - 0 cleanup
qmgr       unix n - n 300 1 qmgr
tlsmgr     unix - - n 1000? 1 tlsmgr
rewrite    unix - - n - - trivial-rewrite
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
trace      unix - - n - 0 bounce
flush      unix n - n 1000? 0 flush
proxymap   unix - - n - - proxymap
smtp       unix - - n - - smtp
relay      unix - - n - - smtp
showq      unix n - n - - showq
error      unix - - n - - error
retry      unix - - n - - error
discard    unix - - n - - discard
scache     unix - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class PostfixInstance:
    """A Postfix on loopback that accepts mail from anybody there and passes all of it to one next hop."""

    name: str
    folder: Path
    port: int
    next_hop: int
    """Port on loopback that everything is sent to."""
    certificates: Certificates | None = None
    gate: Gate = "none"
    gate_port: int = 0
    scan_port: int = 0
    """Port of a policy service that delays each message before it is queued; 0 for none."""
    behind_edge: bool = True
    """Whether HAProxy is in front and tells the client's address (PROXY protocol)."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of this instance only; they win."""

    @property
    def config(self) -> Path:
        """The folder with main.cf and master.cf."""
        return self.folder / "config"

    @property
    def queue(self) -> Path:
        """The queue folder."""
        return self.folder / "queue"

    @property
    def log(self) -> Path:
        """Its mail log."""
        return self.folder / "log" / "mail.log"

    @property
    def gate_database(self) -> Path:
        """The SQLite file of the gate ``postfix-map``."""
        return self.folder / "gate" / "gate.sqlite"

    @property
    def gate_control(self) -> Path:
        """The control socket of the gate ``postfix-policy``."""
        return self.folder / "gate" / "control.sock"

    @property
    def gate_state(self) -> Path:
        """Where the gate ``postfix-policy`` remembers whether it is closed."""
        return self.folder / "gate" / "state.json"

    def write(self) -> None:
        """Make every folder with the owner and mode that Postfix insists on, and write the configuration."""
        owner, drop = pwd.getpwnam("postfix"), grp.getgrnam("postdrop").gr_gid
        for folder in (self.config, self.queue, self.log.parent, self.folder / "data", self.gate_database.parent):
            folder.mkdir(parents=True)
        for owned in (self.log.parent, self.folder / "data"):
            os.chown(owned, owner.pw_uid, owner.pw_gid)
        for name in _POSTFIX_ONLY:
            _make(self.queue / name, 0o700, owner.pw_uid, 0)
        _make(self.queue / "maildrop", 0o730, owner.pw_uid, drop)
        _make(self.queue / "public", 0o710, owner.pw_uid, drop)
        _make(self.queue / "pid", 0o755, 0, 0)
        if self.gate == "postfix-map":
            self._write_gate_table(owner.pw_uid, owner.pw_gid)
        (self.config / "main.cf").write_text(
            "".join(f"{key} = {value}\n" for key, value in self.main_settings().items())
        )
        (self.config / "master.cf").write_text(f"127.0.0.1:{self.port} inet n - n - - smtpd\n{_SERVICES}")

    def main_settings(self) -> dict[str, str]:
        """Everything in main.cf."""
        found = {
            "compatibility_level": "3.6",
            "myhostname": f"{self.name}.lab",
            "smtpd_banner": f"{self.name}.lab ESMTP",
            "queue_directory": str(self.queue),
            "data_directory": str(self.folder / "data"),
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(self.folder),
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "mydestination": "",
            "relay_domains": "lab.example",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "relayhost": f"[127.0.0.1]:{self.next_hop}",
            "smtp_dns_support_level": "disabled",
            "smtp_host_lookup": "native",
            "smtpd_peername_lookup": "no",
            "smtp_tls_security_level": "none",
            "enable_long_queue_ids": "yes",
            # A lab loses nothing and tells nobody.
            "soft_bounce": "yes",
            "notify_classes": "",
            # Limits that would make a loaded loopback wait for itself: all clients have the same address, and
            # in_flow_delay holds mail back when it comes in faster than it goes out.
            "default_process_limit": "300",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_client_connection_rate_limit": "0",
            "smtpd_client_message_rate_limit": "0",
            "smtpd_junk_command_limit": "1000000000",
            "smtpd_timeout": "2h",
            "in_flow_delay": "0s",
            "initial_destination_concurrency": "20",
            "smtp_destination_concurrency_limit": "40",
            "default_destination_concurrency_failed_cohort_limit": "1000",
            "queue_run_delay": "5s",
            "minimal_backoff_time": "5s",
            "maximal_backoff_time": "10s",
            "message_size_limit": "20480000",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtpd_recipient_restrictions": "",
            # The gate acts at MAIL FROM itself, not at RCPT TO.
            "smtpd_delay_reject": "no",
        }
        if self.behind_edge:
            found["smtpd_upstream_proxy_protocol"] = "haproxy"
        if self.certificates:
            found["smtpd_tls_security_level"] = "may"
            found["smtpd_tls_chain_files"] = str(self.certificates.chain)
        return found | self._restrictions() | dict(self.settings)

    def _restrictions(self) -> dict[str, str]:
        sender: list[str] = []
        end_of_data: list[str] = []
        if self.gate == "postfix-policy":
            # Fails open within a second when the gate is dead or hangs: without these attributes it is an outage.
            service = f"inet:127.0.0.1:{self.gate_port}"
            ask = f"check_policy_service {{ {service}, timeout=1s, try_limit=1, default_action=DUNNO }}"
            sender.append(ask)
            end_of_data.append(ask)
        if self.gate == "postfix-map":
            sender.append(f"check_sender_access sqlite:{self.gate_database.with_suffix('.cf')}")
        if self.scan_port:
            end_of_data.append(
                f"check_policy_service {{ inet:127.0.0.1:{self.scan_port}, timeout=10s, default_action=DUNNO }}"
            )
        return {
            "smtpd_sender_restrictions": ", ".join(sender),
            "smtpd_end_of_data_restrictions": ", ".join(end_of_data),
        }

    def _write_gate_table(self, user: int, group: int) -> None:
        """An open gate, as ``failover gate config --driver postfix-map`` describes it."""
        with contextlib.closing(sqlite3.connect(self.gate_database, isolation_level=None)) as database:
            database.executescript(GATE_SCHEMA)
        os.chown(self.gate_database, user, group)
        self.gate_database.with_suffix(".cf").write_text(f"dbpath = {self.gate_database}\nquery = {GATE_QUERY}\n")

    @property
    def argv(self) -> tuple[str, ...]:
        """What runs it, in the foreground."""
        return (MASTER, "-c", str(self.config), "-s")


def queued_in(queue: Path) -> Iterator[str]:
    """The ids of the messages in a queue folder, read from the queue's files.

    Postfix makes a file executable once the message is complete, and only then says 250 (mail_stream(3)); what is not
    executable was never accepted. A file that moves from one queue to the next while we look may be missed: look again
    before it counts as gone.
    """
    for name in _QUEUES:
        for folder, _, files in os.walk(queue / name):
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    if Path(folder, file).stat().st_mode & stat.S_IXUSR:
                        yield file


def _make(folder: Path, mode: int, user: int, group: int) -> None:
    folder.mkdir()
    os.chown(folder, user, group)
    folder.chmod(mode)
