"""Real HAProxy and Postfix sites on loopback, the load on them and its ledger.

::

    clients (load.py) ──▶ edge HAProxy ──▶ ord-mx1 ord-mx2 │ iad-mx1 iad-mx2 │ dfw-mx1 dfw-mx2 ──▶ sink (sink.py)
       │ accepted           │ smtp, path-<site>      each a Postfix with its gate                    │ arrived
       └───────────────────────────────▶ ledger (ledger.py) ◀────────────────────────────────────────┘

One detached supervisor (``supervisor.py``) owns every process; each of them dies with it. ``client.Lab`` talks to it
over a unix socket. Nothing listens on anything but loopback, and no port is fixed, so labs can run side by side.
"""
