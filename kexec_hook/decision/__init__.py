"""From a root to a decision; nothing is changed."""
