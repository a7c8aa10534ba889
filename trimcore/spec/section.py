"""What all sections of a spec have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Natural = Annotated[int, Field(ge=0, le=10_000_000)]


class Section(BaseModel):
    """Unknown keys are refused, numbers must be finite, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
