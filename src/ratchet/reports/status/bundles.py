"""The models of a use case as registry and bundles have them, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ratchet.errors import UserError


@dataclass(frozen=True)
class Model:
    """A version of the registry.

    Attributes:
        version: its number.
        candidates: target -> what answers for it; empty if the bundle cannot be opened.
    """

    version: str
    candidates: Mapping[str, str] = field(default_factory=dict)


class Bundles:
    """The bundles of a use case; those that cannot be opened become problems.

    Args:
        registry: a ``registry.registry.Registry``.
        use_case: name of the use case.
    """

    def __init__(self, registry: Any, use_case: str) -> None:
        self._registry = registry
        self._use_case = use_case
        self._opened: dict[str, Any] = {}
        self.problems: list[str] = []

    def model(self, version: str | None, role: str) -> Model | None:
        """The model of a version, if there is one.

        Args:
            version: its number.
            role: what it is, to be named in a problem.
        """
        from ratchet.bundle import open_bundle

        if version is None:
            return None
        try:
            bundle = open_bundle(self._registry.folder(self._use_case, version))
            _ = bundle.metrics  # which are read later, and may be damaged
        except UserError as error:
            self.problems.append(f"the {role} cannot be used: {error}")
            return Model(version)
        self._opened[version] = bundle
        return Model(version, bundle.manifest["candidates"])

    def score(self, version: str, target: str, metric: str) -> Mapping[str, float] | None:
        """A score that a bundle was released with: ``value``, ``low``, ``high``.

        Returns:
            ``None`` if the bundle could not be opened, or does not say.
        """
        if version not in self._opened:
            return None
        found: Mapping[str, float] | None = self._opened[version].score(target, metric)
        return found


def disagreements(registry: Any, use_case: str, state: Any) -> list[str]:
    """Aliases of the registry that do not say what the ledger says."""
    aliases = _aliases(registry, use_case)
    said = {"champion": state.champion, "previous": state.previous}
    return [
        f"the alias '{role}' points to {_named(aliases.get(role))}, the ledger says "
        f"{_named(version)}; the ledger is right, and the next run mends the alias"
        for role, version in said.items()
        if aliases.get(role) != version
    ]


def _aliases(registry: Any, use_case: str) -> dict[str, str]:
    """Alias -> version; none for a model that the registry does not know."""
    from ratchet.registry.model_versions import model_of

    model = model_of(registry.client, use_case)
    return {} if model is None else {alias: str(at) for alias, at in model.aliases.items()}


def _named(version: str | None) -> str:
    return "no version" if version is None else f"version {version}"
