"""What plugins are asked, who asks, and the answers that come along."""
# SPDX-License-Identifier: GPL-3.0-or-later
