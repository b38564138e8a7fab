"""What can go wrong with the state store itself: each is for the owner to act on.

StateError
├── Away         the server that keeps it is not there, or not yet
├── Busy         somebody else does this now
└── LeaseLost    somebody else has taken over what we were doing
"""


class StateError(Exception):
    """The text names the file and says what to do."""


class Away(StateError):
    pass


class Busy(StateError):
    pass


class LeaseLost(StateError):
    pass
