"""What can go wrong with the state store itself: each is for the owner to act on.

StateError
├── Busy         somebody else does this now
└── LeaseLost    somebody else has taken over what we were doing
"""


class StateError(Exception):
    """The text names the file and says what to do."""


class Busy(StateError):
    pass


class LeaseLost(StateError):
    pass
