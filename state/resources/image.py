"""Image: a declaration about an image. A Container's image needs none."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from state.resources.container import ImageName
from state.resources.fields import LATER, SET, Items, Later, Model, later, name_problem, wrong
from state.resources.meta import ObjectMeta


def _pull_secret(value: str) -> str:
    namespace, slash, name = value.partition("/")
    if not slash:
        raise wrong(f'must be NAMESPACE/NAME of a Secret, such as "default/{value}"')
    if problem := name_problem(namespace) or name_problem(name, subdomain=True):
        raise wrong(problem)
    return value


def _policy(value: object) -> object:
    if value in ("Digest", "Semver"):
        raise wrong(str(value), LATER)
    return value


class ImageUpdate(Model):
    """How the image moves on."""

    policy: Annotated[Literal["None"], BeforeValidator(_policy)] = Field(
        "None", description="None: stays. Default: None. Digest and Semver are not supported yet."
    )
    range: Later = later("Range of versions.")
    soak: Later = later("Age that a version must have.")
    window: Later = later("When it may move.")


class ImageSpec(Model):
    """What is declared about one image."""

    reference: ImageName = Field(description="The image: NAME, NAME:TAG or NAME@DIGEST.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When it is fetched. Default: IfNotPresent."
    )
    pull_secrets: Items[Annotated[str, AfterValidator(_pull_secret)]] = Field(
        (), description="Credentials, each NAMESPACE/NAME of a Secret. Default: none.", json_schema_extra=SET
    )
    pinned: bool = Field(False, description="Never removed to make room. Default: false.")
    platform: Later = later("Platform such as linux/arm64.")
    update: ImageUpdate | None = Field(None, description="How it moves on. Default: it stays.")


class Image(Model):
    """A declaration about an image."""

    api_version: Literal["setpoint.dev/v1alpha1"] = Field(description="setpoint.dev/v1alpha1.")
    kind: Literal["Image"] = Field(description="Image.")
    metadata: ObjectMeta = Field(description="Metadata.")
    spec: ImageSpec = Field(description="What should be; written by people.")
    status: dict[str, Any] = Field(default={}, description="What was seen; written by controllers.")
