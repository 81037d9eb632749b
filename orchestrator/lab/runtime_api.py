"""The few words that the lab itself says to its edge over HAProxy's Runtime API."""

from __future__ import annotations

import csv
import io
import socket
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import RejectedError, UnreachableError
from orchestrator.lab.haproxy_config import LOSS_SCALE, Edge


def ask_edge(socket_file: Path, command: str, timeout: float = 5.0) -> str:
    """The answer of HAProxy to one command (Management Guide, "Unix Socket commands").

    Raises:
        UnreachableError: HAProxy does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(socket_file))
            connection.sendall(command.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)  # else the master CLI waits for another command
            with connection.makefile("rb") as answer:
                return answer.read().decode()
    except OSError as error:
        raise UnreachableError(f"cannot ask the lab's HAProxy at {socket_file}: {error}") from error


def host_sessions(socket_file: Path) -> Mapping[str, int]:
    """The sessions that each server of ``smtp`` carries now, as this process of HAProxy counts them."""
    return {row["svname"]: int(row["scur"]) for row in _servers(socket_file)}


def checked_hosts(socket_file: Path) -> frozenset[str]:
    """The servers of ``smtp`` whose last health check was good."""
    return frozenset(row["svname"] for row in _servers(socket_file) if row["check_status"] == "L7OK")


def _servers(socket_file: Path) -> list[dict[str, str]]:
    # All proxies, then ours: a frontend has the same name, and 'show stat smtp' would look at that one only.
    text = ask_edge(socket_file, "show stat -1 4 -1").removeprefix("# ")
    return [row for row in csv.DictReader(io.StringIO(text)) if row["pxname"] == "smtp"]


def set_flow_loss(edge: Edge, site: str, fraction: float) -> None:
    """Let this share of new connections on the site's path vanish, also after a reload.

    Raises:
        RejectedError: HAProxy did not take the change.
    """
    parts = round(fraction * LOSS_SCALE)
    answer = ask_edge(edge.socket, f"set map {edge.loss_map} {site} {parts}").strip()
    if answer:
        raise RejectedError(f"cannot set the flow loss of {site}: HAProxy says {answer!r}")
    lines = [line.split() for line in edge.loss_map.read_text().splitlines()]
    edge.loss_map.write_text("".join(f"{key} {parts if key == site else value}\n" for key, value in lines))
