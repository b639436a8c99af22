"""Kill kexec-hook, or let a system call fail, at each call that changes something; then reboot and look what came of it.

python -m tests.kills SCENARIO SIGNAL [N]
"""
