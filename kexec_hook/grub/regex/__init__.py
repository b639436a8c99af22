"""gnulib's regular expressions."""
