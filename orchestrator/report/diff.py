"""A plan in every form in which it is read: text, a change ticket, a record for machines, and its refusal."""

from __future__ import annotations

from orchestrator.report.plan_markdown import plan_markdown
from orchestrator.report.plan_record import plan_record
from orchestrator.report.plan_text import plan_text
from orchestrator.report.plan_words import has_changes
from orchestrator.report.refusal import plan_refused, world_moved

__all__ = ["has_changes", "plan_markdown", "plan_record", "plan_refused", "plan_text", "world_moved"]
