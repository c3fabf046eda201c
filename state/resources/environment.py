"""Environment variables and their references to ConfigMaps and Secrets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from state.resources.fields import LATER, DataKey, Items, Later, Model, Subdomain, later, wrong


def _env_name(value: str) -> str:
    if not value or len(value) > 4096 or "=" in value or not all(" " <= char <= "~" for char in value):
        raise wrong('must be printable ASCII without "="')
    return value


def _on_change(value: object) -> object:
    # Nobody acts on a change yet; the day one does, these become values, Signal not for variables (they cannot change live).
    if value in ("Signal", "Restart"):
        raise wrong(str(value), LATER)
    return value


def _env_value(value: object) -> object:
    if isinstance(value, bool):
        raise wrong(f'must be a string: write "{str(value).lower()}" in quotes')
    if isinstance(value, (int, float)):
        raise wrong(f'must be a string: write "{value}" in quotes')
    return value


EnvName = Annotated[str, AfterValidator(_env_name)]
OnChange = Annotated[Literal["None"], BeforeValidator(_on_change)]
ON_CHANGE = (
    "What a change of the referenced object does to the running process; files follow in any case, but under subPath. "
    "Default: None. Signal and Restart are not supported yet."
)


class ConfigMapKeyRef(Model):
    """One key of a ConfigMap in the same namespace."""

    name: Subdomain = Field(description="Name of the ConfigMap.")
    key: DataKey = Field(description="The key.")
    optional: bool = Field(
        False, description="True: nothing is set when it is missing; false: the start waits. Default: false."
    )
    on_change: OnChange = Field("None", description=ON_CHANGE)


class SecretKeyRef(Model):
    """One key of a Secret in the same namespace."""

    name: Subdomain = Field(description="Name of the Secret.")
    key: DataKey = Field(description="The key.")
    optional: bool = Field(
        False, description="True: nothing is set when it is missing; false: the start waits. Default: false."
    )
    on_change: OnChange = Field("None", description=ON_CHANGE)


class EnvVarSource(Model):
    """Where a value comes from; exactly one."""

    config_map_key_ref: ConfigMapKeyRef | None = Field(None, description="A key of a ConfigMap.")
    secret_key_ref: SecretKeyRef | None = Field(None, description="A key of a Secret.")
    field_ref: Later = later("A field of the object itself.")
    resource_field_ref: Later = later("A limit or request of the container.")
    file_key_ref: Later = later("A key of a file in a volume.")


class EnvVar(Model):
    """One environment variable."""

    name: EnvName = Field(description='Name: printable ASCII without "=".')
    value: Annotated[str, BeforeValidator(_env_value)] | None = Field(
        None,
        description="Value. $(VAR) becomes the value of a variable set before; an unknown one stays as typed; $$ is one $. "
        "Default: empty.",
    )
    value_from: EnvVarSource | None = Field(None, description="Source of the value; not together with value.")


class ConfigMapRef(Model):
    """All keys of a ConfigMap in the same namespace."""

    name: Subdomain = Field(description="Name of the ConfigMap.")
    optional: bool = Field(
        False, description="True: nothing is set when it is missing; false: the start waits. Default: false."
    )
    on_change: OnChange = Field("None", description=ON_CHANGE)


class SecretRef(Model):
    """All keys of a Secret in the same namespace."""

    name: Subdomain = Field(description="Name of the Secret.")
    optional: bool = Field(
        False, description="True: nothing is set when it is missing; false: the start waits. Default: false."
    )
    on_change: OnChange = Field("None", description=ON_CHANGE)


class EnvFromSource(Model):
    """Variables for all keys of one object; ``env`` wins over them, a later item over an earlier one."""

    prefix: str = Field("", description="Put before every key. Default: empty.")
    config_map_ref: ConfigMapRef | None = Field(None, description="The ConfigMap.")
    secret_ref: SecretRef | None = Field(None, description="The Secret.")


EnvVars = Items[EnvVar]
EnvFromSources = Items[EnvFromSource]
