"""What can go wrong, by whose fault it is.

::

    FlowtallyError
    ├── MalformedInput   the log is at fault: counted, kept, passed; never retried
    ├── Conflict         somebody else wrote first: load again, go on from there
    ├── Unavailable      storage is at fault: raise, so that the invocation is seen to fail
    ├── BadSettings      the deployment is at fault: says which setting and what it wants
    ├── BadRequest       the question is at fault: says what can be asked
    └── Unexpected       Flowtally itself is at fault: names the exception, and goes on with the others
"""


class FlowtallyError(Exception):
    """Anything that Flowtally itself raises."""


class MalformedInput(FlowtallyError):
    """The input is not what a flow log is; trying again won't change it."""


class Conflict(FlowtallyError):
    """The entity has changed since it was loaded; what was worked out from it is void."""


class Unavailable(FlowtallyError):
    """Storage did not answer as it should; trying again later may help."""


class BadSettings(FlowtallyError):
    """A setting is missing or wrong."""


class BadRequest(FlowtallyError):
    """A question can't be answered as it was asked; ``parameter`` is the one that is wrong, if it is one."""

    def __init__(self, message: str, parameter: str = "") -> None:
        super().__init__(f"{parameter}: {message}" if parameter else message)
        self.parameter = parameter


class Unexpected(FlowtallyError):
    """An exception that nobody expected, while one item was worked on."""

    def __init__(self, error: Exception) -> None:
        first_line = (str(error).strip().splitlines() or ["no message"])[0][:200]
        super().__init__(
            f"unexpected {type(error).__name__}: {first_line}; this is a fault in Flowtally, please report it"
        )
