"""The one exception that means "the user can mend this", printed without a traceback."""

from dreamda_jax.printable import shown


class UserError(Exception):
    """What was wrong, where, and what to do: a message for a person, never for a debugger.

    Passwords in it are masked, and what a terminal would obey is escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(shown(message))
