"""Our drop-ins over systemd's own units: what these do by themselves is never a kexec that nobody has approved."""

from __future__ import annotations

import pytest

from tests.kills import units

# What systemd 257 and 262 have of that, as Debian 13 and its testing install them; 252 has neither.
SYSTEMDS = {
    "kexec.target": {"JobTimeoutSec": "30min", "JobTimeoutAction": "kexec-force"},
    "systemd-kexec.service": {"SuccessAction": "kexec-force"},
    "reboot.target": {"JobTimeoutSec": "30min", "JobTimeoutAction": "reboot-force"},
    "systemd-reboot.service": {"SuccessAction": "reboot-force"},
}


@pytest.mark.parametrize("unit", SYSTEMDS)
def test_systemd_by_itself_only_reboots(unit: str) -> None:
    values = dict(SYSTEMDS[unit])
    for path in sorted((units.SYSTEMD / f"{unit}.d").glob("*.conf")):
        values.update({key: value for _, key, value in units.read(path)})
    actions = {value for key, value in values.items() if key.endswith("Action")}
    assert actions == {"reboot-force"}


def test_each_drop_in_is_for_a_unit_of_systemds() -> None:
    ours = {path.parent.name for path in units.SYSTEMD.rglob("*.conf")}
    assert ours <= {f"{unit}.d" for unit in SYSTEMDS}
