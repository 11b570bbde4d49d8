"""Ask several accounts of flow logs side by side: one that fails doesn't keep the others from being asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.advice import service_of_flow_logs, to_be_allowed
from shared.blobs import FlowLogs
from shared.connection import innermost, refusal_of
from shared.errors import FlowtallyError
from shared.workers import work_on


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an account could not be asked, or not to the end."""

    account: FlowLogs
    error: FlowtallyError

    def __str__(self) -> str:
        return f"account {self.account.account} ({self.account.connection}): {self.reason}"

    @property
    def reason(self) -> str:
        """Why, in a few words where there was no answer."""
        status, _ = refusal_of(self.error)
        if status is None and self.error.__cause__:
            return f"no answer: {innermost(self.error.__cause__)}"
        return str(self.error)

    @property
    def to_do(self) -> str:
        """What helps."""
        status, code = refusal_of(self.error)
        if status is None:
            return "flowtally doctor looks for the reason"
        service = service_of_flow_logs(self.account.connection, self.account.account)
        return to_be_allowed(service, status, code, "here")

    def row(self) -> dict[str, str]:
        """As data."""
        return {"Account": self.account.account, "Reason": self.reason, "ToDo": self.to_do}

    def say(self) -> str:
        """All of it in a line."""
        return f"not looked at: {self}; {self.to_do}"


def ask_each[Result](
    accounts: Sequence[FlowLogs], ask: Callable[[FlowLogs], Result], *, is_only: bool | None = None
) -> tuple[list[tuple[FlowLogs, Result]], list[Failure]]:
    """Ask all accounts at once: what each of them answered, and those that failed, in the order of accounts.

    Of several accounts, one that doesn't answer is given up after some seconds. If there is but one account
    (``is_only``), its error is raised: there is nothing to go on with.
    """
    if len(accounts) == 1 and is_only is not False:
        return [(accounts[0], ask(accounts[0]))], []

    def ask_if_there(account: FlowLogs) -> Result:
        account.now(patient=False)
        return ask(account)

    found = {id(each): result for each, result in work_on(accounts, ask_if_there, len(accounts), "accounts")}
    answers, failures = [], []
    for each in accounts:
        result = found[id(each)]
        if isinstance(result, FlowtallyError):
            failures.append(Failure(each, result))
        else:
            answers.append((each, result))
    return answers, failures
