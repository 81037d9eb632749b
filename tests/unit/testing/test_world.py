"""The world of a test as a whole: what it changes, and that nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.unit.testing.mail_front import REGION, mail_front

MX1 = ("10.0.1.11", 25)


CODE = (type, ModuleType, classmethod, staticmethod, property)


def _everything() -> dict[str, Any]:
    """All code of moto and botocore that is loaded, by its name, botocore's hooks, and the environment."""
    from botocore.handlers import BUILTIN_HANDLERS

    found: dict[str, Any] = {"hooks": list(BUILTIN_HANDLERS), "environment": dict(os.environ)}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] not in {"moto", "botocore", "boto3"} or module is None:
            continue
        names = {name: module, **{f"{name}.{key}": it for key, it in vars(module).items() if isinstance(it, type)}}
        for owner, it in names.items():
            found |= {
                f"{owner}.{key}": each for key, each in vars(it).items() if isinstance(each, CODE) or callable(each)
            }
    return found


def _use(world: AwsWorld) -> None:
    front = mail_front()
    front.register(MX1)
    world.faults.inject("throttling", "elbv2", "DescribeTargetHealth")
    assert front.states() == {MX1: "initial"}


def _changed(was: dict[str, Any]) -> set[str]:
    now = _everything()
    return {key for key in was.keys() | now.keys() if was.get(key) is not now.get(key) and was.get(key) != now.get(key)}


def test_plain_moto_is_as_before() -> None:
    """After the block every function, class and hook of moto and botocore is what it was, and so is the environment."""
    with aws_world() as world:
        _use(world)  # everything is loaded now
    was = _everything()
    with aws_world() as world:
        _use(world)
        inside = _changed(was)
    assert len(was) > 10_000
    assert {"moto.elbv2.models.FakeTargetGroup.register", "botocore.endpoint.Endpoint._do_get_response"} <= inside
    assert _changed(was) == set()


def test_plain_moto_behaves_as_before() -> None:
    """After the block moto says at once that a target is healthy: the overlay is gone."""
    with aws_world() as world:
        _use(world)
    with mock_aws():
        front = mail_front()
        front.register(MX1)
        assert front.states() == {MX1: "healthy"}


def test_a_world_that_breaks_is_removed_too() -> None:
    """An exception in the block leaves nothing behind, and the next world opens."""
    was = dict(os.environ)
    with pytest.raises(ZeroDivisionError), aws_world():
        raise ZeroDivisionError
    assert dict(os.environ) == was
    with aws_world():
        pass


def test_there_is_one_world_at_a_time() -> None:
    """A second world is refused while one is open: what it changes belongs to the process."""
    with aws_world(), pytest.raises(RuntimeError, match="one is open already"), aws_world():
        pass


def test_worlds_know_nothing_of_each_other() -> None:
    """A new world is empty, and its clock begins at the same moment."""
    starts = []
    for _ in range(2):
        with aws_world() as world:
            starts.append(world.clock.now())
            assert boto3.client("elbv2", region_name=REGION).describe_load_balancers()["LoadBalancers"] == []
            _use(world)
            world.clock.advance(60)
    assert starts[0] == starts[1]


def test_no_credentials_of_this_machine_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile, keys or an endpoint in the environment are out of sight within the block, and there again after it."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "real")
    monkeypatch.setenv("AWS_ENDPOINT_URL_ELBV2", "http://127.0.0.1:1")
    with aws_world():
        found = boto3.Session().get_credentials()
        assert found is not None
        assert found.access_key == "testing"
        assert boto3.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert os.environ["AWS_PROFILE"] == "production"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "real"
    assert os.environ["AWS_ENDPOINT_URL_ELBV2"] == "http://127.0.0.1:1"


def test_nothing_is_loaded_before_it_is_used() -> None:
    """Importing the overlay loads neither moto nor boto3."""
    code = "import sys, orchestrator.testing.overlay; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert not {"moto", "boto3", "botocore"} & set(done.stdout.split())


def test_waiters_take_the_worlds_time() -> None:
    """A waiter of botocore moves the clock instead of waiting, and sees what comes meanwhile."""
    with aws_world() as world:
        front = mail_front()
        front.register(MX1)
        front.elbv2.get_waiter("target_in_service").wait(TargetGroupArn=front.group)
        assert world.clock.monotonic() == pytest.approx(30, abs=15)
        assert front.states() == {MX1: "healthy"}


@pytest.mark.lab
def test_it_works_behind_a_server_of_this_process() -> None:
    """A server of moto in this process shows the same states, and its clients meet the same faults."""
    from moto.server import ThreadedMotoServer

    with aws_world() as world:
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            front = mail_front(endpoint_url=f"http://{host}:{port}")
            fault = world.faults.inject("throttling", "elbv2", "RegisterTargets", times=2)
            front.register(MX1)
            assert fault.hits == 2
            assert front.states() == {MX1: "initial"}
            world.clock.advance(20)
            assert front.states() == {MX1: "healthy"}
            front.deregister(MX1)
            assert front.states() == {MX1: "draining"}
        finally:
            server.stop()
