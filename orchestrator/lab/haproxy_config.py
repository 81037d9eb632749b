"""The edge: one HAProxy in TCP mode in front of every host.

Clients use ``smtp``. A frontend ``path-<site>`` leads to one site only, through the same load balancer, and to each of
its servers in turn without a health check in between: what a probe finds there is what a client would meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.lab.layout import HOSTS, SITE_HOSTS, SITES, site_of, weight

LOSS_SCALE: Final = 10_000
"""The loss map's numbers are parts of this."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Ports and files of the edge."""

    folder: Path
    smtp: int
    paths: Mapping[str, int]
    """The port of each site's path."""
    hosts: Mapping[str, int]
    """The SMTP port of each host."""
    blackhole: int
    """A port that takes connections and never answers."""

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "haproxy.cfg"

    @property
    def socket(self) -> Path:
        """The Runtime API's socket, level admin."""
        return self.folder / "stats.sock"

    @property
    def master(self) -> Path:
        """The master CLI's socket."""
        return self.folder / "master.sock"

    @property
    def state_file(self) -> Path:
        """Where servers' states are saved, to be read back at a reload."""
        return self.folder / "servers.state"

    @property
    def loss_map(self) -> Path:
        """Per site: how many of 10 000 new connections on its path vanish."""
        return self.folder / "loss.map"

    def write(self) -> None:
        """Write the configuration and the files that it names."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state_file.write_text("1\n")  # its format's version; an empty file is a warning
        self.loss_map.write_text("".join(f"{site} 0\n" for site in SITES))
        self.config.write_text(self.render())

    def render(self) -> str:
        """The configuration's text."""
        paths = "\n".join(self._path(site) for site in SITES)
        servers = "\n".join(self._server(host) for host in HOSTS)
        return f"""\
global
    nbthread 1
    stats socket {self.socket} mode 600 level admin expose-fd listeners
    stats timeout 10m
    server-state-file {self.state_file}

defaults
    mode tcp
    maxconn 4000
    timeout connect 3s
    timeout client 2h
    timeout server 2h
    # Else a session whose one end is gone counts for another two hours.
    timeout client-fin 2s
    timeout server-fin 2s
    load-server-state-from-file global

frontend smtp
    bind 127.0.0.1:{self.smtp}
    default_backend smtp

backend smtp
    balance roundrobin
    option redispatch
    option smtpchk EHLO edge.lab
    default-server send-proxy check check-send-proxy inter 500ms fall 2 rise 1
{servers}

{paths}
backend blackhole
    timeout connect 2h
    server nobody 127.0.0.1:{self.blackhole}
"""

    def _server(self, host: str) -> str:
        return f"    server {host} 127.0.0.1:{self.hosts[host]} weight {weight(site_of(host))}"

    def _path(self, site: str) -> str:
        servers = "\n".join(f"    server {host} 127.0.0.1:{self.hosts[host]} send-proxy" for host in SITE_HOSTS[site])
        return f"""\
frontend path-{site}
    bind 127.0.0.1:{self.paths[site]}
    # Flow loss: this share of new connections is taken and never answered. Changed at run time with 'set map'.
    tcp-request content set-var(sess.loss) str({site}),map_str_int({self.loss_map},0)
    tcp-request content set-var(sess.dice) rand({LOSS_SCALE})
    use_backend blackhole if {{ var(sess.dice),sub(sess.loss) lt 0 }}
    default_backend path-{site}

backend path-{site}
    balance roundrobin
{servers}
"""
