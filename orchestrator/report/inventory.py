"""An inventory as people look at it; secrets are shown as references, as there is nothing else to show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group as Page
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.model.inventory import Host, Inventory, Pool
from orchestrator.model.units import Quantity
from orchestrator.report.sheet import one_line


def inventory_page(inventory: Inventory) -> Page:
    """Its sites, pools, hosts and groups, a table each."""
    sites = [(name, site.provider, _pools_at(inventory, name)) for name, site in inventory.sites.items()]
    hosts = [(name, *_host(inventory.host(name)), _groups_of(inventory, name)) for name in inventory.host_names()]
    groups = [(name, " ".join(group.hosts), _data(group.data)) for name, group in inventory.groups.items()]
    pools = [part for name, pool in inventory.pools.items() for part in _pool(name, pool)]
    parts: list[RenderableType] = [
        _table(("site", "provider", "pools"), sites),
        *pools,
        _table(("host", "connect", "gate", "queue", "groups"), hosts),
    ]
    if groups:
        parts.append(_table(("group", "hosts", "data"), groups))
    return Page(*_spaced(parts))


def _spaced(parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
    for number, part in enumerate(parts):
        if number and isinstance(part, Table):
            yield ""
        yield part


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(head):
        table.add_column(title, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(one_line(cell) or "-") for cell in row))
    return table


def _pool(name: str, pool: Pool) -> Iterator[RenderableType]:
    sites = [(site, str(part.capacity), part.address, " ".join(part.members)) for site, part in pool.sites.items()]
    yield _table((f"pool {one_line(name)}", "capacity", "address", "members"), sites)
    yield from (Text(f"  {one_line(line)}") for line in _about(pool))


def _about(pool: Pool) -> Iterator[str]:
    demand = f"{pool.demand}" if isinstance(pool.demand, Quantity) else "as the switch measures it"
    yield f"address {pool.address}, demand {demand}"
    yield f"switch {pool.switch.driver}, {pool.switch.known_as}"
    mail = pool.test_mail
    login = f", login {mail.login.user} with {mail.login.password}" if mail.login else ""
    yield f"test mail from {mail.sender} to {mail.recipient}{login}"


def _host(host: Host) -> tuple[str, str, str]:
    connect = f"{host.connect} {host.ssh}".rstrip() if host.connect == "ssh" else host.connect
    return connect, host.gate.driver if host.gate else "", host.queue.driver if host.queue else ""


def _pools_at(inventory: Inventory, site: str) -> str:
    return " ".join(name for name, pool in inventory.pools.items() if site in pool.sites)


def _groups_of(inventory: Inventory, host: str) -> str:
    return " ".join(name for name, group in inventory.groups.items() if host in group.hosts)


def _data(data: Mapping[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in data.items())
