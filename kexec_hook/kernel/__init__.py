"""Kernels and initrds as bytes, command lines, releases, and what kexec would be told."""
