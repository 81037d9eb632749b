"""What a Postfix is set up to do at MAIL FROM and at the end of the data: read with postconf(1), never changed.

The gate is fit when every smtpd service that the switch can lead to asks it **first**, at the command itself
(``smtpd_delay_reject = no``), and lets mail pass when the gate is dead. With Postfix's defaults (timeout 100 s, two
tries, ``default_action`` 451) a dead gate is an outage.

Services that speak the PROXY protocol are the ones behind the switch; where none does, every smtpd service counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.adapters.command import CommandRunner
from orchestrator.errors import RejectedError, UnfitError

AT_MAIL: Final = "smtpd_sender_restrictions"
AT_END: Final = "smtpd_end_of_data_restrictions"
_DELAY: Final = "smtpd_delay_reject"
_PROXY: Final = "smtpd_upstream_proxy_protocol"
_SCREEN_PROXY: Final = "postscreen_upstream_proxy_protocol"
_OPTIONS: Final = ("timeout", "try_limit", "default_action")
_POLICY: Final = tuple(f"smtpd_policy_service_{name}" for name in _OPTIONS)
_NAMES: Final = (AT_MAIL, AT_END, _DELAY, _PROXY, _SCREEN_PROXY, *_POLICY)
_LONGEST_TIMEOUT: Final = 5.0
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class Smtpd:
    """One smtpd service of master.cf, with main.cf's settings and its own ``-o`` over them."""

    name: str
    settings: Mapping[str, str]

    @property
    def proxied(self) -> bool:
        """Whether it learns the client's address by the PROXY protocol."""
        by_postscreen = self.name.endswith("/pass")
        return self.settings[_SCREEN_PROXY if by_postscreen else _PROXY] == "haproxy"

    def restrictions(self, setting: str) -> list[str]:
        """A restriction list as single words; what stands in braces is one word."""
        return re.findall(r"(?:\{[^{}]*\}|[^\s,{}])+", self.settings[setting])


@dataclass(frozen=True, slots=True)
class PostfixSettings:
    """What matters to the gate in one Postfix configuration folder."""

    host: str
    folder: str
    services: tuple[Smtpd, ...]
    changed: float
    """Unix time at which main.cf or master.cf last changed."""

    @property
    def gated(self) -> tuple[Smtpd, ...]:
        """The services that the gate has to be in front of."""
        return tuple(service for service in self.services if service.proxied) or self.services


async def read_settings(commands: CommandRunner, folder: str) -> PostfixSettings:
    """Read the settings of a host's Postfix.

    Raises:
        UnfitError: there is no smtpd service.
        OutsideError: postconf cannot be run, or fails.
    """
    main = _settings(await commands.run(["postconf", "-c", folder, "-x", *_NAMES]))
    overrides = _settings(await commands.run(["postconf", "-c", folder, "-Px"]))
    master = await commands.run(["postconf", "-c", folder, "-M"])
    found = [name for line in master.splitlines() if (name := _smtpd(line))]
    if not found:
        raise UnfitError(f"cannot gate {commands.host}: {folder}/master.cf has no smtpd service")
    changed = await modified(commands, f"{folder}/main.cf", f"{folder}/master.cf")
    services = [
        Smtpd(name, {key: overrides.get(f"{name}/{key}", main.get(key, "")) for key in _NAMES}) for name in found
    ]
    return PostfixSettings(commands.host, folder, tuple(services), changed)


async def modified(commands: CommandRunner, *paths: str) -> float:
    """Unix time at which the latest of these files changed, by the host's stat(1) of GNU."""
    try:
        return max(float(line) for line in (await commands.run(["stat", "-L", "-c", "%.Y", *paths])).split())
    except ValueError as error:
        raise RejectedError(f"cannot tell when {', '.join(paths)} changed at {commands.host}: {error}") from error


def policy_restriction(service: str) -> str:
    """The restriction that asks a policy service, and lets mail pass after a second without an answer."""
    return f"check_policy_service {{ {service}, timeout=1s, try_limit=1, default_action=DUNNO }}"


def policy_lines(service: str) -> dict[str, str]:
    """What main.cf needs for the gate as a policy service, by setting."""
    return {_DELAY: "no", AT_MAIL: policy_restriction(service), AT_END: policy_restriction(service)}


def map_lines(table: str) -> dict[str, str]:
    """What main.cf needs for the gate as a table, by setting."""
    return {_DELAY: "no", AT_MAIL: f"check_sender_access sqlite:{table}"}


def main_cf(lines: Mapping[str, str]) -> str:
    """Settings as they stand in main.cf."""
    return "\n".join(f"{name} = {value}" for name, value in lines.items())


