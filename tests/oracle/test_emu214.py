"""GRUB 2.14's blscfg, judged by Debian testing's own grub-emu: the corpus' trees, and trees that nobody wrote."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.corpus import corpus
from tests.oracle import emu, emu214, ours, run
from tests.oracle.emu214_trees import Trees, differences, touch
from tests.packages.chroot import ChrootError

pytestmark = pytest.mark.oracle
COUNT = max(10, int(os.environ.get("N", "60")) // 2)
SEED = run.fresh_seed(os.environ.get("SEED"))


@pytest.fixture(scope="session")
def grub214() -> Path:
    why = emu214.missing()
    if why:
        pytest.skip(f"GRUB 2.14 cannot be asked: {why}")
    try:
        place = emu214.install()
    except ChrootError as error:
        pytest.skip(f"GRUB 2.14 cannot be had: {str(error).splitlines()[0]}")
    assert [int(part) for part in re.findall(r"\d+", emu214.version(place))[:2]] >= [2, 14]
    return place


def test_generated_snippets_agree(
    grub214: Path, record_property: Callable[[str, object], None]
) -> None:
    agree = differ = 0
    silent: Counter[str] = Counter()
    found: list[str] = []
    with emu.scratch() as directory:
        for number in range(COUNT):
            Trees(Random(f"bls {SEED} {number}")).fill(directory / "files")
            try:
                said = differences(grub214, directory / "files", directory / "scratch")
            except emu214.NoAnswer as none:
                silent[str(none)[:40]] += 1
                continue
            except ours.OursFailed as error:
                said = [str(error)]
            agree += not said
            differ += bool(said)
            found += [f"tree {number}: {line}" for line in said]
    counts = (
        f"{agree} agree, {differ} differ, {sum(silent.values())} not judged {dict(silent) or ''}"
    )
    record_property("oracle", f"blscfg of GRUB {emu214.version(grub214)}, seed {SEED}: {counts}")
    assert not found, "\n".join([f"again with SEED={SEED} N={2 * COUNT}", *found])


@pytest.mark.parametrize(
    "directory", corpus.cases("bls", ((d.name, d) for d in corpus.directories("bls")))
)
def test_the_trees_of_the_corpus_agree(grub214: Path, directory: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    shutil.copytree(directory, files)
    config = files / "boot/grub2/grub.cfg"
    where = (
        "/boot/loader/entries" if (files / "boot/loader/entries").is_dir() else "/loader/entries"
    )
    # The default directory is one of the host in grub-emu.
    text = re.sub(
        r"^blscfg.*$", f"blscfg --path ($root){where}", config.read_text(), flags=re.MULTILINE
    )
    (files / "boot/grub").mkdir(exist_ok=True)
    (files / "boot/grub/grub.cfg").write_text(text + "\nset root=hd0,gpt1\n" + emu214.BOOTS_AT_ONCE)
    touch(files)
    assert not differences(grub214, files, tmp_path / "scratch")
