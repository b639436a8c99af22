"""What we remember until the next boot and over boots: the record, the stamp, jumps that were tried."""
# SPDX-License-Identifier: GPL-3.0-or-later
