"""Time: hours and days, how they are written in keys, and what is read as a moment or a time span.

Flow logs didn't exist before 1970, and hours and days are added to and taken from every time that is read.
Near the calendar's own ends, the years 1 and 9999, such arithmetic fails. So a time outside the years named
here is refused where it enters: as a parameter, in a blob's name, in an entity, in an answer's header.
"""

import re
from datetime import UTC, datetime, timedelta

FIRST_YEAR, LAST_YEAR = 1970, 2200
FIRST_MOMENT = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
HOUR_MS = 3_600_000

LONGEST_AGE = timedelta(days=20_000)
"""No time span reaches back behind 1970."""

_AGE = re.compile(r"([0-9]+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

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


def floor_hour(moment: datetime) -> datetime:
    """The clock hour that ``moment`` lies in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    """The day that ``moment`` lies in."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def hours_from(first: datetime, last: datetime) -> list[datetime]:
    """The hours from ``first`` to ``last``, both included."""
    return [first + number * HOUR for number in range((last - first) // HOUR + 1)]


def hour_key(hour: datetime) -> str:
    """``yyyymmddHH``."""
    return hour.strftime("%Y%m%d%H")


def parse_hour_key(key: str) -> datetime:
    """Read ``yyyymmddHH``; ``ValueError`` if it is no hour."""
    if len(key) != 10 or not (key.isascii() and key.isdecimal()):
        raise ValueError(f"{key!r} is no hour")
    year, month, day, hour = int(key[:4]), int(key[4:6]), int(key[6:8]), int(key[8:])
    return check_year(datetime(year, month, day, hour, tzinfo=UTC))


def day_key(day: datetime) -> str:
    """``yyyymmdd``."""
    return day.strftime("%Y%m%d")


def to_moment(milliseconds: int) -> datetime:
    """The moment that is so many milliseconds after the beginning of 1970."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


def parse_age(text: str) -> timedelta:
    """Read a time span such as ``90m``, ``24h``, ``7d``; ``ValueError`` says what would do."""
    found = _AGE.fullmatch(text.strip())
    if not found:
        raise ValueError("it must be a time span such as 24h or 7d")
    number, unit = found.groups()
    # A timedelta holds no more than nine digits.
    age = timedelta(**{_UNITS[unit]: int(number)}) if len(number) <= 9 else timedelta.max
    if age > LONGEST_AGE:
        raise ValueError(f"it must be {LONGEST_AGE.days:,} days at the most")
    return age


def parse_when(text: str, now: datetime) -> datetime:
    """Read a moment: an age before ``now``, or an ISO 8601 date or time (UTC where no offset is given).

    ``ValueError`` says what would do.
    """
    if _AGE.fullmatch(text.strip()):
        return check_year(now - parse_age(text))
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            "it must be an age such as 24h or 7d, or an ISO 8601 time such as 2026-11-22T18:00"
        ) from None
    return check_year(moment)
