"""The calendar: the years that a time from outside may lie in.

Flow logs didn't exist before 1970, and hours and days are added to and taken from every time that is read.
Near the calendar's own ends, the years 1 and 9999, such arithmetic fails. So a time outside these years is
refused where it enters: as a parameter, in a blob's name, in an entity, in an answer's header.
"""

from datetime import UTC, datetime

FIRST_YEAR, LAST_YEAR = 1970, 2200
YEARS = f"its year must be from {FIRST_YEAR} to {LAST_YEAR}"
"""What a time has to fulfil, in words."""


def check_year(moment: datetime) -> datetime:
    """Return the moment in UTC; raise ``ValueError`` if its year is out of range."""
    try:
        in_utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:  # an offset leads out of the calendar
        raise ValueError(YEARS) from None
    if not FIRST_YEAR <= in_utc.year <= LAST_YEAR:
        raise ValueError(YEARS)
    return in_utc
