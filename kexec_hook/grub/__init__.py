"""An interpreter of GRUB's scripts, menus and environment blocks; knows nothing of kexec, apt or the running machine."""
