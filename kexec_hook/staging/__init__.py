"""A decision is loaded, kept, unloaded, or finally approved."""
# SPDX-License-Identifier: GPL-3.0-or-later
