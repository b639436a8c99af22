"""Kernels and initrds as bytes, command lines, releases, and what kexec would be told."""
# SPDX-License-Identifier: GPL-3.0-or-later
