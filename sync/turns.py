"""When time alone changes what somebody looks like: found ahead, so that nobody is evaluated in vain.

A comparison with the clock turns when its bound passes a column's moment. Bounds follow the time second by
second, but jump where clocks are set, and where months are of different length: some go back then. So a bound
is followed piece by piece up to its next jump, which is a moment to look at, whoever it concerns.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from mappings.clock import Clock
from state import evaluation
from state.db import Database
from sync.job import Job

PIECE = timedelta(minutes=30)
"""No zone sets its clocks twice within it."""
DAY = timedelta(days=1)
EXACT = timedelta(seconds=1)

Bound = Callable[[datetime], datetime]


async def is_due(job: Job, db: Database, now: datetime) -> bool:
    """Tell whether time has moved anybody since the last evaluation; never true before the first one."""
    state = await db.read(evaluation.sync_state, job.sync)
    if state.evaluated_at is None or state.go_live_at is None:
        return False
    if job.mapping.daily and _day(job, state.evaluated_at) != _day(job, now):
        return True
    first, last = sorted((state.evaluated_at, now))
    moved = job.mapping.moved(job.sync, job.clock(first), job.clock(last))
    return moved is not None and await db.read(evaluation.has_any, moved)


async def next_turn(job: Job, db: Database, now: datetime, horizon: timedelta) -> datetime | None:
    """Find when time will next move somebody, or may; None when that is not before `now + horizon`."""
    ahead = job.mapping.ahead(job.sync, job.clock(now))
    moments = await db.read(evaluation.first_values, [query for _, query in ahead])
    turns = [
        turn(_bound(job, bound), moment, now, horizon, job.timezone)
        for (bound, _), moment in zip(ahead, moments, strict=True)
    ]
    if job.mapping.daily:
        turns.append(midnight(job.clock(now)))
    return min((each for each in turns if each and each <= now + horizon), default=None)


def turn(
    bound: Bound, moment: datetime | None, now: datetime, horizon: timedelta, zone: tzinfo
) -> datetime | None:
    """Find when `bound` reaches `moment`, or jumps, whatever comes first within `horizon`."""
    if bound(now + EXACT) == bound(now):
        return None  # at the end of the calendar, where it stays
    start, first = now, bound(now)
    while start < now + horizon:
        piece = DAY if _is_steady(bound, start, first, zone) else PIECE
        end, last = start + piece, bound(start + piece)
        jumps = last - first != piece
        if jumps:
            end = _jump(bound, start, first)
        if moment is not None and first < moment <= first + (end - start):
            return start + (moment - first)
        if jumps:
            return end
        start, first = end, last
    return None


def _is_steady(bound: Bound, start: datetime, first: datetime, zone: tzinfo) -> bool:
    """Tell whether a bound moves for a day as the time does, with no clock set at either end of it.

    No zone ever changed twice within three days, so that looks at the ends are enough; a shorter month shows
    in how far the bound has come.
    """
    last = bound(start + DAY)
    ends = ((start, start + DAY), (first, last))
    return last - first == DAY and all(
        one.astimezone(zone).utcoffset() == other.astimezone(zone).utcoffset() for one, other in ends
    )


def midnight(clock: Clock) -> datetime:
    """Find when the local date next changes, also where clocks are set at midnight."""
    today = clock.now.astimezone(clock.timezone).date()
    wall = datetime.combine(today + timedelta(days=1), datetime.min.time())
    readings = (wall.replace(tzinfo=clock.timezone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(each for each in readings if each.astimezone(clock.timezone).date() > today)


def _jump(bound: Bound, start: datetime, first: datetime) -> datetime:
    """Find when a bound that is `first` at `start` ceases to move as the time does."""
    early, late = start, start + PIECE
    while late - early > EXACT:
        middle = early + (late - early) / 2
        early, late = (middle, late) if bound(middle) - first == middle - start else (early, middle)
    return late


def _bound(job: Job, at: Callable[[Clock], datetime]) -> Bound:
    return lambda now: at(job.clock(now))


def _day(job: Job, moment: datetime) -> object:
    return moment.astimezone(job.timezone).date()
