"""The settings in effect."""

from dataclasses import dataclass

from fastapi import APIRouter, Depends
from pydantic import BaseModel, SecretBytes, SecretStr

from watchword_server.doors.operators.authentication import Authentication


@dataclass(frozen=True, slots=True)
class SettingsRoutes:
    """`/api/v1/settings`: as the server was started with them."""

    settings: BaseModel
    account_id: str

    def router(self, authentication: Authentication) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/v1")
        admin = Depends(authentication.require("admin"))
        router.add_api_route("/settings", self.effective, methods=["GET"], dependencies=[admin])
        return router

    async def effective(self) -> dict[str, object]:
        """Every setting with its value, and which of them are not the default. Of a secret: whether it is set."""
        return {"account_id": self.account_id, "settings": _told(self.settings), "set": sorted(_names_set(self.settings, ""))}


def _told(value: object) -> object:
    if isinstance(value, BaseModel):
        return {name: _told(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, SecretStr | SecretBytes):
        return "set" if value.get_secret_value() else "unset"
    if isinstance(value, list | tuple):
        return [_told(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _told(item) for name, item in value.items()}
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _names_set(model: BaseModel, prefix: str) -> "list[str]":
    names: list[str] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            names += _names_set(value, f"{prefix}{name}.")
        elif value != field.get_default(call_default_factory=True):
            names.append(f"{prefix}{name}")
    return names
