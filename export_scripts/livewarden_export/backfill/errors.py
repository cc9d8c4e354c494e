"""The error of a backfill as a whole; the errors of single clips are rows."""


class BackfillFailed(Exception):
    """A backfill cannot begin or go on; the message names the file, and says what to do."""
