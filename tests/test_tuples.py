"""A class below our NamedTuple is what typing.NamedTuple would make of it."""

from __future__ import annotations

import typing

from kexec_hook.tuples import NamedTuple


class Ours(NamedTuple):
    """Two parts."""

    name: str
    size: int | None = 0

    @property
    def shown(self) -> str:
        return f"{self.name} {self.size}"

    def __str__(self) -> str:
        return self.shown


class Typings(typing.NamedTuple):
    """Two parts."""

    name: str
    size: int | None = 0

    @property
    def shown(self) -> str:
        return f"{self.name} {self.size}"

    def __str__(self) -> str:
        return self.shown


def test_parts_are_given_by_place_by_name_or_not_at_all() -> None:
    assert Ours("a") == Ours(name="a", size=0) == ("a", 0)
    assert Ours._field_defaults == Typings._field_defaults == {"size": 0}
    assert Ours._fields == Typings._fields


def test_what_the_class_says_of_itself_is_kept() -> None:
    for name in ("__module__", "__doc__"):
        assert getattr(Ours, name) == getattr(Typings, name)
    assert Ours.__qualname__ == "Ours"
    assert repr(Ours("a")) == "Ours(name='a', size=0)"
    assert (Ours("a").shown, str(Ours("a"))) == ("a 0", "a 0")
    assert Ours("a")._replace(size=2).shown == "a 2"


def test_a_class_without_text_of_its_own_has_that_of_its_parts() -> None:
    class Bare(NamedTuple):
        name: str
        size: int

    assert Bare.__doc__ == "Bare(name, size)"


def test_annotations_are_not_compiled() -> None:
    assert Ours.__annotations__ == {"name": "str", "size": "int | None"}
