"""Laws of the environment block: what is written is read, and nothing else changes."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import assume, given
from hypothesis import strategies as st

from kexec_hook.grub.grubenv import SIGNATURE, BadBlock, replace, variables

NAMES = st.text("abcXYZ_019.-", min_size=1, max_size=8)
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30)
# Also what no grub-editenv writes.
BROKEN = st.one_of(st.binary(max_size=60), st.text("ab=\n\r\\# ", max_size=40).map(str.encode))


def block(pairs: dict[str, str]) -> bytes:
    made = SIGNATURE + b"#" * (1024 - len(SIGNATURE))
    for name, value in pairs.items():
        made = replace(made, name, value)
    return made


BLOCKS = st.dictionaries(NAMES, VALUES, max_size=5).map(lambda pairs: (pairs, block(pairs)))


@given(BLOCKS, st.booleans())
def test_what_was_written_is_read(made: tuple[dict[str, str], bytes], skip: bool) -> None:
    pairs, data = made
    assert list(variables(data, skip_blank=skip)) == list(pairs.items())
    assert len(data) == 1024


@given(BLOCKS, NAMES, VALUES)
def test_one_variable_is_changed_and_no_other(
    made: tuple[dict[str, str], bytes], name: str, value: str
) -> None:
    pairs, data = made
    assert list(variables(replace(data, name, value))) == list({**pairs, name: value}.items())


@given(BLOCKS, NAMES, VALUES)
def test_to_set_and_delete_leaves_nothing(
    made: tuple[dict[str, str], bytes], name: str, value: str
) -> None:
    pairs, data = made
    assume(name not in pairs)
    assert replace(replace(data, name, value), name, None) == data


@given(BLOCKS, NAMES)
def test_to_delete_what_is_not_there_changes_nothing(
    made: tuple[dict[str, str], bytes], name: str
) -> None:
    pairs, data = made
    assume(name not in pairs)
    assert replace(data, name, None) == data


@given(BROKEN, st.booleans(), NAMES, st.one_of(st.none(), VALUES))
def test_any_block_is_read_and_written_or_refused(
    rest: bytes, skip: bool, name: str, value: str | None
) -> None:
    for data in (rest, SIGNATURE + rest, SIGNATURE + rest + b"#" * 40):
        with suppress(BadBlock):
            assert all("\0" not in name + value for name, value in variables(data, skip_blank=skip))
        with suppress(BadBlock):
            assert len(replace(data, name, value)) == len(data)
