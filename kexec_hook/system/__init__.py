"""What lies outside: files below the root, programs, kexec(8), systemd, the firmware, our own directories."""
# SPDX-License-Identifier: GPL-3.0-or-later
