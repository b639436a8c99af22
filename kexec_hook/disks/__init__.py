"""GRUB's names of disks and paths, and the files below the root that they stand for."""
# SPDX-License-Identifier: GPL-3.0-or-later
