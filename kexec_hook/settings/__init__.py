"""What the administrator wants, in the words of three files."""
