"""dnf 4: when a transaction is done, /usr/lib/kexec-hook/run looks whether what boots has changed."""
# SPDX-License-Identifier: GPL-3.0-or-later
# Imports nothing of kexec_hook: dnf may run on another Python than kexec-hook does, and an old one (3.6 on EL 8).

import logging
import os
import subprocess
import sys

import dnf

RUN = "/usr/lib/kexec-hook/run"
# With it, the triggers of the rpm package leave the question to us, who come after them.
ASKS = f"/run/kexec-hook.asks-{os.getpid()}"


class KexecHook(dnf.Plugin):
    name = "kexec-hook"

    def pre_transaction(self):
        self._attempt(self._announce)

    def transaction(self):
        """The only hook after every scriptlet, %posttrans and with it kernel-install included."""
        self._attempt(self._ask)

    def _announce(self):
        open(ASKS, "w").close()

    def _ask(self):
        if os.path.exists(ASKS):
            os.unlink(ASKS)
        sys.stdout.flush()
        subprocess.run([RUN, "dnf4"], stdin=subprocess.DEVNULL, check=False)

    def _attempt(self, action):
        try:
            # dnf asks its plugins also about an installroot, and then on the host, whose kernel is not meant.
            if self.base.conf.installroot == "/":
                action()
        except (Exception, KeyboardInterrupt) as error:
            # Raised, it would be a traceback or dnf's exit status, though all packages are in place.
            # No file: kexec-hook was removed in this transaction.
            logging.getLogger("dnf.plugin").debug("kexec-hook: %r", error)
