"""A mapping becomes one SELECT: fields are its columns, lists its boolean columns, NULL is unknown (P12).

Everything is checked here, once, when the mapping is read; a compiled mapping runs unchanged on SQLite and on
PostgreSQL. Besides the SELECT it knows when values change although no fact does: by comparisons with
the clock (`moving`), with every day (`daily`), or with the whole base (`figures`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, select, type_coerce, union
from sqlalchemy.dialects import sqlite

from connectors.base import Field, FieldType, Value
from connectors.currencies import exponent
from mappings import model
from mappings.catalogue import PROFILES, catalogue
from mappings.choices import wrong_choices
from mappings.clock import Bound, Clock, clock_values
from mappings.errors import MappingError, MappingProblem
from mappings.explain import Questions, Rule
from mappings.expressions import Translator
from mappings.figures import Figure, make_figure
from mappings.functions import FUNCTIONS, LANGUAGE
from mappings.operators import stays, truth
from mappings.parts import cut, cut_list
from mappings.portable import TYPES, of_sync
from mappings.reentry import ALWAYS, Reentry, read_reentry
from mappings.syntax import is_name
from mappings.terms import Formula, Needs, Parameter, Scale, Term, Wrong, WrongElsewhere, needs_of
from mappings.values import READERS, Reader, natural_type
from state import ledger
from state.scope import Scope
from state.tables import Kind

__all__ = [
    "Clock",
    "CompiledField",
    "CompiledList",
    "CompiledMapping",
    "Evaluated",
    "Figure",
    "Moving",
    "Unknown",
    "compile_mapping",
]


TRUTH = (Kind.BOOLEAN, FieldType.BOOLEAN)


@dataclass(frozen=True, slots=True)
class CompiledField:
    """A field: what the ESP is told of it, and how its value comes about."""

    name: str
    field: Field
    expression: str
    term: Term = attribute(repr=False)
    reader: Reader = attribute(repr=False)


@dataclass(frozen=True, slots=True)
class CompiledList:
    """A list: a rule that is true, false, or unknown. `trigger` is called at the ESP in place of a list.

    With `until`, whoever is inside stays until that is true. `digest` tells one journey and its rule from
    another; who may begin it again is none of its business.
    """

    name: str
    journey: bool
    expression: str
    term: Term = attribute(repr=False)
    trigger: str | None = None
    until: str | None = None
    reenter: Reentry = ALWAYS
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A field ("fields") or list ("lists") that rests on columns which nothing fills as yet.

    `columns` maps each to what would fill it.
    """

    section: str
    name: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Moving:
    """A comparison of a column with the clock: answers change as the bound passes the column's moment."""

    column: str
    bound: Callable[[Clock], datetime]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What one profile is to look like at the ESP. A list that is None is left as it is (P12)."""

    profile: int
    email: str
    fields: Mapping[str, Value]
    lists: Mapping[str, bool | None]


class CompiledMapping:
    """A checked mapping. `daily` asks for a full evaluation when the local date changes."""

    def __init__(
        self, fields: Sequence[CompiledField], lists: Sequence[CompiledList], scale: Scale, digest: str
    ):
        needs = needs_of([*(each.term for each in fields), *(each.term for each in lists)])
        self.compiled_fields = fields
        self.fields: Sequence[Field] = [each.field for each in fields]
        self.lists: Sequence[CompiledList] = lists
        self.digest = digest
        self.daily = needs.clocked
        self.figures: Sequence[Figure] = [
            make_figure(one) for one in sorted(needs.figures, key=lambda one: one.key)
        ]
        self.unknown: Sequence[Unknown] = [*_unknown("fields", fields), *_unknown("lists", lists)]
        self.windows: Sequence[Bound] = sorted(needs.windows, key=lambda bound: bound.name)
        self.moving: Sequence[Moving] = [Moving(column, bound.at) for column, bound in _ordered(needs)]
        self._scale = scale
        self._bounds = needs.bounds
        self._readers = [(each.name, each.reader) for each in fields]
        self._list_names = [each.name for each in lists]
        self._select = select(
            PROFILES.c.id.label("profile"), PROFILES.c.email.label("email"), *self._columns()
        )

    def select(self, sync: str, clock: Clock, profiles: Select[Any] | None) -> Select[Any]:
        """Select id, address, every field (f0…) and list (l0…) of the profiles of a sync.

        `profiles` selects the ids to look at, None looks at all.
        """
        query = self._bound(self._select, sync, clock).where(of_sync(sync))
        return query if profiles is None else query.where(PROFILES.c.id.in_(profiles))

    def moved(self, sync: str, before: Clock, after: Clock) -> Select[Any] | None:
        """Select the ids of profiles that a comparison with the clock may see differently at `after`.

        One index range for each comparison; None when nobody can have moved.
        """
        ranges = []
        for moving in self.moving:
            first, last = sorted((moving.bound(before), moving.bound(after)))
            if first < last:
                passed = PROFILES.c[moving.column].between(first, last)
                ranges.append(select(PROFILES.c.id).where(PROFILES.c.sync == sync, passed))
        for window in self.windows:
            first, last = sorted((window.at(before), window.at(after)))
            if first < last and self._scale.scope:
                buyers = ledger.placed_between(self._scale.scope, first, last)
                ranges.append(
                    select(PROFILES.c.id).where(PROFILES.c.sync == sync, PROFILES.c.email.in_(buyers))
                )
        if not ranges:
            return None
        return select(union(*ranges).subquery().c.id)

    def ahead(self, sync: str, clock: Clock) -> Sequence[tuple[Callable[[Clock], datetime], Select[Any]]]:
        """Return bounds that the clock moves, each with a SELECT of the first moment that it has yet to reach.

        A moment that a column is compared with, or at which an order was placed that a window looks at. One
        index seek each; no row where there is none.
        """
        found: list[tuple[Callable[[Clock], datetime], Select[Any]]] = []
        for moving in self.moving:
            column = PROFILES.c[moving.column]
            query = select(column).where(PROFILES.c.sync == sync, column > moving.bound(clock))
            found.append((moving.bound, query.order_by(column).limit(1)))
        for window in self.windows:
            stores = self._scale.scope.stores if self._scale.scope else ()
            found += [(window.at, ledger.next_placed(store, window.at(clock))) for store in stores]
        return found

    def read(self, row: Row[Any], clock: Clock) -> Evaluated:
        """Turn a row of `select` into what is pushed."""
        profile, email, *values = tuple(row)
        digits, count = self._scale.digits, len(self._readers)
        fields = {
            name: None if value is None else read(value, clock, digits)
            for (name, read), value in zip(self._readers, values[:count], strict=True)
        }
        lists = dict(zip(self._list_names, values[count:], strict=True))
        return Evaluated(profile, email, fields, lists)

    def questions(self) -> Questions:
        """Gather all that `explain` asks: the parts of every rule, and what they look at."""
        fields = [
            Rule(
                "fields",
                each.name,
                each.expression,
                each.term,
                each.reader,
                cut(each.expression, self._scale),
            )
            for each in self.compiled_fields
        ]
        lists = [
            Rule(
                "lists",
                each.name,
                each.expression if each.until is None else f"{each.expression}, until {each.until}",
                each.term,
                READERS[TRUTH],
                cut_list(each.name, each.expression, each.until, self._scale),
            )
            for each in self.lists
        ]
        return Questions([*fields, *lists], self._scale)

    def ask(self, questions: Questions, sync: str, clock: Clock, email: str) -> Sequence[Select[Any]]:
        """Select the answers for one profile, a part of them each time."""
        mine = (PROFILES.c.sync == sync, PROFILES.c.email == email)
        values = {"sync": sync, **clock_values(questions.bounds | self._bounds, clock)}
        return [
            select(PROFILES.c.id, *columns).where(*mine).params(**values) for columns in questions.columns()
        ]

    def _columns(self) -> Sequence[Any]:
        fields = [_typed(each.term).label(f"f{i}") for i, each in enumerate(self.compiled_fields)]
        return [*fields, *(_typed(each.term).label(f"l{i}") for i, each in enumerate(self.lists))]

    def _bound(self, query: Select[Any], sync: str, clock: Clock) -> Select[Any]:
        return query.params(sync=sync, **clock_values(self._bounds, clock))


def _unknown(section: str, compiled: Sequence[CompiledField | CompiledList]) -> list[Unknown]:
    return [
        Unknown(section, each.name, {name: str(catalogue()[name].provider) for name in sorted(absent)})
        for each in compiled
        if (absent := each.term.needs.absent)
    ]


def _ordered(needs: Needs) -> Sequence[tuple[str, Bound]]:
    moving = (each for each in needs.moving if each[1].moves)
    return sorted(moving, key=lambda moving: (moving[0], moving[1].name))


def _typed(term: Term) -> Any:
    """Say what comes back, whatever SQLAlchemy would think of the construct."""
    return type_coerce(term.sql, TYPES[term.kind or Kind.TEXT])


# --- compiling -----------------------------------------------------------------------------------------


def compile_mapping(
    mapping: "model.Mapping", *, currency: str, scope: Scope | None = None
) -> CompiledMapping:
    """Check and compile a mapping for a sync whose money is in `currency` (ISO 4217).

    `scope` says whose orders windows look at; without one, what they give is unknown. Raises MappingError
    with every problem. Raises ValueError for a currency that does not exist.
    """
    problems: list[MappingProblem] = []
    scale = Scale(exponent(currency), scope, _names(mapping, problems))
    problems += _broken_formulas(mapping, scale)
    fields = [_field(name, spec, scale, problems) for name, spec in mapping.field_specs().items()]
    lists = [_list(name, spec, scale, problems) for name, spec in mapping.list_specs().items()]
    problems += wrong_choices(mapping.parameters, mapping.expressions())
    if problems:
        raise MappingError(problems)
    good_fields = [each for each in fields if each]
    good_lists = [each for each in lists if each]
    digest = _digest(good_fields, good_lists, currency)
    return CompiledMapping(good_fields, good_lists, scale, digest)


def _names(mapping: "model.Mapping", problems: list[MappingProblem]) -> Mapping[str, Parameter | Formula]:
    """Gather the owner's own names; none may hide a column, a function or another name."""
    names: dict[str, Parameter | Formula] = {}
    written: list[tuple[str, str, Parameter | Formula]] = [
        *(("parameters", name, Parameter(value)) for name, value in mapping.parameters.items()),
        *(("formulas", name, Formula(text)) for name, text in mapping.formulas.items()),
    ]
    for section, name, own in written:
        taken = _taken_as(name, names)
        if taken:
            what = f"is {taken}"
            problems.append(MappingProblem((section, name), what, "choose another"))
        names[name] = own
    return names


