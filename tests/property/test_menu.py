"""Laws of the choice: which entry a value of `default` names."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from kexec_hook.grub.flavours import FLAVOURS, Flavour
from kexec_hook.grub.menu import choose, first_component, split_path
from kexec_hook.grub.script.source import Source, Span
from kexec_hook.grub.values import Code, Entry
from tests.property.scripts import LETTERS

NOWHERE = Source("x.cfg", "\n", [1])
FLAVOUR = st.sampled_from(sorted(FLAVOURS.values()))
_FORMS = ["0", "1", "2>1", "a b", "a>b", "a>>b", "x", "-1", "1x"]
TEXT = st.one_of(st.text(LETTERS, max_size=8), st.sampled_from(_FORMS))
ENTRIES = st.builds(
    lambda title, id_: Entry(
        title, id_, (title,), (), None, "", False, Code(NOWHERE, 0, 0), Span(NOWHERE, 0, 0)
    ),
    TEXT,
    TEXT,
)
Menu = list[Entry]
MENUS = st.lists(ENTRIES, min_size=1, max_size=6)


def escaped(text: str) -> str:
    """A name as a component of a path: `>` doubled."""
    return text.replace(">", ">>")


@given(MENUS, st.one_of(st.none(), TEXT), FLAVOUR)
def test_some_entry_is_always_chosen(menu: Menu, value: str | None, flavour: Flavour) -> None:
    choice = choose(menu, value, flavour)
    assert 0 <= choice.index < len(menu)
    assert choice.matched or choice.index == 0


@given(MENUS, st.integers(0, 9), FLAVOUR)
def test_a_number_is_an_index_unless_it_is_a_name(
    menu: Menu, number: int, flavour: Flavour
) -> None:
    names = (
        {name for entry in menu for name in (entry.title, entry.id)}
        if flavour.names_first
        else set()
    )
    assume(str(number) not in names)
    assert choose(menu, str(number), flavour).index == (number if number < len(menu) else 0)


@given(MENUS, st.data())
def test_upstream_takes_the_first_entry_of_a_name(menu: Menu, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for entry in menu for name in (entry.title, entry.id)]))
    assume(not name.lstrip(" \t\r\n")[:1].isdecimal())
    wanted = next(index for index, entry in enumerate(menu) if name in (entry.title, entry.id))
    assert choose(menu, escaped(name), FLAVOURS["upstream"]).index == wanted


@given(MENUS, st.data())
def test_rhboot_takes_the_first_entry_of_an_id(menu: Menu, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([entry.id for entry in menu]))
    assume(name)
    assume(not set(name) & set(" \t\r\n"))
    wanted = next(index for index, entry in enumerate(menu) if entry.id == name)
    assert choose(menu, escaped(name), FLAVOURS["rhboot"]).index == wanted


@given(MENUS, ENTRIES, FLAVOUR, st.data())
def test_an_entry_at_the_end_takes_nothing_away(
    menu: Menu, last: Entry, flavour: Flavour, data: st.DataObject
) -> None:
    names = [escaped(name) for entry in menu for name in (entry.id, entry.title)]
    value = data.draw(TEXT | st.sampled_from([*names, *map(str, range(len(menu)))]))
    before = choose(menu, value, flavour)
    assume(before.matched)
    assume(not (flavour.names_first and value in (escaped(last.id), escaped(last.title))))
    assert choose([*menu, last], value, flavour).index == before.index


@given(st.text(LETTERS), st.text(LETTERS))
def test_a_path_is_cut_at_its_first_single_sign(head: str, tail: str) -> None:
    assume(not tail.startswith(">"))
    assert split_path(f"{escaped(head)}>{tail}") == (escaped(head), tail)
    assert first_component(f"{escaped(head)}>{tail}") == head
