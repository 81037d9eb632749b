"""A listener of AWS Global Accelerator with three endpoint groups, in a world of AWS."""

from __future__ import annotations

from collections.abc import Mapping

import boto3

from orchestrator.adapters.global_accelerator import GlobalAcceleratorDriver
from orchestrator.model.switch import GlobalAcceleratorSwitch
from orchestrator.model.traffic import Intake
from orchestrator.testing.overlay import AwsWorld
from tests.adapters.aws_bench import AwsBench
from tests.adapters.switch_contract import Intakes

REGIONS = {"mx1": "us-east-1", "mx2": "eu-west-1", "mx3": "ap-south-1"}


class DialsBench(AwsBench):
    """Three regions with a load balancer each."""

    writes = ("global-accelerator.UpdateEndpointGroup",)
    refusal = "InvalidArgumentException"
    switch: GlobalAcceleratorSwitch

    def __init__(self, world: AwsWorld, shell: Mapping[str, str]) -> None:
        super().__init__(world, shell)
        self.start = {"mx1": Intake(weight=100), "mx2": Intake(weight=100), "mx3": Intake(weight=0)}
        self.shifted = {"mx3": Intake(weight=100), "mx1": Intake(weight=20)}
        self.api = boto3.client("globalaccelerator", region_name="us-west-2")
        made = self.api.create_accelerator(Name="edge", IdempotencyToken="1")["Accelerator"]
        ports = [{"FromPort": 25, "ToPort": 25}]
        listener = self.api.create_listener(
            AcceleratorArn=made["AcceleratorArn"], Protocol="TCP", PortRanges=ports, IdempotencyToken="1"
        )["Listener"]["ListenerArn"]
        self.switch = GlobalAcceleratorSwitch(driver="global-accelerator", listener=listener, names=REGIONS)
        self.groups = {name: self._group(listener, name) for name in self.start}
        world.clock.advance(60)

    def _group(self, listener: str, name: str) -> str:
        made = self.api.create_endpoint_group(
            ListenerArn=listener,
            EndpointGroupRegion=REGIONS[name],
            EndpointConfigurations=[{"EndpointId": f"nlb-{name}", "Weight": 7}],
            TrafficDialPercentage=float(self.start[name].weight),
            HealthCheckPort=2525,
            IdempotencyToken=name,
        )
        return str(made["EndpointGroup"]["EndpointGroupArn"])

    def driver(self) -> GlobalAcceleratorDriver:
        """See ``Bench.driver``."""
        return GlobalAcceleratorDriver(self.switch, list(self.start), self.aws, pause=0.0)

    def called(self, member: str) -> str:
        """See ``AwsBench.called``."""
        return self.groups[member]

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        listed = self.api.list_endpoint_groups(ListenerArn=self.switch.listener)["EndpointGroups"]
        dials = {one["EndpointGroupRegion"]: one["TrafficDialPercentage"] for one in listed}
        return {name: Intake(weight=int(dials[REGIONS[name]])) for name in self.start}

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        for name, to in changes.items():
            self.turn(name, to.weight)

    def turn(self, name: str, dial: float) -> None:
        """Turn a dial with somebody else's hand."""
        self.api.update_endpoint_group(EndpointGroupArn=self.groups[name], TrafficDialPercentage=float(dial))
