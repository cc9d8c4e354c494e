"""The baselines' own programs; each runs in an environment that Livewarden is not installed in.

They import each other by file name, for this folder is the first on their path.
"""
