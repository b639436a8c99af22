"""What no mount shows: GRUB's drivers answer there, not there, or nobody knows."""

from __future__ import annotations
