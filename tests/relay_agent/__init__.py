"""Remote commands: the parts, and whole runs through a real relay and a real agent."""
