"""How a run ended: one sentence, the reason, what each step did, what the gates found, and what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.text import Text

from orchestrator.model.check import Judgement
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.model.units import format_duration
from orchestrator.report.account import ACTIVE, BROKEN, Account, Finding
from orchestrator.report.advice import NOBODYS, Advice, advice_when_left, waits_for_approval
from orchestrator.report.sheet import Page, Sheet, style_of
from orchestrator.report.tree import JUDGEMENT_STYLES, RUN_STYLES, advice_lines
from orchestrator.status import RunState, RunStatus, StepStatus

_EXIT: Final[dict[RunStatus, int]] = {
    RunStatus.DONE: 0,
    RunStatus.REFUSED: 1,
    RunStatus.UNDONE: 3,
    RunStatus.STUCK: 4,
}
_SETTLED: Final = frozenset({StepStatus.DONE, StepStatus.NOTHING})
"""What a run that is resumed does not do again. What was only taken back, in a run that is held, it does."""
_URGENCY: Final = {Judgement.FAIL: 0, Judgement.UNKNOWN: 1, Judgement.PASS: 2}


def exit_code(state: RunState) -> int:
    """0 done; 1 refused; 3 failed and undone; 4 stuck; 5 everything that can be resumed."""
    return _EXIT.get(state.status, 5)


def exit_code_of_undo(state: RunState) -> int:
    """As ``exit_code``, for ``failover undo``: there a run that is undone is what was asked for, so 0."""
    return 0 if state.status is RunStatus.UNDONE else exit_code(state)


def summary(plan: Plan, entries: Iterable[Entry], run: str, typed: str = "") -> Page:
    """The closing summary of the run called ``run``: a rich renderable that fits any width without wrapping tables.

    ``typed`` is the run as a person types it in a command, where that is more than its name.
    """
    account = Account(plan, entries, typed or run)
    account.run = run
    return Page(lambda sheet: _lines(account, sheet))


def ending(account: Account) -> str:
    """How it ended, in one sentence that says what state the world is in."""
    state, left = account.state, _join(account.left_changed())
    match state.status:
        case RunStatus.DONE:
            return _done(account)
        case RunStatus.UNDONE:
            how = _why_undone(account)
            if left:
                return f"{how}, except {left}: look there."
            if instead := _join(_replaced(account)):
                return f"{how}, with plan B for {instead}: the world is as the runbook's plan B leaves it."
            return f"{how}: the world is as before."
        case RunStatus.REFUSED:
            return f"{'Aborted' if account.aborted else 'Refused'}: nothing was touched."
        case RunStatus.STUCK:
            return _stuck(account)
        case RunStatus.HELD:
            waiting = _join(waits_for_approval(account.plan, state))
            return f"Held: {waiting} waits for approval." if waiting else "Held: it can be resumed or undone."
        case _:
            return _unfinished(account)


def _why_undone(account: Account) -> str:
    if account.aborted:
        return "Aborted and undone"
    return "Undone as asked" if account.asked_back else "Failed and undone"


def _done(account: Account) -> str:
    failed = [name for name, step in account.state.steps.items() if step.status in BROKEN]
    if failed:
        return f"Done, but {_join(failed)} failed, and the runbook says to continue."
    if all(account.state.step(step.id).status is StepStatus.NOTHING for step in account.plan.forward):
        return "Done: everything was already as it should be."
    left = account.left_changed()
    return f"Done. It leaves changed, as planned: {_join(left)}." if left else "Done."


def _replaced(account: Account) -> list[str]:
    """The steps that could not be undone, and whose plan B was done."""
    return list(dict.fromkeys(step.instead_of for step in account.steps if step.instead_of is not None))


def _stuck(account: Account) -> str:
    at = [name for name, step in account.state.steps.items() if step.status is StepStatus.STUCK]
    way = " undoing" if account.state.undoing else " at"
    where = f"{way} {_join(at)}" if at else ""
    return f"Stuck{where}: a person must look, and repair what the reason names."


def _unfinished(account: Account) -> str:
    active = [step.id for step in account.steps if account.state.step(step.id).status in ACTIVE]
    where = f" during {_join(active)}" if active else ""
    if account.state.status is RunStatus.INTERRUPTED:
        return f"Interrupted{where}: it stands still there until it is resumed or undone."
    return f"Not finished{where}: the journal ends while it is {account.state.status}."


def remaining(account: Account) -> list[str]:
    """The steps that are still ahead: to be undone where the run is on its way back, else to be done."""
    if account.state.undoing:
        return account.left_changed()
    return [step.id for step in account.plan.forward if account.state.step(step.id).status not in _SETTLED]


def _lines(account: Account, sheet: Sheet) -> Iterator[Text]:
    state = account.state
    for part in sheet.wrap(ending(account), 0):
        yield Text(part, f"bold {RUN_STYLES[state.status]}")
    yield from _reasons(account, sheet)
    yield Text()
    yield from _steps(account, sheet)
    yield from _gates(account, sheet)
    if drains := [Text(part) for line in _drains(account) for part in sheet.wrap(line, 2)]:
        yield from (Text(), Text("drain", "dim"), *drains)
    if state.status not in {RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED}:
        yield from (Text(), Text("still to undo" if account.state.undoing else "still to do", "dim"))
        yield from (Text(part) for part in sheet.wrap(_join(remaining(account)) or "nothing", 2))
    if following := _next(account, sheet):
        yield from (Text(), Text("next", "dim"), *following)


def _reasons(account: Account, sheet: Sheet) -> Iterator[Text]:
    """The first failure; then what it is stuck at, the run's own reason, and what had failed before, where they say
    something more.
    """
    said = [*account.troubles[:1], *(trouble for trouble in account.troubles[1:] if trouble.is_stuck)]
    for trouble in said:
        yield from (Text(part, "red") for part in sheet.wrap(str(trouble), 2))
    own = _own_reason(account)
    if own and not any(own in trouble.reason or trouble.reason in own for trouble in said):
        yield from (Text(part) for part in sheet.wrap(own, 2))
    told = {own, *(trouble.reason for trouble in said)} - {""}
    earlier = [one for one in account.earlier if not any(one.reason in text or text in one.reason for text in told)]
    for trouble in earlier[:1]:
        yield from (Text(part) for part in sheet.wrap(f"earlier: {trouble}", 2))


def _own_reason(account: Account) -> str:
    """The run's reason, where it has ended or somebody has stopped it."""
    waits = account.state.status is RunStatus.DONE or waits_for_approval(account.plan, account.state)
    return "" if waits else account.state.reason


