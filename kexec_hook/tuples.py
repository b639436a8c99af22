"""Values of several named parts: typing.NamedTuple without its work at every start.

typing compiles each annotation that is a string, which only mypy reads.  A dry run has a hundred such classes, and
needed a tenth more time for them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from collections import namedtuple

    class _Named(type):
        """Makes a namedtuple of each class below NamedTuple."""

        def __new__(cls, name, _, body):
            fields = body["__annotations__"]
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults)
            for key, value in body.items():
                setattr(made, key, value)
            return made

    NamedTuple = type.__new__(_Named, "NamedTuple", (), {})

__all__ = ["NamedTuple"]
