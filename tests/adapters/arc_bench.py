"""Routing controls, and zones of a load balancer, in a world of AWS."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import boto3

from orchestrator.adapters.arc_routing import ArcRoutingDriver
from orchestrator.adapters.arc_zonal_shift import ArcZonalShiftDriver
from orchestrator.model.switch import ArcRoutingSwitch, ArcZonalShiftSwitch
from orchestrator.model.traffic import Intake
from orchestrator.testing.overlay import AwsWorld
from tests.adapters.aws_bench import AwsBench
from tests.adapters.switch_contract import Intakes

BALANCER = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/edge/0123456789abcdef"
ZONES = {"mx1": "use1-az1", "mx2": "use1-az2", "mx3": "use1-az4"}


class ControlsBench(AwsBench):
    """Three routing controls on two panels, of which at least one of the first two must be On."""

    writes = ("route53-recovery-cluster.UpdateRoutingControlStates",)
    refusal = "ValidationException"
    switch: ArcRoutingSwitch

    def __init__(self, world: AwsWorld, shell: Mapping[str, str]) -> None:
        super().__init__(world, shell)
        self.start = {"mx1": Intake(weight=1), "mx2": Intake(weight=1), "mx3": Intake(weight=0)}
        self.shifted = {"mx1": Intake(weight=0), "mx3": Intake(weight=1)}
        self.cluster = world.arc.routing
        self.names = {
            name: self.cluster.add_control(name, bool(to.weight), "far" if name == "mx3" else "near")
            for name, to in self.start.items()
        }
        self.cluster.add_rule("one-of-them", [self.names["mx1"], self.names["mx2"]])
        self.switch = ArcRoutingSwitch(driver="arc-routing", cluster=dict(self.cluster.endpoints), names=self.names)

    def driver(self) -> ArcRoutingDriver:
        """See ``Bench.driver``."""
        return ArcRoutingDriver(self.switch, list(self.start), self.aws, self.world.clock, Random(4))

    def called(self, member: str) -> str:
        """See ``AwsBench.called``."""
        return self.names[member]

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        return {name: Intake(weight=int(self.cluster.states()[arn])) for name, arn in self.names.items()}

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        region, url = next(iter(self.cluster.endpoints.items()))
        api = boto3.client("route53-recovery-cluster", region_name=region, endpoint_url=url)
        for name, to in changes.items():
            state = "On" if to.weight else "Off"
            api.update_routing_control_state(RoutingControlArn=self.names[name], RoutingControlState=state)


class ZonesBench(AwsBench):
    """A Network Load Balancer in three zones."""

    writes = tuple(f"arc-zonal-shift.{call}ZonalShift" for call in ("Start", "Update", "Cancel"))
    refusal = "ValidationException"
    switch: ArcZonalShiftSwitch

    def __init__(self, world: AwsWorld, shell: Mapping[str, str], resource: str = BALANCER) -> None:
        super().__init__(world, shell)
        self.start = dict.fromkeys(ZONES, Intake(weight=1))
        self.shifted = {"mx1": Intake(weight=1, admin="drain")}
        self.resource = resource
        self.shifts = world.arc.shifts
        self.shifts.add_resource(resource, *ZONES.values())
        self.api = boto3.client("arc-zonal-shift", region_name="us-east-1")
        self.switch = ArcZonalShiftSwitch(driver="arc-zonal-shift", resource=resource, names=ZONES)

    def driver(self) -> ArcZonalShiftDriver:
        """See ``Bench.driver``."""
        return ArcZonalShiftDriver(self.switch, list(self.start), self.aws, self.world.clock)

    def called(self, member: str) -> str:
        """See ``AwsBench.called``."""
        return ZONES[member]

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        weights = self.shifts.weights(self.resource)
        return {name: Intake(weight=1, admin="ready" if weights[zone] else "drain") for name, zone in ZONES.items()}

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        for name, to in changes.items():
            if to.admin == "drain":
                self.shift(name)
            else:
                self.api.cancel_zonal_shift(zonalShiftId=self.active()["zonalShiftId"])

    def shift(self, name: str, lasts: str = "2h") -> None:
        """Somebody else starts a shift."""
        self.api.start_zonal_shift(
            resourceIdentifier=self.resource, awayFrom=ZONES[name], expiresIn=lasts, comment="we try something"
        )

    def active(self) -> Mapping[str, str]:
        """The shift that there is."""
        (shift,) = self.api.list_zonal_shifts(resourceIdentifier=self.resource, status="ACTIVE")["items"]
        assert isinstance(shift, dict)
        return shift

    def left(self) -> float:
        """Seconds until it expires."""
        (shift,) = self.api.get_managed_resource(resourceIdentifier=self.resource)["zonalShifts"]
        return float(shift["expiryTime"].timestamp()) - self.world.clock.now()
