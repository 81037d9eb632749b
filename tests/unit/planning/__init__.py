"""Planning: from a runbook and what is seen to a plan that says what will happen, or why it must not."""
