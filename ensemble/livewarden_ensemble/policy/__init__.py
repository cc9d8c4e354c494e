"""Policies: rules as data. A file is loaded once, and then decides without I/O, clock or chance.

`source` reads YAML with the place of every key, `document` says what a file may hold, `load` makes
a `Policy` of it; `layer` merges overrides, `engine` decides, `lint` finds what looks wrong.
"""

from livewarden_ensemble.policy.decision import Decision
from livewarden_ensemble.policy.engine import decide
from livewarden_ensemble.policy.hit import NO_HITS, HashHit, Hits, ListHit
from livewarden_ensemble.policy.layer import EffectivePolicy, Policy, Setting, effective
from livewarden_ensemble.policy.lint import Finding, lint
from livewarden_ensemble.policy.load import load_policy, locate_policy

__all__ = [
    "NO_HITS",
    "Decision",
    "EffectivePolicy",
    "Finding",
    "HashHit",
    "Hits",
    "ListHit",
    "Policy",
    "Setting",
    "decide",
    "effective",
    "lint",
    "load_policy",
    "locate_policy",
]
