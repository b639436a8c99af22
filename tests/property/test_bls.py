"""What holds for any snippets of the Boot Loader Specification."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from kexec_hook.grub.menu import boot_default, evaluate, try_all
from kexec_hook.grub.script.source import ScriptError
from tests.property.disk import PREFIX, machine
from tests.property.scripts import ANYTHING, LETTERS

FLAVOUR = st.sampled_from(["rhboot", "upstream-2.14"])
_KEYS = st.sampled_from(
    ["title", "linux", "options", "initrd", "devicetree", "grub_users", "grub_arg", "version", "#"]
)
_BLANKS = st.sampled_from([" ", "\t", "  ", ""])
_LINES = st.tuples(_KEYS, _BLANKS, st.text(LETTERS, max_size=12), st.just("\n")).map("".join)
SNIPPETS = st.one_of(st.lists(_LINES, max_size=6).map("".join), ANYTHING)
FILES = st.dictionaries(
    st.one_of(
        st.from_regex(r"[a-z0-9][a-z0-9.+~_-]{0,8}\.conf", fullmatch=True),
        st.text(LETTERS.filter(lambda c: c != "/"), min_size=1, max_size=8),
    ),
    SNIPPETS,
    max_size=4,
)


@given(
    FILES,
    FLAVOUR,
    st.sampled_from(["blscfg", "blscfg default", "blscfg --path /x", "blscfg --entry a"]),
)
def test_any_snippets_make_a_menu_that_can_be_tried(
    files: dict[str, str], flavour: str, command: str
) -> None:
    disk = {
        f"/loader/entries/{name}": text.encode("utf-8", "surrogateescape")
        for name, text in files.items()
    }
    disk["/boot/grub/grub.cfg"] = command.encode()
    made = machine(disk, flavour)
    with suppress(ScriptError):
        if evaluate(made, f"{PREFIX}/grub.cfg") == "menu":
            assert all(sample.outcome.how for sample in try_all(made))
            assert boot_default(made).ended


@given(
    st.permutations(
        ["a-1-1", "a-1-2", "a-10-1", "b-1-1", "a-1~rc1-1", "a-1+2-1", "A", "1.2", "0123-5"]
    ),
    FLAVOUR,
)
def test_the_order_is_that_of_the_names_not_of_the_directory(
    names: list[str], flavour: str
) -> None:
    def ids(names: list[str]) -> list[str]:
        disk = {f"/loader/entries/{name}.conf": b"linux /k\n" for name in names}
        disk["/boot/grub/grub.cfg"] = b"blscfg"
        made = machine(disk, flavour)
        evaluate(made, f"{PREFIX}/grub.cfg")
        return [entry.id for entry in made.menu or []]

    assert ids(names) == ids(sorted(names))
    assert len(ids(names)) == len(names)
