"""The base class of all spec sections."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Natural = Annotated[int, Field(ge=0, le=10_000_000)]


class Section(BaseModel):
    """Refuses unknown keys and non-finite numbers; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
