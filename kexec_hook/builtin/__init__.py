"""The plugins that come with kexec-hook; plugins.py registers them, and nothing else imports them."""
