"""The business logic behind the Triton model `moderation`."""
