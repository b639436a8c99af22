"""No kexec while /etc/no-kexec is there."""

import pluggy

from kexec_hook.plugins.api import Objection

hookimpl = pluggy.HookimplMarker("kexec_hook")
kexec_hook_api = ">=1.0,<2"


@hookimpl
def kexec_hook_objections(sysroot):
    if not sysroot.exists("/etc/no-kexec"):
        return []
    return [
        Objection("/etc/no-kexec is there", "no-kexec", code="no-kexec", fix="rm /etc/no-kexec")
    ]
