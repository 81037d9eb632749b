"""``python -m orchestrator`` is ``failover``."""

from orchestrator.cli.main import main

main()
