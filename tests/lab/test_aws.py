"""A run by the command line against a moto server: a process of its own, behind URLs from the inventory."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.haproxy_bench import free_port

pytestmark = pytest.mark.lab

RUNBOOK = """
runbook: leave
parameters: {from: {type: site}, to: {type: site}}
guards: [{headroom: {pool: smtp, at_least: 1.3}}]
steps:
  - {id: shift, do: traffic.shift, with: {pool: smtp, from: "${from}", to: "${to}", by: [25%, 100%]}}
"""
INVENTORY = """
sites:
  ord: {{aws: {{region: us-east-1, endpoint: "{url}", assume_role: "arn:aws:iam::123456789012:role/failover"}}}}
  iad: {{}}
pools:
  smtp:
    protocol: smtp
    address: mx.example.com:25
    switch: {{driver: elbv2-weights, site: ord, forward: "{listener}", names: {{mx-ord: blue, mx-iad: green}}}}
    demand: 100/s
    test_mail: {{sender: p@example.com, recipient: p@example.com}}
    sites:
      ord: {{members: [mx-ord], capacity: 400/s, address: "{mail}"}}
      iad: {{members: [mx-iad], capacity: 400/s, address: "{mail}"}}
"""


class MailHost(socketserver.StreamRequestHandler):
    """A mail host that takes everything."""

    def handle(self) -> None:
        """One session."""
        self._say("220 here")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self._say("354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
            self._say("221 bye" if verb == b"QUIT" else "250 fine")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    """Its sessions end with their clients."""

    daemon_threads = True
    block_on_close = False


@pytest.fixture
def mail() -> Iterator[str]:
    """Where the mail of both sites arrives."""
    with MailServer(("127.0.0.1", 0), MailHost) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a moto server."""
    port = free_port()
    log = (tmp_path / "moto.log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **KEYS})
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 30
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{url}/moto-api/", timeout=2).close()
                break
            assert process.poll() is None, (tmp_path / "moto.log").read_text()
            assert time.monotonic() < end, "moto does not answer"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def made(url: str) -> tuple[Any, str]:
    """A client, and the listener that splits traffic half and half between blue and green."""
    import boto3

    def client(service: str) -> Any:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, region_name="us-east-1", endpoint_url=url, **keys)

    ec2, elbv2 = client("ec2"), client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    balancer = elbv2.create_load_balancer(Name="edge", Type="network", Subnets=[subnet])["LoadBalancers"][0]
    groups = []
    for number, name in enumerate(("blue", "green")):
        group = elbv2.create_target_group(Name=name, Protocol="TCP", Port=25, VpcId=vpc, TargetType="ip")
        groups.append(group["TargetGroups"][0]["TargetGroupArn"])
        elbv2.register_targets(TargetGroupArn=groups[-1], Targets=[{"Id": f"10.0.0.{10 + number}"}])
    split = {"TargetGroups": [{"TargetGroupArn": arn, "Weight": 50} for arn in groups]}
    listener = elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="TCP",
        Port=25,
        DefaultActions=[{"Type": "forward", "ForwardConfig": split}],
    )
    return elbv2, listener["Listeners"][0]["ListenerArn"]


def weights(elbv2: Any, listener: str) -> dict[str, int]:
    """By target group, as AWS has them."""
    action = elbv2.describe_listeners(ListenerArns=[listener])["Listeners"][0]["DefaultActions"][0]
    return {group["TargetGroupArn"].split("/")[1]: group["Weight"] for group in action["ForwardConfig"]["TargetGroups"]}


def failover(folder: Path, *arguments: str) -> tuple[int, str]:
    """Give a command as a user does; its exit code and all that it says."""
    environment = {**os.environ, **KEYS, "FAILOVER_STATE": str(folder / "state")}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_run_moves_traffic_at_the_endpoint_of_the_inventory(tmp_path: Path, server: str, mail: str) -> None:
    """Plan, run and undo by the command line, as an assumed role, against the URL that the site names."""
    elbv2, listener = made(server)
    (tmp_path / "inventory.yaml").write_text(INVENTORY.format(url=server, listener=listener, mail=mail))
    (tmp_path / "runbook.yaml").write_text(RUNBOOK)
    given = (str(tmp_path / "runbook.yaml"), "-i", str(tmp_path / "inventory.yaml"), "-p", "from=ord", "-p", "to=iad")
    code, said = failover(tmp_path, "plan", *given, "--json")
    assert code == 0, said
    assert weights(elbv2, listener) == {"blue": 50, "green": 50}, "a plan touches nothing"
    code, said = failover(tmp_path, "run", *given, "--json")
    assert code == 0, said
    assert weights(elbv2, listener)["blue"] == 0
    run = json.loads(said.splitlines()[-1])["run"]
    code, said = failover(tmp_path, "undo", run, "--at-once")
    assert code == 0, said
    assert weights(elbv2, listener) == {"blue": 50, "green": 50}


def test_a_server_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    """Nobody at the URL: the plan says so in one line, without a traceback."""
    arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/net/a/1/2"
    text = INVENTORY.format(url=f"http://127.0.0.1:{free_port()}", listener=arn, mail="127.0.0.1:25")
    (tmp_path / "inventory.yaml").write_text(text)
    (tmp_path / "runbook.yaml").write_text(RUNBOOK)
    given = (str(tmp_path / "runbook.yaml"), "-i", str(tmp_path / "inventory.yaml"), "-p", "from=ord", "-p", "to=iad")
    code, said = failover(tmp_path, "plan", *given)
    assert code == 1
    assert "Could not connect to the endpoint URL" in said
    assert "Traceback" not in said
