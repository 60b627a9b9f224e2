"""Who may log in: credentials, and the price of failed attempts."""
