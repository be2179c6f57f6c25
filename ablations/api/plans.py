"""What may be trained, from Python: a plan's options as keyword arguments, checked."""

from collections.abc import Callable
from dataclasses import fields
from inspect import Parameter, Signature, signature
from typing import ParamSpec

from ablations.api.arguments import bind
from ablations.study.request import LadderRequest, ModelsRequest, Request, make_plan
from ablations.study.trial import Plan

P = ParamSpec("P")


def make_planner(name: str, request: Callable[P, Request], purpose: str) -> Callable[P, Plan]:
    """A function that takes a request's fields by name, each with its type, default and line of help."""
    shape = Signature(sort_parameters(request), return_annotation=Plan)

    def make(*args: P.args, **options: P.kwargs) -> Plan:
        bind(name, shape, args, options)
        asked = request(*args, **options)
        plan = make_plan(asked)
        if asked.here:
            from ablations.training.checks import check_plan, check_weights

            check_plan(plan)
            check_weights(plan.trials())
        return plan

    make.__name__, make.__qualname__, make.__doc__ = name, name, describe(request, purpose)
    make.__signature__ = shape  # type: ignore[attr-defined]
    return make


def sort_parameters(request: Callable[P, Request]) -> list[Parameter]:
    """Those of a request, its own before those of its base."""
    own = vars(request)["__annotations__"]
    return sorted(signature(request).parameters.values(), key=lambda parameter: parameter.name not in own)


def describe(request: Callable[P, Request], purpose: str) -> str:
    """The docstring of a function of its fields."""
    about = {f.name: f.metadata["help"] for f in fields(request)}  # type: ignore[arg-type]
    lines = (f"    {parameter.name}: {about[parameter.name]}." for parameter in sort_parameters(request))
    wrong = "    ValueError: values that could not be trained; the message says what is allowed."
    return "\n".join((purpose, "", "Args:", *lines, "", "Raises:", wrong))


plan = make_planner("plan", LadderRequest, "Plan a study: rungs of a ladder, each trained from several seeds.")


compare = make_planner(
    "compare",
    ModelsRequest,
    "Plan a study that compares networks by name. Run it with ``keep=True`` to see their answers to images.",
)
