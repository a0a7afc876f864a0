"""What a form held, for the page that shows it again beside what was wrong."""

from __future__ import annotations

from dataclasses import dataclass

from indicia.web.portal.forms import Form

LIMIT = 20_000
"""Characters of a field that is shown; of a longer one nothing: a part would be sent as the whole."""


@dataclass(frozen=True, slots=True)
class Given:
    """The fields of a form; none of them where there was no form."""

    form: Form

    def one(self, name: str, default: str = "") -> str:
        """The first value of a field, or nothing of one that is too long."""
        text = self.form.one(name, default)
        return text if len(text) <= LIMIT else ""

    def many(self, name: str) -> list[str]:
        """Every value of a field, to be compared with what can be chosen."""
        return self.form.many(name)

    def has(self, name: str) -> bool:
        """Whether a box was ticked."""
        return self.form.has(name)