def require_policy(settings: PostfixSettings, services: Sequence[str]) -> None:
    """See that Postfix asks the policy service, under one of its names, in a way that fails open.

    Raises:
        UnfitError: it does not; the message names the main.cf lines that it needs.
    """
    problems = [
        f"{smtpd.name}: {problem}"
        for smtpd in settings.gated
        for problem in (*_delay(smtpd), *_asks(smtpd, AT_MAIL, services), *_asks(smtpd, AT_END, services))
    ]
    _refuse(settings, problems, policy_lines(services[0]))
    if not any(smtpd.proxied for smtpd in settings.services):
        raise UnfitError(
            f"cannot join the transactions of {settings.host} to the sessions of its switch: "
            "no smtpd service speaks the PROXY protocol",
            remedy=f"add '-o {_PROXY}=haproxy' to the service in {settings.folder}/master.cf that the switch leads to, "
            "and 'send-proxy' to its server line in HAProxy",
        )


def require_map(settings: PostfixSettings, table: str) -> None:
    """See that Postfix looks every sender up in the table before anything else.

    Raises:
        UnfitError: it does not; the message names the main.cf lines that it needs.
    """
    problems = [
        f"{smtpd.name}: {problem}" for smtpd in settings.gated for problem in (*_delay(smtpd), *_looks_up(smtpd, table))
    ]
    _refuse(settings, problems, map_lines(table))


def _delay(smtpd: Smtpd) -> list[str]:
    if smtpd.settings[_DELAY] == "no":
        return []
    return [f"{_DELAY} is on, so nothing is asked at MAIL FROM"]


def _looks_up(smtpd: Smtpd, table: str) -> list[str]:
    match smtpd.restrictions(AT_MAIL)[:2]:
        case ["check_sender_access", asked] if asked in (f"sqlite:{table}", f"proxy:sqlite:{table}"):
            return []
    return [f"{AT_MAIL} does not begin with check_sender_access sqlite:{table}"]


def _asks(smtpd: Smtpd, setting: str, services: Sequence[str]) -> list[str]:
    match smtpd.restrictions(setting)[:2]:
        case ["check_policy_service", asked]:
            service, options = _policy(asked, smtpd.settings)
            if service in services:
                return [f"{setting}: {problem}" for problem in _fails_closed(options)]
    return [f"{setting} does not begin with check_policy_service {services[0]}"]


def _policy(asked: str, settings: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The service's name and its options: those in braces, else the settings for all policy services."""
    service, *given = re.sub(r"\s*=\s*", "=", asked.strip("{} ")).replace(",", " ").split() or [""]
    options = {name: settings[f"smtpd_policy_service_{name}"] for name in _OPTIONS}
    return service, options | dict(option.split("=", 1) for option in given if "=" in option)


def _fails_closed(options: Mapping[str, str]) -> list[str]:
    problems = []
    if _seconds(options["timeout"]) > _LONGEST_TIMEOUT:
        problems.append(f"timeout={options['timeout']} makes every client wait when the gate hangs")
    if options["try_limit"] != "1":
        problems.append(f"try_limit={options['try_limit']} makes every client wait again when the gate is dead")
    if options["default_action"].upper() != "DUNNO":
        problems.append(f"default_action={options['default_action']} refuses mail when the gate is dead")
    return problems


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)([smhdw]?)", text)
    return float(match[1]) * _SECONDS[match[2]] if match else float("inf")


def _refuse(settings: PostfixSettings, problems: Sequence[str], lines: Mapping[str, str]) -> None:
    if not problems:
        return
    kept = {name: _followed_by(value, settings.gated[0].restrictions(name)) for name, value in lines.items()}
    raise UnfitError(
        f"cannot gate {settings.host}: {'; '.join(problems)}",
        remedy=f"write into {settings.folder}/main.cf there, drop any -o of these names from master.cf, "
        f"and run 'postfix -c {settings.folder} reload':\n{main_cf(kept)}",
    )


def _followed_by(gate: str, present: list[str]) -> str:
    """The gate, then the restrictions that stand there already."""
    if gate == "no":
        return gate
    verb, argument = gate.split(" ", 1)
    named = argument.strip("{ }").split(",")[0]
    if present[:1] == [verb] and present[1:2] and named in present[1]:
        present = present[2:]
    return f"{gate}, {' '.join(present)}" if present else gate


def _settings(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _smtpd(line: str) -> str | None:
    """``name/type`` when a line of master.cf is an smtpd service that clients reach."""
    match line.split():
        case [name, "inet" | "pass" as kind, _, _, _, _, _, "smtpd", *_]:
            return f"{name}/{kind}"
    return None
