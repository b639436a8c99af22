"""What the administrator wants, in the words of three files."""
# SPDX-License-Identifier: GPL-3.0-or-later
