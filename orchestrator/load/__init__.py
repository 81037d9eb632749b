"""Text to model: every problem of a file at once, each with its place.

::

    bytes ─ document ─▶ nodes ─ insert ─▶ nodes ─ schema ─▶ model ─ rules ─▶ loaded
                          parameters, references     │                │
                                                     └─── problems ◀──┘   one InputError, sorted by place

* ``document`` reads YAML 1.2 into ``node`` s, which know where each key and value stands; it has caps, so that no
  file can cost more than it is worth.
* ``insert`` puts parameters and references in: ``${site}``, ``${env:NAME}``; ``parameters`` binds what is given.
* ``schema`` makes the pydantic model, and of pydantic's errors sentences for people.
* ``rules`` and ``inventory`` know what a schema cannot say: names that must exist, orders, limits.
* ``problems`` collects what is wrong and shows it with the line it stands in.

A value that could not be found (a parameter that is not given) is *unknown*: it is reported once, where it is
missing, and nothing that follows from it is.
"""
