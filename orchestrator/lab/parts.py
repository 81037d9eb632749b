"""The parts of one lab: what they are called, where they listen, how each is started."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field

from orchestrator.lab.addresses import Folders, free_ports
from orchestrator.lab.certificates import Certificates, make_certificates
from orchestrator.lab.haproxy_config import Edge
from orchestrator.lab.layout import CLIENT, HOSTS, SITES, Gate
from orchestrator.lab.postfix_instance import PostfixInstance
from orchestrator.lab.processes import Child
from orchestrator.lab.profiles import ProfileName, queueing_delay
from orchestrator.lab.traffic import TrafficPlan
from orchestrator.model.value import Value

_MTA: Final = {
    # A busy sending MTA: sessions are kept and used again, and there is one next hop only (smtp(8)).
    "smtp_connection_cache_time_limit": "30s",
    "smtp_connection_reuse_time_limit": "600s",
    "minimal_backoff_time": "300s",  # Postfix's defaults again: what it defers it defers for long
    "maximal_backoff_time": "4000s",
    "queue_run_delay": "300s",
    "default_destination_concurrency_failed_cohort_limit": "1",
}


class LabPlan(Value):
    """What a lab is to be."""

    name: str
    profile: ProfileName = "steady"
    clients: int = Field(default=50, ge=1, le=500)
    gate: Gate = "postfix-policy"


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything in a lab, before and after it runs."""

    plan: LabPlan
    folders: Folders
    edge: Edge
    certificates: Certificates
    instances: Mapping[str, PostfixInstance]
    sink: int
    scanner: int

    @property
    def inbox(self) -> Path:
        """The Maildir of the probes."""
        return self.folders.runtime / "inbox"

    def write(self) -> None:
        """Write every configuration."""
        self.edge.write()
        for instance in self.instances.values():
            instance.write()

    def addresses(self) -> dict[str, str]:
        """What ``${lab:KEY}`` stands for."""
        found = {
            "edge.smtp": f"127.0.0.1:{self.edge.smtp}",
            "edge.socket": str(self.edge.socket),
            "edge.master": str(self.edge.master),
            "edge.state-file": str(self.edge.state_file),
            "inbox": str(self.inbox),
            "ca-file": str(self.certificates.ca),
        }
        found |= {f"edge.path-{site}": f"127.0.0.1:{port}" for site, port in self.edge.paths.items()}
        for name, instance in self.instances.items():
            found[f"{name}.config"] = str(instance.config)
            found[f"{name}.gate-control"] = str(instance.gate_control)
            found[f"{name}.gate-database"] = str(instance.gate_database)
        return found

    def start_edge(self) -> Child:
        """Start HAProxy as master and worker, so that a reload works."""
        argv = [_program("haproxy"), "-W", "-S", f"{self.edge.master},mode,600", "-f", str(self.edge.config)]
        return Child("edge", argv, self._log("edge"), death=signal.SIGTERM)

    def start_host(self, name: str) -> Child:
        """Start one Postfix. Its master takes its whole group along when it gets SIGTERM."""
        return Child(name, self.instances[name].argv, self._log(name), death=signal.SIGTERM)

    def start_gate(self, name: str) -> Child:
        """Start the gate of one host, which remembers whether it was closed."""
        host = self.instances[name]
        argv = [sys.executable, "-m", "orchestrator", "gate", "serve", "--listen", f"127.0.0.1:{host.gate_port}"]
        argv += ["--control", str(host.gate_control), "--state", str(host.gate_state)]
        return Child(f"{name}.gate", argv, self._log(f"{name}.gate"))

    def start_traffic(self) -> Child:
        """Start the sink and the clients; these wait for a word."""
        client = self.instances.get(CLIENT)
        plan = TrafficPlan(
            profile=self.plan.profile,
            clients=self.plan.clients,
            target=client.port if client else self.edge.smtp,
            sink=self.sink,
            scanner=self.scanner,
            blackhole=self.edge.blackhole,
            edge_socket=self.edge.socket,
            control=self.folders.traffic_control,
            inbox=self.inbox,
            queues=tuple(instance.queue for instance in self.instances.values()),
            client_config=client.config if client else None,
            client_log=client.log if client else None,
        )
        argv = [sys.executable, "-m", "orchestrator.lab.traffic", plan.model_dump_json()]
        return Child("traffic", argv, self._log("traffic"))

    def _log(self, name: str) -> Path:
        return self.folders.logs / f"{name}.log"


def plan_parts(plan: LabPlan, folders: Folders) -> Parts:
    """Choose ports, make certificates, and lay out every part in the lab's folders."""
    ports = iter(free_ports(5 + len(SITES) + 2 * len(HOSTS)))
    certificates = make_certificates(folders.runtime / "certificates")
    sink, scanner, blackhole, smtp, client = (next(ports) for _ in range(5))
    hosts = {
        name: _host(plan, folders, name, ports, sink, scanner if queueing_delay(plan.profile) else 0, certificates)
        for name in HOSTS
    }
    edge = Edge(
        folder=folders.runtime / "edge",
        smtp=smtp,
        paths={site: next(ports) for site in SITES},
        hosts={name: host.port for name, host in hosts.items()},
        blackhole=blackhole,
    )
    instances = dict(hosts)
    if plan.profile == "postfix":
        instances[CLIENT] = _client(plan, folders, client, smtp)
    return Parts(plan, folders, edge, certificates, instances, sink, scanner)


def _host(
    plan: LabPlan,
    folders: Folders,
    name: str,
    ports: Iterator[int],
    sink: int,
    scanner: int,
    certificates: Certificates,
) -> PostfixInstance:
    return PostfixInstance(
        name=name,
        folder=folders.runtime / name,
        port=next(ports),
        next_hop=sink,
        certificates=certificates,
        gate=plan.gate,
        gate_port=next(ports),
        scan_port=scanner,
    )


def _client(plan: LabPlan, folders: Folders, port: int, edge: int) -> PostfixInstance:
    settings = {
        **_MTA,
        "smtp_connection_cache_destinations": "127.0.0.1",  # matched without brackets and port
        "smtp_destination_concurrency_limit": str(plan.clients),
    }
    return PostfixInstance(
        name=CLIENT,
        folder=folders.runtime / CLIENT,
        port=port,
        next_hop=edge,
        behind_edge=False,
        settings=settings,
    )


def _program(name: str) -> str:
    return shutil.which(name) or f"/usr/sbin/{name}"
