"""Every case of the corpus of recorded GRUB answers, put to kexec-hook; the place is in KEXEC_HOOK_CORPUS."""
