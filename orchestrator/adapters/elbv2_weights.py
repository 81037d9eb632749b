"""The weighted target groups of an Application or Network Load Balancer as a traffic switch.

Source: Elastic Load Balancing API, ``ForwardActionConfig``, ``ModifyListener`` and ``ModifyRule``; Application Load
Balancer User Guide, "Listener rules", "Forward actions".
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from orchestrator.adapters.aws import READ_BACK_PAUSE, Aws, read_back
from orchestrator.adapters.elbv2 import Target, parse_arn, refuse_unknown, targets_of
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.switch import Elbv2WeightsSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

Actions: TypeAlias = Sequence[Mapping[str, Any]]
"""A listener's default actions or a rule's actions, as AWS shows them."""

_ALONE: Final = 1
"""The weight of the only target group of a forward action, which AWS gives it by itself."""


class Elbv2WeightsDriver:
    """``ports.TrafficSwitch`` on one forward action; the members are its target groups.

    AWS replaces all actions at once and knows no condition for a write: what somebody else changes between our last
    look and the write, some milliseconds later, is lost. What is changed before that stays, what is changed after it
    is said.
    """

    def __init__(
        self, switch: Elbv2WeightsSwitch, members: Sequence[str], aws: Aws, pause: float = READ_BACK_PAUSE
    ) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._aws = aws
        self._pause = pause
        arn = parse_arn(switch.forward, "listener", "listener-rule")
        self._region = arn.region
        self._is_rule = arn.kind == "listener-rule"

    @property
    def max_weight(self) -> int:
        """AWS's own (Elastic Load Balancing API, ``TargetGroupTuple``)."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member as it is now; it is up where at least one of its targets is, and healthy as far as they are.

        Raises:
            UnfitError: a member is no target group of the forward action, or there is no such action.
        """
        weights = _weights(await self._actions(), self._switch.forward)
        groups = self._groups(weights, self._members)
        targets = await asyncio.gather(*(targets_of(self._aws, group) for group in groups.values()))
        return {
            name: MemberReading(
                intake=Intake(weight=weights[groups[name]]),
                up=any(target.up for target in found),
                healthy=_healthy(found),
                sessions=None,
            )
            for name, found in zip(groups, targets, strict=True)
        }

    async def elsewhere(self) -> int:
        """The weights of the forward action's other target groups, as of one for a canary."""
        weights = _weights(await self._actions(), self._switch.forward)
        ours = self._groups(weights, self._members).values()
        return sum(weight for arn, weight in weights.items() if arn not in ours)

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Give these members these weights, all in one write; everything else of the actions stays as it is.

        Raises:
            RejectedError: a weight or an admin state that cannot be, AWS refused it, or somebody else wrote meanwhile.
            UnfitError: a member is no target group of the forward action.
        """
        refuse_unknown(changes, self._members, f"the pool of {self._switch.forward}")
        self._refuse_impossible(changes)
        before = await self._actions()
        groups = self._groups(_weights(before, self._switch.forward), self._members)
        wanted = {groups[name]: to.weight for name, to in changes.items()}
        after = _with_weights(before, wanted)
        if _essence(after) == _essence(before):
            return
        await self._write(after)
        now = await read_back(self._actions, lambda seen: _essence(seen) == _essence(after), self._pause)
        self._compare(now, after, {groups[name]: name for name in changes}, wanted)

    async def settling(self) -> str:
        """Nothing: the load balancer's nodes take new weights in seconds. Clients held by stickiness stay as long."""
        return ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None are listed.

        Raises:
            UnfitError: always.
        """
        raise _no_sessions()

    async def close(self, session: Session) -> None:
        """None can be cut.

        Raises:
            UnfitError: always.
        """
        raise _no_sessions()

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: the actions as they are then, with other weights, written back at once."""
        if not weights:
            return []
        arn = self._switch.forward
        word, field = ("rule", "Rules[0].Actions") if self._is_rule else ("listener", "Listeners[0].DefaultActions")
        look = self._aws.by_hand(
            "elbv2", f"describe-{word}s", f"--{word}-arns", arn, "--query", self._query(field, weights),
            "--output", "json", region=self._region,
        )  # fmt: skip
        option = "--actions" if self._is_rule else "--default-actions"
        change = self._aws.by_hand("elbv2", f"modify-{word}", f"--{word}-arn", arn, region=self._region)
        return [f'{change} {option} "$({look})"']

    def _query(self, field: str, weights: Mapping[str, int]) -> str:
        """A JMESPath expression that yields the actions with these weights."""
        cases = [f"({self._condition(name)} && `{weight}`)" for name, weight in weights.items()]
        groups = f"TargetGroups[].merge(@, {{Weight: {' || '.join([*cases, 'Weight'])}}})"
        forward = f"{{ForwardConfig: merge(ForwardConfig, {{TargetGroups: ForwardConfig.{groups}}})}}"
        login = "{AuthenticateOidcConfig: merge(AuthenticateOidcConfig, {UseExistingClientSecret: `true`})}"
        action = (
            f'(Type==`"forward"` && merge(@, {forward})) || (Type==`"authenticate-oidc"` && merge(@, {login})) || @'
        )
        return f"map(&({action}), {field})"

    def _condition(self, member: str) -> str:
        called = self._switch.name_of(member)
        if called.startswith("arn:"):
            return f"TargetGroupArn==`{json.dumps(called)}`"
        return f"contains(TargetGroupArn, `{json.dumps(f':targetgroup/{called}/')}`)"

    async def _actions(self) -> Actions:
        arn = self._switch.forward
        if not self._is_rule:
            reply = await self._aws.call("elbv2", "describe_listeners", region=self._region, ListenerArns=[arn])
            defaults: Actions = reply["Listeners"][0]["DefaultActions"]
            return defaults
        reply = await self._aws.call("elbv2", "describe_rules", region=self._region, RuleArns=[arn])
        rule = reply["Rules"][0]
        if rule.get("IsDefault"):
            raise UnfitError(
                f"cannot use {arn}: it is a listener's default rule, which AWS lets nobody modify as a rule",
                remedy="name the listener's ARN as 'forward'",
            )
        actions: Actions = rule["Actions"]
        return actions

    async def _write(self, actions: Actions) -> None:
        arn, region = self._switch.forward, self._region
        if self._is_rule:
            await self._aws.call("elbv2", "modify_rule", region=region, RuleArn=arn, Actions=actions)
        else:
            await self._aws.call("elbv2", "modify_listener", region=region, ListenerArn=arn, DefaultActions=actions)

    def _groups(self, there: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
        """The ARN of each member's target group.

        Raises:
            UnfitError: the forward action does not have them all.
        """
        arns = {called: arn for arn in there for called in (arn, parse_arn(arn, "targetgroup").name)}
        missing = [name for name in wanted if self._switch.name_of(name) not in arns]
        if missing:
            listed = ", ".join(called for called in arns if not called.startswith("arn:"))
            raise UnfitError(
                f"cannot find {', '.join(missing)} in the forward action of {self._switch.forward}: "
                f"its target groups are {listed}",
                remedy="correct the members or 'names' in the inventory, or add the target groups with weight 0",
            )
        return {name: arns[self._switch.name_of(name)] for name in wanted}

    def _refuse_impossible(self, changes: Mapping[str, Intake]) -> None:
        wrong = [
            f"{name} to {to}" for name, to in changes.items() if to.weight > self.max_weight or to.admin != "ready"
        ]
        if wrong:
            raise RejectedError(
                f"cannot set {', '.join(wrong)} in {self._switch.forward}: a target group has a weight of 0 to "
                f"{self.max_weight}, and no admin state",
                remedy="take its weight away instead",
            )

    def _compare(self, now: Actions, asked: Actions, names: Mapping[str, str], wanted: Mapping[str, int]) -> None:
        weights = _weights(now, self._switch.forward)
        wrong = [
            f"{names[arn]} has weight {weights[arn]} instead of {weight}" if arn in weights else f"{names[arn]} is gone"
            for arn, weight in wanted.items()
            if weights.get(arn) != weight
        ]
        if not wrong and _essence(now) != _essence(asked):
            wrong = ["somebody else changed its actions meanwhile, but not these weights"]
        if wrong:
            raise RejectedError(
                f"cannot set the weights of {self._switch.forward}: {'; '.join(wrong)}",
                remedy="look at its actions and who else writes them, then try again",
            )


def _forward(actions: Actions, where: str) -> Mapping[str, Any]:
    """The forward action: a listener or rule has one at most.

    Raises:
        UnfitError: it has none.
    """
    for action in actions:
        if action["Type"] == "forward":
            return action
    there = ", ".join(action["Type"] for action in actions)
    raise UnfitError(
        f"cannot use {where}: it forwards to no target group, its actions are {there}",
        remedy="name a listener or rule with a forward action as 'forward'",
    )


def _weights(actions: Actions, where: str) -> dict[str, int]:
    """The weights by the ARN of the target group."""
    forward = _forward(actions, where)
    groups = forward.get("ForwardConfig", {}).get("TargetGroups") or [{"TargetGroupArn": forward["TargetGroupArn"]}]
    return {group["TargetGroupArn"]: group.get("Weight", _ALONE) for group in groups}


def _with_weights(actions: Actions, weights: Mapping[str, int]) -> Actions:
    """The actions as they are to be written, with these weights."""
    written = [dict(copy.deepcopy(action)) for action in actions]
    for action in written:
        if action["Type"] == "forward":
            now = _weights([action], "")
            config = action.setdefault("ForwardConfig", {})
            config["TargetGroups"] = [
                {"TargetGroupArn": arn, "Weight": weights.get(arn, weight)} for arn, weight in now.items()
            ]
            action.pop("TargetGroupArn", None)  # only for a single target group, and then only another word for it
        elif action["Type"] == "authenticate-oidc":
            # AWS never shows the secret, and without this word it takes the action for one that has none.
            action["AuthenticateOidcConfig"]["UseExistingClientSecret"] = True
    return written


def _essence(actions: Actions) -> str:
    """What two descriptions of the same actions have in common."""
    kept = [dict(action) for action in _with_weights(actions, {})]
    for action in kept:
        if action["Type"] == "forward":
            config = action["ForwardConfig"]
            config["TargetGroups"].sort(key=lambda group: group["TargetGroupArn"])
            sticky = config.get("TargetGroupStickinessConfig", {})
            config["TargetGroupStickinessConfig"] = {"Enabled": False, **sticky}
    return json.dumps(kept, sort_keys=True, default=str)


def _healthy(targets: Iterable[Target]) -> float:
    """The share of the targets that are up; one that has only just come takes nothing from what the others carry."""
    judged = [target.up for target in targets if target.registered and target.state != "initial"]
    return sum(judged) / len(judged) if judged else 0.0


def _no_sessions() -> UnfitError:
    return UnfitError(
        "cannot list or cut the sessions of an Elastic Load Balancer: it shows none",
        remedy="use traffic.shift and traffic.drain with it, or drain at the mail hosts",
    )
