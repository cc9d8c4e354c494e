"""Every error of the measuring tools, as one tree.

PerfError
├── AnalyzerMissing    no perf_analyzer runs here, and none could be installed
├── AnalyzerFailed     perf_analyzer gave no figures
├── VideoMissing       the video that clips are cut from is not installed
├── ScheduleInvalid    a recorded schedule, or a mix of clips, cannot be read
├── NodeInvalid        a table of nodes, or the report of a measured one, cannot be read
├── CapacityImpossible no number of such nodes meets the objective
├── BaselineFailed     a server to compare with could not be installed, started or asked
└── MeasurementInvalid figures could be had, but they would not mean what they say

None of their messages holds a clip's content.
"""

from __future__ import annotations


class PerfError(Exception):
    """Base of all errors of the measuring tools; the message says what to do."""


class VideoMissing(PerfError):
    """A video that clips are cut from is not there; the message names the package."""


class AnalyzerMissing(PerfError):
    """There is no perf_analyzer that starts on this machine, and none could be installed."""


class AnalyzerFailed(PerfError):
    """A run of perf_analyzer ended without figures."""


class ScheduleInvalid(PerfError):
    """A recorded schedule or a mix of clips breaks its form; the message names the place."""


class NodeInvalid(PerfError):
    """A file that describes nodes breaks its form; the message names the field."""


class CapacityImpossible(PerfError):
    """No number of the nodes meets the objective, or nobody has measured one."""


class BaselineFailed(PerfError):
    """A server that Livewarden is compared with could not be installed, started or asked."""


class MeasurementInvalid(PerfError):
    """What was measured is not the work it stands for, for example a degraded verdict."""
