"""Changing models.yaml by program: `vllmctl set` and `unset`.

The door is `vllmctl.editing.change.change`. `edit` changes a text and is pure, with all that it
uses; `replace` puts a text into a file's place; `change` says which and whether it is right.
"""
