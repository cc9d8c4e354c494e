"""What a user would pick instead: other servers with the same models, measured beside our own."""
