"""The plugins that come with kexec-hook; asking.py registers them, and nothing else imports them."""
# SPDX-License-Identifier: GPL-3.0-or-later