def _steps(account: Account, sheet: Sheet) -> Iterator[Text]:
    rows = [[Text(word, "dim") for word in ("step", "status", "took", "result")]]
    for planned in account.steps:
        step = account.state.step(planned.id)
        took = account.took(planned.id, account.state.at)
        rows.append(
            [
                Text(sheet.say(planned.id)),
                Text(step.status, style_of(step.status)),
                Text("" if took is None else format_duration(took)),
                Text(sheet.say(account.detail(planned))),
            ]
        )
    total = Text(format_duration(account.elapsed(account.state.at)))
    rows.append([Text("run"), Text(account.state.status, RUN_STYLES[account.state.status]), total, Text()])
    yield from sheet.table(rows, indent=2)


def _gates(account: Account, sheet: Sheet) -> Iterator[Text]:
    """Each gate and guard with how often it was asked: those that failed with their reasons in full, first."""
    asked: dict[tuple[str, str, str], list[Finding]] = {}
    for planned in account.steps:
        for one in account.step(planned.id).findings:
            asked.setdefault((planned.id, one.gate, one.verdict.check), []).append(one)
    for one in account.guards:
        asked.setdefault(("", one.gate, one.verdict.check), []).append(one)
    if not asked:
        return
    yield from (Text(), Text("gates", "dim"))
    passed = []
    for (step, gate, check), found in asked.items():
        worst = min(found, key=lambda one: _URGENCY[one.verdict.judgement])
        row = _gate(" ".join(part for part in (step, gate, check) if part), found, worst.verdict.judgement, sheet)
        if worst.verdict.passed:
            passed.append([*row, Text(sheet.say(found[-1].verdict.reason), "dim")])
            continue
        yield from sheet.table([row], indent=2)
        yield from (Text(part) for part in sheet.wrap(worst.verdict.reason, 4))
    yield from sheet.table(passed, indent=2)


def _gate(name: str, asked: Sequence[Finding], judgement: Judgement, sheet: Sheet) -> list[Text]:
    same = sum(found.verdict.judgement is judgement for found in asked)
    count = f"{same} of {len(asked)}"
    return [Text(judgement, JUDGEMENT_STYLES[judgement]), Text(count, "dim"), Text(sheet.say(name))]


def _drains(account: Account) -> Iterator[str]:
    """What each drain did to the sessions, from its last progress."""
    for planned in account.steps:
        numbers = account.step(planned.id).numbers
        if planned.step.do != "smtp.drain" or planned.returns is not None or "told" not in numbers:
            continue
        left = f", {numbers['sessions']:g} left" if numbers.get("sessions") else ""
        yield (
            f"{planned.id}: {numbers.get('closed', 0):g} sessions closed idle, {numbers['told']:g} told 421, "
            f"{numbers.get('cut', 0):g} cut at the deadline{left}, {format_duration(numbers.get('seconds', 0))}"
        )


def _next(account: Account, sheet: Sheet) -> list[Text]:
    if orders := advice_when_left(account):
        return advice_lines(orders, sheet)
    if account.typed == NOBODYS:
        return []
    if account.state.status is RunStatus.REFUSED and not account.aborted:
        return [Text("  remove the reason, then give the same command again")]
    if account.state.status is RunStatus.UNDONE and account.troubles:
        return advice_lines([Advice(f"failover status {account.typed}", "every step again, with its verdicts")], sheet)
    return []


def _join(names: Sequence[str]) -> str:
    return " and ".join(", ".join(names).rsplit(", ", 1)) if names else ""
