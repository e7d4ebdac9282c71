"""The kinds of training: of images, or of a language model on text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.registry import MARK, nearest, parse_strictly

TrainingSettings = EvaluationSettings | LanguageSettings
SETTINGS: dict[str, type[TrainingSettings]] = {"image": EvaluationSettings, "language": LanguageSettings}
"""The settings class of each `evaluate.training.name`."""
FOR_KIND = {"image": "image", "text": "language"}
"""The training for each `KIND` of data set."""


class ChooseTraining:
    """Annotation of a field that holds the settings of a training. Their `name` selects the class (absent: `image`)."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.model_dump(mode="json")),
        )

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        return {MARK: ["training", ""]}

    def parse(self, value: object) -> TrainingSettings:
        """Returns the settings. A nested validation error is raised unchanged, as in `registry.Choose`."""
        if isinstance(value, TrainingSettings):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError("training", "must be a mapping of keys")
        return parse_strictly(self.settings_for(value), value)

    def settings_for(self, value: Mapping[str, object]) -> type[TrainingSettings]:
        """Returns the settings class of this plain value."""
        name = str(value.get("name", "image"))
        if name not in SETTINGS:
            message = f"unknown training '{name}'{nearest(name, list(SETTINGS))} (allowed: {', '.join(SETTINGS)})"
            raise PydanticCustomError("training_name", "{message}", {"message": message})
        return SETTINGS[name]
