"""Any settings file is read, or refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kexec_hook.settings.conf import SettingsError, load_settings
from kexec_hook.settings.kdump import load_kdump
from kexec_hook.system.sysroot import Sysroot

_NAMES = [
    "load",
    "select",
    "entry:",
    "panic-timeout",
    "kexec-args",
    "flavour",
    "LOAD_KEXEC",
    "APPEND",
    "export",
    "x",
]
_WORDS = [*_NAMES, *"='\"\\$({`#;\n\t[]\r\0\xff", "yes", "no", "$X", "${X}", "-s", "10"]
TEXTS = st.one_of(
    st.lists(st.sampled_from(_WORDS), max_size=12)
    .map("".join)
    .map(lambda text: text.encode("latin-1")),
    st.lists(st.sampled_from(_WORDS), max_size=12)
    .map(" ".join)
    .map(lambda text: text.encode("latin-1")),
    st.binary(max_size=60),
)
FILES = [
    "etc/kexec-hook.conf",
    "etc/kexec-hook.conf.d/a.conf",
    "etc/default/kexec",
    "etc/sysconfig/kdump",
]


@given(st.sampled_from(FILES), TEXTS)
def test_any_file_is_read_or_refused_with_its_name(tmp_path: Path, name: str, text: bytes) -> None:
    for file in FILES:
        (tmp_path / file).unlink(missing_ok=True)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(text)
    refused = [refusal(load, tmp_path) for load in (load_settings, load_kdump)]
    assert all(said is None or said.startswith(f"/{name}") for said in refused)


def refusal(load: Callable[[Sysroot], object], root: Path) -> str | None:
    try:
        load(Sysroot(root))
    except SettingsError as error:
        return str(error)
    return None
