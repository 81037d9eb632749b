"""Weighted and failover records in a world of AWS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import boto3

from orchestrator.adapters.route53 import Route53Driver
from orchestrator.model.switch import Route53FailoverSwitch, Route53WeightsSwitch
from orchestrator.model.traffic import Intake
from orchestrator.testing.overlay import AwsWorld
from tests.adapters.aws_bench import AwsBench
from tests.adapters.switch_contract import Intakes

NAMES = {"mx1": "ord", "mx2": "it's `iad`", "mx3": "lon"}
"""Set identifiers may be anything, also what a shell or a query might stumble over."""

ROLES = {"PRIMARY": 1, "SECONDARY": 0}

ADDRESSES = {"mx1": "192.0.2.1", "mx2": "192.0.2.2", "mx3": "192.0.2.3"}


class Route53Bench(AwsBench):
    """A hosted zone with other records too."""

    writes = ("route-53.ChangeResourceRecordSets",)
    refusal = "InvalidInput"
    switch: Route53WeightsSwitch | Route53FailoverSwitch

    def __init__(self, world: AwsWorld, shell: Mapping[str, str], ttl: int = 60) -> None:
        super().__init__(world, shell)
        self.ttl = ttl
        self.api = boto3.client("route53", region_name="us-east-1")
        self.zone = self.api.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
        self.zone = self.zone.removeprefix("/hostedzone/")
        for name in ("a.example.com", "mx2.example.com"):
            self.change("CREATE", {"Name": name, "Type": "A", "TTL": 5, "ResourceRecords": [{"Value": "192.0.2.9"}]})
        text = [{"Value": '"v=spf1 -all"'}]
        self.change("CREATE", {"Name": "mx.example.com", "Type": "TXT", "TTL": 5, "ResourceRecords": text})

    def driver(
        self, ask: Callable[[str, str, str], Awaitable[frozenset[str]]] | None = None, **changes: Any
    ) -> Route53Driver:
        """A new driver; ``changes`` to what the inventory says."""
        switch = self.switch.model_copy(update=changes)
        more = {} if ask is None else {"ask": ask}
        return Route53Driver(switch, list(self.start), self.aws, self.world.clock, **more)

    def called(self, member: str) -> str:
        """See ``AwsBench.called``."""
        return ADDRESSES[member]

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        records = {one["SetIdentifier"]: one for one in self.listed() if "SetIdentifier" in one}
        found = {name: records[NAMES[name]] for name in self.start}
        return {
            name: Intake(weight=ROLES[one["Failover"]] if "Failover" in one else one["Weight"])
            for name, one in found.items()
        }

    def listed(self) -> list[dict[str, Any]]:
        """Every record set of the zone."""
        return list(self.api.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"])

    def change(self, action: str, *record_sets: Mapping[str, Any]) -> None:
        """A batch of somebody else."""
        changes = [{"Action": action, "ResourceRecordSet": record_set} for record_set in record_sets]
        self.api.change_resource_record_sets(HostedZoneId=self.zone, ChangeBatch={"Changes": changes})


class WeightsBench(Route53Bench):
    """Three weighted records."""

    def __init__(self, world: AwsWorld, shell: Mapping[str, str], ttl: int = 60) -> None:
        super().__init__(world, shell, ttl)
        self.start = {"mx1": Intake(weight=100), "mx2": Intake(weight=50), "mx3": Intake(weight=0)}
        self.shifted = {"mx1": Intake(weight=0), "mx2": Intake(weight=200)}
        self.switch = Route53WeightsSwitch(driver="route53-weights", zone=self.zone, name="mx.example.com", names=NAMES)
        self.change("CREATE", *(self.record(name, to.weight) for name, to in self.start.items()))

    def record(self, name: str, weight: int, **more: Any) -> dict[str, Any]:
        """A member's record."""
        values = {"TTL": self.ttl, "ResourceRecords": [{"Value": ADDRESSES[name]}]}
        return {"Name": "mx.example.com", "Type": "A", "SetIdentifier": NAMES[name], "Weight": weight, **values, **more}

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        self.change("UPSERT", *(self.record(name, to.weight) for name, to in changes.items()))


class FailoverBench(Route53Bench):
    """A primary and a secondary record."""

    def __init__(self, world: AwsWorld, shell: Mapping[str, str], ttl: int = 60) -> None:
        super().__init__(world, shell, ttl)
        self.start = {"mx1": Intake(weight=1), "mx2": Intake(weight=0)}
        self.shifted = {"mx1": Intake(weight=0), "mx2": Intake(weight=1)}
        self.switch = Route53FailoverSwitch(
            driver="route53-failover", zone=self.zone, name="mx.example.com", names=NAMES
        )
        self.change("CREATE", *(self.record(name, to.weight) for name, to in self.start.items()))

    def record(self, name: str, weight: int) -> dict[str, Any]:
        """A member's record."""
        values = {"TTL": self.ttl, "ResourceRecords": [{"Value": ADDRESSES[name]}]}
        role = "PRIMARY" if weight else "SECONDARY"
        return {"Name": "mx.example.com", "Type": "A", "SetIdentifier": NAMES[name], "Failover": role, **values}

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``: who changes one must change the other, as there is one of each role."""
        (name, to), *_ = changes.items()
        self.change("UPSERT", *(self.record(one, to.weight if one == name else 1 - to.weight) for one in self.start))
