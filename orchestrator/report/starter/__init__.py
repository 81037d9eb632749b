"""A runbook to start from, written for an inventory, with comments that teach. Pure: text comes out, nothing is read.

::

    inventory ─┬─ outline: what is moved where ─┐
               └─ means: what there is to do it ┴─▶ checks, guards, steps ─ page ─▶ the file's text, and notes

There is no template language: the pieces are YAML as it will stand in the file, and what differs between inventories
stands in its parameters.
"""
