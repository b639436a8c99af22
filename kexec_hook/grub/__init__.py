"""An interpreter of GRUB's scripts, menus and environment blocks; knows no kexec, apt or running machine."""
# SPDX-License-Identifier: GPL-3.0-or-later
