"""Watching a recording: a video and what was said beside it, sent as a live stream would be.

`script` reads the texts, `cut` makes clips, `run` sends them in order, `again` decides on what was
recorded under another policy. `timeline` and `difference` are pure: verdicts in, what is to be
shown out. `page` and `terminal` show it.
"""
