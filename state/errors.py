"""What can go wrong with the state store itself: each is for the owner to act on."""


class StateError(Exception):
    """The text names the file and says what to do."""
