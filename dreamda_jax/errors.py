"""The one exception that means "the user can mend this", printed without a traceback."""


class UserError(Exception):
    """What was wrong, where, and what to do: a message for a person, never for a debugger."""
