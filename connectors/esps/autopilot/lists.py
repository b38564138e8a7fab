"""Lists: made once, then joined and left.

The API has no bulk call for members. But an upsert may carry one list (`_autopilot_list`), and a bulk
write is 100 upserts: so many join that way, once a look at one of them has shown that it works here.
Leaving takes a call for each.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from connectors.base import Blame, Member, Refusal
from connectors.errors import Refused, Retryable
from connectors.esps.autopilot.delivery import BAD, GONE, Delivery, taken, words
from connectors.esps.autopilot.people import LOOKUPS, PAGE, Ids, People
from connectors.http import Answer, Api
from connectors.writing import folded, parts, together

NOT_DONE = frozenset({400, 404, 409})


class Lists:
    def __init__(self, api: Api, people: People, delivery: Delivery) -> None:
        self._api = api
        self._people = people
        self._delivery = delivery
        self._ids: dict[str, str] = {}
        self._looking = asyncio.Lock()
        self._bulk_works = True

    async def prepare(self, names: Sequence[str]) -> dict[str, str]:
        """Make the lists that are missing; return name -> reason for those that cannot be."""
        async with self._looking:
            await self._look_up()
            made = {name: await self._make(name) for name in names}
        return {name: str(refused) for name, refused in made.items() if isinstance(refused, Refused)}

    async def missing(self, names: Sequence[str]) -> list[str]:
        """Say which lists there are not."""
        async with self._looking:
            await self._look_up()
        return [name for name in names if _key(name) not in self._ids]

    async def by_id(self, names: Sequence[str]) -> dict[str, str]:
        """Find those of these lists that there are; makes none."""
        async with self._looking:
            await self._look_up()
        return {self._ids[_key(name)]: name for name in names if _key(name) in self._ids}

    async def change(self, name: str, join: Sequence[Member], leave: Sequence[Member]) -> list[Refusal]:
        list_id = await self._id(name)
        join_all = self._join_many if len(join) > LOOKUPS else self._join_each
        refusals = await join_all(list_id, name, join)
        left = await together([self._send("DELETE", list_id, member) for member in leave])
        unable = [
            _refusal(member, name, words(answer))
            for member, answer in zip(leave, left, strict=True)
            if answer.status == 400
        ]
        return refusals + [self._redacted(refusal) for refusal in unable]

    # Finding and making

    async def _id(self, name: str) -> str:
        async with self._looking:
            if _key(name) not in self._ids:
                await self._look_up()
            made = await self._make(name)
        if isinstance(made, Refused):
            raise made
        return made

    async def _look_up(self) -> None:
        rows = (await self._api.get("/lists")).json["lists"]
        self._ids = {_key(str(row["title"])): str(row["list_id"]) for row in reversed(rows)}

    async def _make(self, name: str) -> str | Refused:
        """Return the id, or why Autopilot does not want to.

        Not sent twice: the API makes a second list of the same name
        (https://github.com/zonneplan/php-autopilothq).
        """
        if known := self._ids.get(_key(name)):
            return known
        try:
            answer = await self._api.send("POST", "/list", {"name": name}, expect=NOT_DONE, repeat=False)
        except Retryable:
            await self._look_up()
            if _key(name) not in self._ids:
                raise
            return self._ids[_key(name)]
        if answer.status == 200:
            self._ids[_key(name)] = str(answer.json["list_id"])
        else:  # another run may have made it just now
            await self._look_up()
        why = self._api.redact(f"the list {name!r} cannot be made: {words(answer)}")
        return self._ids.get(_key(name)) or Refused(why)

    # Members

    async def _join_each(self, list_id: str, name: str, join: Sequence[Member]) -> list[Refusal]:
        """Join one by one; where the list itself is gone, make it again, once."""
        answers = await together([self._send("POST", list_id, member) for member in join])
        if any(answer.status == 404 for answer in answers) and not await self._is_there(name, list_id):
            return await self._join_each(await self._id(name), name, join)
        return [
            self._redacted(_refusal(member, name, words(answer)))
            for member, answer in zip(join, answers, strict=True)
            if answer.status >= 300
        ]

    async def _is_there(self, name: str, list_id: str) -> bool:
        async with self._looking:
            await self._look_up()
        return self._ids.get(_key(name)) == list_id

    async def _join_many(self, list_id: str, name: str, join: Sequence[Member]) -> list[Refusal]:
        """Join by bulk writes, of people who are there: an upsert would make those who are not."""
        if not self._bulk_works:
            return await self._join_each(list_id, name, join)
        emails = [member.email for member in join]
        there = await self._people.find_again(emails)
        refusals = [
            _refusal(member, name, "Autopilot has no such contact")
            for member in join
            if folded(member.email) not in there
        ]
        present = [member for member in join if folded(member.email) in there]
        gone: list[Member] = []
        alone = await self._join_in_bulk(list_id, present, there, gone)
        refusals += [_refusal(member, name, "Autopilot has no such contact any more") for member in gone]
        return refusals + await self._join_each(list_id, name, alone)

    async def _join_in_bulk(
        self, list_id: str, members: Sequence[Member], there: Ids, gone: list[Member]
    ) -> list[Member]:
        """Return who is to be tried alone: everybody, where this way does not work. `gone` as in `_join_some`."""
        first, rest = members[:PAGE], members[PAGE:]
        alone = await self._join_some(list_id, first, there, gone)
        took = next((member for member in first if member not in alone and member not in gone), None)
        left = [member for member in members if member not in gone]
        if took is None:
            return left
        if (await self._send("GET", list_id, took)).status >= 300:
            self._bulk_works = False
            return left
        results = await together([self._join_some(list_id, some, there, gone) for some in parts(rest, PAGE)])
        return alone + [member for some in results for member in some]

    async def _join_some(
        self, list_id: str, members: Sequence[Member], there: Ids, gone: list[Member]
    ) -> list[Member]:
        """Write up to 100; return who was not taken. `gone` gets those who were not there any more: they leave."""
        if not members:
            return []
        body = {"contacts": [{"Email": member.email, "_autopilot_list": list_id} for member in members]}
        ids = taken(await self._api.send("POST", "/contacts", body, expect=BAD))
        revived = await self._delivery.check_ids(there, ids)
        back = [member for member in members if folded(member.email) in revived]
        await together([self._send("DELETE", list_id, member) for member in back])
        gone += back
        return [member for member in members if folded(member.email) not in ids]

    async def _send(self, method: str, list_id: str, member: Member) -> Answer:
        email = quote(member.email.encode("utf-8", "ignore"), safe="")
        path = f"/list/{quote(list_id, safe='')}/contact/{email}"
        return await self._api.send(method, path, expect=BAD | GONE)

    def _redacted(self, refusal: Refusal) -> Refusal:
        return Refusal(refusal.profile, refusal.blame, self._api.redact(refusal.reason), refusal.name)


def _refusal(member: Member, name: str, reason: str) -> Refusal:
    return Refusal(member.profile, Blame.MEMBERSHIP, reason, name)


def _key(name: str) -> str:
    return name.strip().casefold()
