"""Decisions and machines as text for people or as data for programs."""
