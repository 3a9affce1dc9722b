"""A few large measurements spread over a run, sized so that together they fit into its time."""

# A new size costs a library its preparations, which a little more or less is not worth.
_WORTH_A_CHANGE = 1.25
# One measurement much larger than the others would hardly make their mean better.
_MOST_GROWTH = 1.5
# A gradient takes about this long to be asked for, whatever its size.
_CALL_SECONDS = 0.0005


class Portions:
    """Divides the time that measuring may take into equal parts, evenly spread over a run.

    What a measurement tells grows with the square of its examples, so that a few large ones tell
    more than many small ones.

    Args:
        share: of the training time that all measurements together may take, in (0, 1).
        count: of measurements.
        calls: gradients that a measurement takes.
        step_size: examples of a training step.
        largest: examples of a gradient.
    """

    def __init__(
        self, *, share: float, count: int, calls: int, step_size: int, largest: int
    ) -> None:
        self._share = share
        self._count = count
        self._calls = calls
        self._step_size = step_size
        self._largest = largest
        self._slots: list[float] | None = None
        self._size = 0
        self._cost = 0.0
        self._spent = 0.0

    def is_due(self, step: int, *, steps: float) -> bool:
        """Whether this step is to be measured, if time allows; False while `steps` is unknown.

        Args:
            step: of the run, from 0.
            steps: of the whole run as far as it is known; 0 where it is not.
        """
        if not steps:
            return False
        if self._slots is None:
            width = (steps - step) / self._count
            self._slots = [step + width * (slot + 0.5) for slot in range(self._count)]
        return bool(self._slots) and self._slots[0] <= step

    def take(self, step: int, *, run_seconds: float, step_seconds: float) -> int | None:
        """Examples of each gradient in the slot that is due; None where there is no time left.

        Args:
            run_seconds: that the whole run takes without measuring.
            step_seconds: that a step takes without measuring.
        """
        slots = self._slots or []
        left = len(slots)
        self._slots = [slot for slot in slots if slot > step]
        free = self._share * run_seconds - self._spent
        each = step_seconds / self._step_size
        if not self._size:
            most = (free / left / self._calls - _CALL_SECONDS) / each
            self._resize(most)
            self._cost = self._calls * (_CALL_SECONDS + self._size * each)
        change = free / left / self._cost
        if not 1 / _WORTH_A_CHANGE < change < _WORTH_A_CHANGE:
            before = self._size
            self._resize(before * min(change, _MOST_GROWTH))
            self._cost *= self._size / before
        return self._size if self._cost <= _WORTH_A_CHANGE * free else None

    def charge(self, seconds: float) -> None:
        """Say what the latest measurement took."""
        self._spent += seconds
        # What disturbs a measurement makes it longer, never shorter.
        self._cost = min(self._cost, seconds)

    def _resize(self, size: float) -> None:
        self._size = int(min(max(1.0, size), self._largest))
