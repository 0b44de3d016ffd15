"""`alerts:` - who is told what of `status`, and how.

    receivers:
      pager: {pagerduty: "file:/etc/pgvault/pagerduty"}         # a routing key of the Events API v2
      slack: {webhook: "env:SLACK_WEBHOOK"}                     # {"text": …} is posted to that address
      mail:  {smtp: "mail.example.com:587", from: pgvault@example.com, to: [dba@example.com]}
      desk:  {command: [/usr/local/bin/open-ticket, --from, pgvault]}     # JSON on stdin, no shell
    routes: {page_oncall: pager, alert_slack: slack, red: [pager, mail], warn: slack}
    default: mail

A route is named by an action of checks, by a finding, by a severity of checks or by a level. The address of a webhook
is a secret: whoever has it can post there. So it is referred to, unless it can be seen that nothing in it is secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from pgvault.config.sections import Duration, Secret, Section, secret
from pgvault.errors import PlainSecret, did_you_mean

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
SECRET_HOSTS = re.compile(r"(^|\.)(slack\.com|discord(app)?\.com|office\.com|hc-ping\.com|pagerduty\.com)$")
TOKEN = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_-]{16,}")  # a part of a path that was not thought up by people
KINDS = ("webhook", "pagerduty", "smtp", "command")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
HTTP = ("http://", "https://")
SMTPS_PORT = 465

Address = Secret | str


def _address(what: str) -> BeforeValidator:
    """Return what reads an address: a reference to one, or one that visibly holds no secret."""

    def read(value: object) -> Address:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError("write file:PATH, env:NAME, or an address without credentials")  # noqa: TRY004 - pydantic
        if value.startswith(("file:", "env:")):
            return Secret.parse(value, what=what)
        if not value.startswith(HTTP):
            raise ValueError("write file:PATH, env:NAME, or an address that begins with http")
        if _holds_secret(value):
            raise PlainSecret(
                f"{what} is written into the configuration, and whoever reads it can use it",
                hint="Write file:PATH or env:NAME; the address itself stays out of the configuration.",
            )
        return value

    return BeforeValidator(read)


def _holds_secret(url: str) -> bool:
    """Tell whether an address may hold what only its owner should know."""
    parts = urlsplit(url)
    is_token = any(TOKEN.fullmatch(part) for part in parts.path.split("/"))
    return "@" in parts.netloc or bool(parts.query) or is_token or bool(SECRET_HOSTS.search(parts.hostname or ""))


def _several(value: object) -> object:
    """Let one name stand for a list of one, and `off` for nobody."""
    if value is False or value == "off":
        return ()
    return (value,) if isinstance(value, str) else value


Several = Annotated[tuple[str, ...], BeforeValidator(_several)]


class WebhookReceiver(Section):
    """A Slack-compatible webhook."""

    webhook: Annotated[Address, _address("the address of a webhook")]


class PagerDutyReceiver(Section):
    """A service of PagerDuty, Events API v2."""

    pagerduty: Annotated[Secret, secret("a PagerDuty routing key")]
    endpoint: str = Field(default=PAGERDUTY, pattern=r"^https?://[^/@?]+(/[^@?]*)?$")


class MailReceiver(Section):
    """Mail by way of one server."""

    smtp: str = Field(pattern=r"^[^\s:/@]+:[0-9]{1,5}$")  # host:port; 465 is TLS from the first byte
    sender: str = Field(validation_alias="from", pattern=r"^[^\s@]+@[^\s@]+$")
    to: Several = Field(min_length=1)
    user: Annotated[Secret, secret("user")] | None = None
    password: Annotated[Secret, secret("password")] | None = None
    starttls: bool = True  # without it nothing that is secret is sent

    @property
    def host(self) -> str:
        """The server's name."""
        return self.smtp.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The server's port."""
        return int(self.smtp.rpartition(":")[2])

    @field_validator("to")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if re.fullmatch(r"[^\s@,]+@[^\s@,]+", each) is None:
                raise ValueError(f"{each!r} is no address of mail")
        return value

    @model_validator(mode="after")
    def _is_safe(self) -> MailReceiver:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        is_open = not self.starttls and self.port != SMTPS_PORT and self.host not in LOCAL_HOSTS
        if self.password is not None and is_open:
            raise ValueError("a password would be sent in the clear: starttls must be true")
        return self


class CommandReceiver(Section):
    """A program that gets JSON on stdin."""

    command: tuple[str, ...] = Field(min_length=1)


ReceiverConfig = WebhookReceiver | PagerDutyReceiver | MailReceiver | CommandReceiver


def _kind(value: object) -> str | None:
    """Tell which kind of receiver is meant, so that an error speaks of that one alone."""
    if isinstance(value, Mapping):
        return next((f"[{kind}]" for kind in KINDS if kind in value), None)
    return next((f"[{kind}]" for kind in KINDS if hasattr(value, kind)), None)


AnyReceiver = Annotated[
    Annotated[WebhookReceiver, Tag("[webhook]")]
    | Annotated[PagerDutyReceiver, Tag("[pagerduty]")]
    | Annotated[MailReceiver, Tag("[smtp]")]
    | Annotated[CommandReceiver, Tag("[command]")],
    Discriminator(
        _kind,
        custom_error_type="receiver",
        custom_error_message=f"a receiver is one of {', '.join(KINDS)}",
    ),
]


class AlertsConfig(Section):
    """Who is told of what `status` finds."""

    receivers: dict[str, AnyReceiver] = Field(min_length=1)
    routes: dict[str, Several] = Field(default_factory=dict)  # to nobody, where that is said: `warn: off`
    default: Several | None = None  # whatever no route names; None: all receivers
    repeat: Duration = timedelta(hours=4)  # after which what is still red is told again
    ping: Annotated[Address, _address("the address of ping")] | None = None  # asked after each look that went well
    state: Path | None = None  # a file, for while the repository does not answer; None: beside the host's signing key

    @model_validator(mode="after")
    def _known(self) -> AlertsConfig:
        """See that every route leads somewhere: an alert that nobody gets is worse than none."""
        named = [("default", name) for name in self.default or ()]
        named += [(f"routes.{route}", name) for route, names in self.routes.items() for name in names]
        for place, name in named:
            if name not in self.receivers:
                meant = did_you_mean(name, self.receivers)
                known = ", ".join(self.receivers)
                raise ValueError(f"{place} names receiver {name!r}, and there is none. {meant}Known: {known}")
        if self.default == ():
            raise ValueError("default must name a receiver: what no route names would be told to nobody")
        return self
