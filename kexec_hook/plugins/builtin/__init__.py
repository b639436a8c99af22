"""The plugins that come with kexec-hook: a function that is named as a question is the answer to it."""
# SPDX-License-Identifier: GPL-3.0-or-later
