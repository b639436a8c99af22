"""kexec-hook: the next reboot is a kexec into what GRUB would have booted."""

__version__ = "0.1.0"
