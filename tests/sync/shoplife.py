"""A shop's life for the soak: people buy, change their minds and opt out, and nobody asks Cartwire."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from connectors.simulation import HistoricOrder, Simulation

SUBSCRIBED = "mailchimp_woocommerce_is_subscribed"
CATEGORIES = ("Tea", "Tea & Co", "Coffee", "Cups", "Çay")
PAID = frozenset({"processing", "completed"})
OPEN = frozenset({"pending", "failed"})
RECENT = 40
"""Orders that things happen to: few enough for several to happen to one."""


def history(chance: random.Random, start: datetime, people: int) -> Iterator[HistoricOrder]:
    """Make a past of two orders for each of `people`; every fourth of them has an account."""
    for number in range(1, 2 * people + 1):
        who = chance.randrange(people) + 1
        yield HistoricOrder(
            id=number,
            email=f"person{who}@example.com",
            first_name="Ada",
            last_name="Lovelace",
            account=100 + who if who % 4 == 0 else None,
            created_at=start - timedelta(days=60) + timedelta(days=59) * number / (2 * people),
            total=f"{chance.randint(0, 20_000) / 100:.2f}",
            currency="EUR",
            status=chance.choice(["paid"] * 8 + ["cancelled", "refunded"]),
            category=chance.choice(CATEGORIES),
            quantity=chance.randint(1, 4),
        )


@dataclass
class ShopLife:
    """What happens in a shop and, by its people, at the ESP.

    `fans` signed up at the ESP themselves. `entered` counts how often somebody became a buyer since the life
    began; `buyers` are those of now. People are known by their account's number, guests by their address.
    """

    shop: Any
    audience: Any
    chance: random.Random
    fans: set[str] = field(default_factory=set)
    buyers: set[str] = field(default_factory=set)
    entered: Counter[str] = field(default_factory=Counter)
    deeds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, shop: Simulation, news: Simulation, chance: random.Random) -> "ShopLife":
        """Begin with what the shop has."""
        life = cls(shop.state, news.state, chance)
        life.buyers = {life.owner(number) for number in life.shop.orders if life.counts(number)}
        return life

    def happen(self) -> None:
        """Let one thing happen."""
        deed = self.chance.choices(list(DEEDS), list(DEEDS.values()))[0]
        self.deeds[deed.__name__] += 1
        deed(self)

    def owner(self, number: int) -> str:
        order = self.shop.orders[number]
        return str(order.account or order.email)

    def address(self, person: str) -> str:
        return str(self.shop.accounts[int(person)].email) if person.isdigit() else person

    def counts(self, number: int) -> bool:
        return self.shop.status(number) in PAID

    def _note(self, number: int) -> None:
        """Note whether an order's owner became a buyer, or ceases to be one."""
        who = self.owner(number)
        buys = any(self.counts(each) for each in self.shop.orders if self.owner(each) == who)
        if buys and who not in self.buyers:
            self.entered[who] += 1
        (self.buyers.add if buys else self.buyers.discard)(who)

    # --- what people do --------------------------------------------------------------------------------

    def buy(self, status: str = "paid") -> None:
        email, account = self._somebody()
        number = self.shop.add_order(
            email=email,
            account=account,
            status=status,
            first_name="Ada",
            last_name="Lovelace",
            total=f"{self.chance.randint(0, 20_000) / 100:.2f}",
            category=self.chance.choice(CATEGORIES),
            quantity=self.chance.randint(1, 4),
        )
        if self.chance.random() < 0.3:
            self.shop.set_order_meta(number, SUBSCRIBED, self.chance.choice("1110"))
        self._note(number)

    def abandon(self) -> None:
        self.buy(self.chance.choice(["pending", "failed"]))

    def pay(self) -> None:
        self._change(OPEN, lambda number: self.shop.update_order(number, status="paid"))

    def edit(self) -> None:
        total = f"{self.chance.randint(20_000, 30_000) / 100:.2f}"
        self._change(PAID, lambda number: self.shop.update_order(number, total=total))

    def cancel(self) -> None:
        self._change(PAID, lambda number: self.shop.update_order(number, status="cancelled"))

    def trash(self) -> None:
        self._change(PAID, self.shop.trash)

    def restore(self) -> None:
        self._change(frozenset({"trash"}), self.shop.restore)

    def refund(self) -> None:
        self._change(PAID, lambda number: self._refund(number, self.chance.choice(["0.3", "0.5", "1"])))

    def register(self) -> None:
        number = len(self.shop.accounts)
        self.shop.add_account(f"account{number}@example.com", first_name="Ada", last_name="Lovelace")

    def move(self) -> None:
        if account := self._account():
            self.shop.change_account_email(account, f"moved{self.deeds['move']}@example.com")

    def agree(self) -> None:
        if account := self._account():
            self.shop.set_account_meta(account, SUBSCRIBED, self.chance.choice("110"))

    def opt_out(self) -> None:
        inside = sorted(each.email for each in self.audience.contacts.values() if each.status == "subscribed")
        if inside:
            leave = self.audience.clean if self.chance.random() < 0.2 else self.audience.unsubscribe
            leave(self.chance.choice(inside))

    def sign_up(self) -> None:
        email = f"fan{self.deeds['sign_up']}@example.com"
        self.fans.add(email)
        self.audience.add(email)

    def _somebody(self) -> tuple[str, int | None]:
        """Choose a stranger, a fan, or somebody who was here before."""
        dice = self.chance.random()
        if dice < 0.4:
            return f"guest{self.deeds.total()}@example.com", None
        if dice < 0.5 and self.fans:
            return self.chance.choice(sorted(self.fans)), None
        if dice < 0.65 and (account := self._account()):
            return str(self.shop.accounts[account].email), account
        before = self.shop.orders[self.chance.choice(list(self.shop.orders))]
        return before.email, before.account

    def _account(self) -> int | None:
        known = [each.id for each in self.shop.accounts.values() if each.role == "customer"]
        return self.chance.choice(known) if known else None

    def _change(self, statuses: frozenset[str], change: Callable[[int], Any]) -> None:
        """Change one of the last orders in one of these statuses."""
        found = [
            number for number in list(self.shop.orders)[-RECENT:] if self.shop.status(number) in statuses
        ]
        if found:
            number = self.chance.choice(found)
            change(number)
            self._note(number)

    def _refund(self, number: int, share: str) -> None:
        back = sum((amount for _, amount, _ in self.shop.refunds_of(number)), Decimal())
        left = Decimal(self.shop.orders[number].total) - back
        amount = (left * Decimal(share)).quantize(Decimal("0.01"))
        if amount:
            self.shop.refund(number, str(amount))


DEEDS = {
    ShopLife.buy: 26,
    ShopLife.abandon: 10,
    ShopLife.pay: 7,
    ShopLife.edit: 8,
    ShopLife.refund: 9,
    ShopLife.cancel: 5,
    ShopLife.trash: 5,
    ShopLife.restore: 3,
    ShopLife.register: 2,
    ShopLife.move: 4,
    ShopLife.agree: 10,
    ShopLife.opt_out: 4,
    ShopLife.sign_up: 2,
}
"""What happens, and how often among a hundred or so."""
