"""failover: runbooks that move live traffic off a site, and bring it back.

Data flows one way, and only one room touches the world::

    runbook.yaml ┐                observe (reads only)                converge (the only writes)
    inventory    ├─ load ─▶ model ─▶ planning ───────▶ engine ──────────▶ actions ─▶ ports ─▶ adapters ─▶ HAProxy,
    parameters   ┘                                     │  ▲                                              Postfix, …
                                                       ▼  │ gates
                                                    journal ◀── checks ◀── probes
                                                       └──▶ report

A layer imports only from the layers below it (checked by import-linter, see ``pyproject.toml``)::

    cli > wiring > lab | adapters | report > load | planning | engine | journal
        > actions | checks > ports | status > model > errors

* ``model`` holds frozen values; nothing in it does anything.
* ``load`` turns text into a model or into a list of problems with their places; ``load.lint`` finds the unwise.
* ``planning`` observes and decides; it never writes.
* ``engine`` is the only place that calls ``Action.converge``; it knows actions, the journal and a clock.
* ``actions`` and ``checks`` speak to ``ports`` only; ``adapters`` implement the ports for real systems.
* ``wiring`` is the composition root: a real run and a test differ only in the objects that it hands over.
* ``cli`` is the only place that prints.
"""

__version__ = "0.1.0"
