"""Decisions and machines as text for people or as data for programs."""
# SPDX-License-Identifier: GPL-3.0-or-later