def _taken_as(name: str, names: Mapping[str, Parameter | Formula]) -> str | None:
    """Say what a name means already; None when it is free."""
    if name in catalogue() or name in names:
        return "the name of a column" if name in catalogue() else "the name of a parameter"
    return "the name of a function" if name in FUNCTIONS else None if is_name(name) else "a word of SQL"


def _broken_formulas(mapping: "model.Mapping", scale: Scale) -> list[MappingProblem]:
    """Find what is wrong in parameters and formulas, once, whoever uses them."""
    problems: list[MappingProblem] = []
    for name, value in mapping.parameters.items():
        try:
            _ = Parameter(value).term
        except Wrong as wrong:
            problems.append(MappingProblem(("parameters", name), wrong.what, wrong.instead))
    for name, text in mapping.formulas.items():
        _translate(("formulas", name), text, scale, lambda _: None, problems)
    return problems


def _field(
    name: str, spec: "model.FieldSpec", scale: Scale, problems: list[MappingProblem]
) -> CompiledField | None:
    def check(term: Term) -> None:
        if term.kind is None:
            raise Wrong("is always unknown", "write null beside `fields` to leave an inherited field out")
        wanted = FieldType(spec.type) if spec.type else natural_type(term.kind)
        if (term.kind, wanted) not in READERS:
            can = " or ".join(f"`type: {type_}`" for kind, type_ in READERS if kind is term.kind)
            raise Wrong(f"is {term.said}, which cannot be pushed as {wanted}", f"use {can}")

    term = _translate(("fields", name), spec.value, scale, check, problems)
    if term is None or term.kind is None:
        return None
    type_ = FieldType(spec.type) if spec.type else natural_type(term.kind)
    told = Field(name, type_, spec.title or name)
    return CompiledField(name, told, spec.value, term, READERS[term.kind, type_])


