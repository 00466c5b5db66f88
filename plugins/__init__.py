"""Built-in plugins: one file for each method, registered by entry points as all plugins are."""
