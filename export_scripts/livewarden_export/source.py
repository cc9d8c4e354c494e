"""Opens the models that models.yaml names: a factory, a Hugging Face folder, or an ONNX file."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from livewarden_client import wire
from livewarden_export.errors import ExportFailed, SourceInvalid
from livewarden_export.recipe import (
    FactorySource,
    HuggingFaceSource,
    Models,
    Package,
    Recipe,
    Source,
)


class Sources:
    """The models of one models.yaml, each opened when it is first asked for, once."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._opened: dict[str, Source] = {}

    def open(self, leaf: str) -> Source:
        """The source of `leaf`; SourceInvalid says what is missing or does not fit."""
        if leaf not in self._opened:
            recipe = self.models.find(leaf)
            try:
                self._opened[leaf] = self._load(recipe)
            except ExportFailed:
                raise
            # Factories are the users' own code and libraries raise what they like.
            except Exception as error:
                raise SourceInvalid(
                    f"{self.models.path}: models.{leaf}.source: {type(error).__name__}: {error}"
                ) from error
        return self._opened[leaf]

    def _load(self, recipe: Recipe) -> Source:
        match recipe.source:
            case FactorySource(call=call):
                module, _, function = call.partition(":")
                source: Source = getattr(importlib.import_module(module), function)(recipe, self)
                return source
            case HuggingFaceSource():
                from livewarden_export import hugging_face  # noqa: PLC0415 - loads transformers

                if recipe.model is wire.TEXT_ENCODER:
                    return hugging_face.open_text_encoder(recipe)
                if recipe.model is wire.VISION_ENCODER:
                    return hugging_face.open_vision_encoder(recipe)
                raise SourceInvalid(
                    f"{self.models.path}: models.{recipe.model.name}.source: a hugging_face folder "
                    "makes a vision_encoder or a text_encoder; write a factory for this one"
                )
            case _:
                from livewarden_export.wrap import open_onnx  # noqa: PLC0415 - loads ONNX Runtime

                return open_onnx(recipe)


def locate(place: Path | Package) -> Path:
    """The file or folder that `place` means; SourceInvalid where it is not there."""
    if isinstance(place, Path):
        if not place.exists():
            raise SourceInvalid(f"{place}: does not exist; models.yaml names it")
        return place
    try:
        files = distribution(place.name).files or ()
    except PackageNotFoundError:
        raise SourceInvalid(
            f"the package {place.name!r} is not installed; models.yaml names it"
        ) from None
    for file in files:
        if str(file).endswith(place.file):
            return Path(str(file.locate()))
    raise SourceInvalid(f"package {place.name!r} holds no file that ends in {place.file!r}")


def list_packages(recipe: Recipe) -> set[str]:
    """The installed distributions that a recipe's weights and tokenizer come from."""
    places = [recipe.tokenizer, getattr(recipe.source, "file", None)]
    named = {place.name for place in places if isinstance(place, Package)}
    return named | set(getattr(recipe.source, "packages", ()))


def list_files(recipe: Recipe) -> list[Path]:
    """The files outside of packages that a recipe's weights and tokenizer come from."""
    source = recipe.source
    places = [
        recipe.tokenizer,
        getattr(source, "checkpoint", None),
        getattr(source, "folder", None),
        getattr(source, "file", None),
    ]
    files: list[Path] = []
    for place in places:
        if isinstance(place, Path):
            found = locate(place)
            files += (
                sorted(p for p in found.rglob("*") if p.is_file()) if found.is_dir() else [found]
            )
    return files
