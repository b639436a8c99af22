"""dnf 4: when a transaction is done, /usr/lib/kexec-hook/run looks whether what boots has changed."""
# Imports nothing of kexec_hook: dnf may run on another Python than kexec-hook does, and an old one (3.6 on EL 8).

import logging
import subprocess
import sys

import dnf

RUN = "/usr/lib/kexec-hook/run"


class KexecHook(dnf.Plugin):
    name = "kexec-hook"

    def transaction(self):
        """The only hook after every scriptlet, %posttrans and with it kernel-install included."""
        # dnf asks its plugins also about an installroot, and then on the host, whose kernel is not meant.
        if self.base.conf.installroot != "/":
            return
        try:
            sys.stdout.flush()
            subprocess.run([RUN, "dnf4"], stdin=subprocess.DEVNULL, check=False)
        except (Exception, KeyboardInterrupt) as error:
            # Raised, it would be a traceback or dnf's exit status, though all packages are in place.
            # No file: kexec-hook was removed in this transaction.
            logging.getLogger("dnf.plugin").debug("kexec-hook: %s: %r", RUN, error)
