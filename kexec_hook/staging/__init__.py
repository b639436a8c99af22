"""A decision is loaded, kept, unloaded, or finally approved."""
