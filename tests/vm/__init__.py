"""Virtual machines with a real GRUB, real kernels and a real systemd: README.md says how it is put together."""
