"""Near-duplicates: frames of one clip that an earlier one stands for.

A frame is reused only where no part of it changed in a way that a viewer could see. Both bounds
are local, so that an average over a still picture cannot hide one small change: no colour of any
pixel may differ by more than PEAK, and in no cell of 8x8 pixels may the root mean square difference
of any colour exceed CELL. A frame is compared with the one that was encoded, never with one that
was reused itself: slow changes add up until they count.

Measured on views of 720x1280 JPEG frames: sensor noise on a still scene gives a peak of 9 to 21 and
2.8 to 5.6 in the worst cell; neighbouring pictures of a film, 40 ms apart, at least 113 and 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from livewarden_client.wire import IMAGE_SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PEAK: Final = 24
CELL: Final = 6.0
# Views that one may stand for, itself not counted: a still scene is looked at anew now and then.
MAX_AGE: Final = 15

_CELLS: Final = IMAGE_SIDE // 8


def is_near(view: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two views, uint8 [224, 224, 3], are within both bounds of each other."""
    if view is other:
        return True
    difference: NDArray[Any] = cv2.absdiff(view, other)
    if int(difference.max()) > PEAK:
        return False
    squares = cv2.multiply(difference, difference, dtype=cv2.CV_32F)
    cells = cv2.resize(squares, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    return float(np.max(cells)) <= CELL**2


def find_stand_ins(views: Sequence[NDArray[np.uint8]]) -> list[int]:
    """For each view of one clip, the view whose encoding it takes: itself, or an earlier one."""
    stand_ins: list[int] = []
    for place, view in enumerate(views):
        latest = stand_ins[-1] if stand_ins else place
        fresh = place - latest <= MAX_AGE
        stand_ins.append(latest if fresh and is_near(views[latest], view) else place)
    return stand_ins
