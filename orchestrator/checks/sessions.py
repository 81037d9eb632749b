"""The probe ``sessions``: how many client connections the switch carries."""

from __future__ import annotations

from orchestrator.errors import OutsideError
from orchestrator.model.check import Aim, Sample
from orchestrator.ports import Outside


class SessionsProbe:
    """Adds up what the switch reports for the members aimed at."""

    def __init__(self, aim: Aim, outside: Outside) -> None:
        self._aim = aim
        self._outside = outside
        pool = outside.inventory.pools[aim.pool]
        sites = (aim.site,) if aim.site else tuple(pool.sites)
        self._members = tuple(member for site in sites for member in pool.members(site))

    async def sample(self) -> Sample:
        """One reading; broken where the switch cannot be read or does not know a member."""
        where = str(self._aim)
        try:
            readings = await self._outside.switch(self._aim.pool).read()
        except OutsideError as error:
            return Sample(ok=False, where=where, reason=str(error), broken=True)
        missing = [member for member in self._members if member not in readings]
        if missing:
            return Sample(ok=False, where=where, reason=f"the switch has no {', '.join(missing)}", broken=True)
        counts = [readings[member].sessions for member in self._members]
        if None in counts:
            return Sample(ok=False, where=where, reason="the switch counts no sessions", broken=True)
        return Sample(ok=True, value=float(sum(count or 0 for count in counts)), where=where)