def _list(
    name: str, spec: "model.ListSpec", scale: Scale, problems: list[MappingProblem]
) -> CompiledList | None:
    def check(term: Term) -> None:
        truth(term, "a rule")

    term = _translate(("lists", name), spec.when, scale, check, problems)
    ends = spec.until is not None
    leaves = _translate(("lists", name, "until"), spec.until or "", scale, check, problems) if ends else None
    if term is None or (ends and leaves is None):
        return None
    whole = stays(name, term, leaves) if leaves else term
    reenter = read_reentry(spec.reenter) if spec.reenter else ALWAYS
    digest = _sum([LANGUAGE, scale.digits, spec.trigger, *sql_of(whole)]) if spec.is_journey else ""
    return CompiledList(name, spec.is_journey, spec.when, whole, spec.trigger, spec.until, reenter, digest)


def _translate(
    path: tuple[str, ...],
    expression: str,
    scale: Scale,
    check: Callable[[Term], None],
    problems: list[MappingProblem],
) -> Term | None:
    """Translate one expression and judge the whole; add to `problems` what is wrong with it."""
    translator = Translator(expression, scale)
    term = translator.translate()
    wrongs = translator.problems
    if term is not None:
        try:
            check(term)
        except Wrong as wrong:
            wrong.offset = wrong.offset or 0
            wrongs = [wrong]
    own = [wrong for wrong in wrongs if not (problems and isinstance(wrong, WrongElsewhere))]
    problems += [MappingProblem(path, wrong.what, wrong.instead, wrong.offset) for wrong in own]
    return None if wrongs else term


def _digest(fields: Sequence[CompiledField], lists: Sequence[CompiledList], currency: str) -> str:
    """Sum up everything that results depend on: two mappings with one digest give the same values."""
    parts = [
        ["language", LANGUAGE, currency],
        *(["field", each.name, each.field.type, each.field.title, *sql_of(each.term)] for each in fields),
        *(["list", each.name, each.journey, *sql_of(each.term)] for each in lists),
        *(["trigger", each.name, each.trigger] for each in lists if each.trigger),
    ]
    return _sum(parts)


def _sum(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def sql_of(term: Term) -> Sequence[Any]:
    """Write a term as SQL with its literals: spaces and brackets that mean nothing do not count."""
    compiled = select(term.sql).add_columns(bindparam("sync")).compile(dialect=sqlite.dialect())
    return [term.kind, str(compiled), sorted(compiled.params.items(), key=str)]
