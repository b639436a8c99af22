"""From a root to a decision; nothing is changed."""
# SPDX-License-Identifier: GPL-3.0-or-later
