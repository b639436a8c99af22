"""The judge: real GRUB, and what it takes to put the same question to it and to kexec-hook."""
