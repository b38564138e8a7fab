"""How a rule calls a function: what it takes, checked before it is called, and what the docs say of it."""

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from mappings.errors import did_you_mean
from mappings.terms import Scale, Term, Wrong, day_of, moment_of
from state.tables import Kind

MOST_ARGUMENTS = 100
"""More than that SQLite gives to no function."""

Anything = Annotated[Term, frozenset(Kind)]
Text = Annotated[Term, frozenset({Kind.TEXT})]
Number = Annotated[Term, frozenset({Kind.NUMBER})]
Amount = Annotated[Term, frozenset({Kind.NUMBER, Kind.MONEY})]
Moment = Annotated[Term, frozenset({Kind.MOMENT})]
Day = Annotated[Term, frozenset({Kind.DATE, Kind.MOMENT})]
Rankable = Annotated[Term, frozenset({Kind.NUMBER, Kind.MONEY, Kind.MOMENT})]


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    kinds: frozenset[Kind]
    optional: bool
    repeated: bool


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    parameters: Sequence[Parameter]
    description: str
    apply: Callable[..., Term]
    scaled: bool

    @property
    def usage(self) -> str:
        """Write how it is called: round(number or money, digits)."""
        names = (
            f"[{p.name}]" if p.optional else f"{p.name}, …" if p.repeated else p.name for p in self.parameters
        )
        return f"{self.name}({', '.join(names)})"

    def call(self, arguments: Sequence[Term], scale: Scale, names: Sequence[str | None] = ()) -> Term:
        """Check number and kinds of the arguments, then apply; `names` are those given by name. Raises Wrong."""
        if len(arguments) > MOST_ARGUMENTS:
            raise Wrong(f"{self.name}() with more than {MOST_ARGUMENTS} arguments", "split it")
        if any(names):
            return self._call_by_name(arguments, scale, names)
        required = sum(not p.optional for p in self.parameters)
        most = None if any(p.repeated for p in self.parameters) else len(self.parameters)
        if len(arguments) < required or (most is not None and len(arguments) > most):
            raise Wrong(f"{self.name}() does not take {len(arguments)} arguments", f"write {self.usage}")
        padded = [*self.parameters, *[self.parameters[-1]] * len(arguments)] if arguments else []
        checked = [_taken(self, parameter, term) for parameter, term in zip(padded, arguments, strict=False)]
        return self.apply(scale, *checked) if self.scaled else self.apply(*checked)

    def _call_by_name(self, arguments: Sequence[Term], scale: Scale, names: Sequence[str | None]) -> Term:
        """Sort arguments given as `days => 90` to their parameters; those without a name come first."""
        known = {parameter.name: parameter for parameter in self.parameters if not parameter.repeated}
        given: dict[str, Term] = {}
        for place, (term, name) in enumerate(zip(arguments, names, strict=True)):
            if name is None and (any(names[:place]) or place >= len(known)):
                raise Wrong(f"{self.name}(): `{term.text}` lacks a name", f"write {self.usage}")
            to = name or list(known)[place]
            if to in given:
                raise Wrong(f"{self.name}() is given `{to}` twice", f"write {self.usage}")
            if to not in known:
                near = did_you_mean(to, known) or f"write {self.usage}"
                raise Wrong(f"{self.name}() does not take `{to}` here", near)
            given[to] = _taken(self, known[to], term)
        if missing := [each.name for each in self.parameters if not each.optional and each.name not in given]:
            raise Wrong(f"{self.name}() lacks `{missing[0]}`", f"write {self.usage}")
        return self.apply(scale, **given) if self.scaled else self.apply(**given)


def _taken(called: Function, parameter: Parameter, term: Term) -> Term:
    if parameter.kinds == {Kind.MOMENT} and term.string is not None:
        return moment_of(term)
    if Kind.DATE in parameter.kinds and len(parameter.kinds) < len(Kind) and term.string is not None:
        return day_of(term)
    if term.kind is None and parameter.kinds == frozenset(Kind):
        return term
    if term.kind not in parameter.kinds:
        kinds = " or ".join(sorted(parameter.kinds))
        plain = "write numbers without quotes" if term.string and Kind.NUMBER in parameter.kinds else None
        raise Wrong(f"{called.name}() takes {kinds} as {parameter.name}, not {term.said}", plain)
    return term


FUNCTIONS: dict[str, Function] = {}


def function(apply: Callable[..., Term]) -> Callable[..., Term]:
    """Register a function under its own name, a trailing underscore left away.

    Its parameters are annotated with their kinds; one named `scale` comes first and is how money is kept.
    """
    name = apply.__name__.rstrip("_")
    hints = typing.get_type_hints(apply, include_extras=True)
    signature = inspect.signature(apply).parameters
    parameters = [
        Parameter(
            parameter.name.rstrip("_"),
            hints[parameter.name].__metadata__[0],
            optional=parameter.default is not parameter.empty,
            repeated=parameter.kind is parameter.VAR_POSITIONAL,
        )
        for parameter in signature.values()
        if parameter.name != "scale"
    ]
    description = " ".join((apply.__doc__ or "").split())
    FUNCTIONS[name] = Function(name, parameters, description, apply, "scale" in signature)
    return apply
