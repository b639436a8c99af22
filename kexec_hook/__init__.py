"""kexec-hook: the next reboot is a kexec into what GRUB would have booted."""
# SPDX-License-Identifier: GPL-3.0-or-later

__version__ = "0.1.0"
