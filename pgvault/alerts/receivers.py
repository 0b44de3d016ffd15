"""Receivers: how each kind is told. What goes wrong is said without the address, the key or what was answered.

A receiver takes parcels: a chat, a mailbox and a program get all that is new in one; PagerDuty gets an event for each
alert, since one incident is opened and closed by itself. One parcel is tried again for a while where the next attempt
may succeed. One that was taken and whose answer was lost is told twice; PagerDuty knows it by its key.
"""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Protocol

from pgvault.alerts.message import Voice, document, escape_for_slack, headline, pagerduty_event, text
from pgvault.alerts.plan import Sending
from pgvault.alerts.web import ANSWER_SECONDS, post, read_address
from pgvault.config import (
    AnyReceiver,
    CommandReceiver,
    MailReceiver,
    PagerDutyReceiver,
    WebhookReceiver,
)
from pgvault.errors import StoreUnreachable
from pgvault.process import attempt
from pgvault.stores.retry import Transient

COMMAND_SECONDS = 30.0
SMTPS_PORT = 465
TEMPORARY = range(400, 500)  # answers of a mail server that may be another the next time

Parcel = Sequence[Sending]


class Receiver(Protocol):
    """Somebody who is told."""

    @property
    def has_incidents(self) -> bool:
        """Whether what is told stays open there until it is resolved."""

    def parcels(self, sendings: Sequence[Sending]) -> list[Parcel]:
        """Return what is told at once."""

    def send(self, parcel: Parcel, voice: Voice) -> None:
        """Tell it, in one attempt. Raises Transient where another may succeed, else a PgvaultError."""


class _Together:
    has_incidents = False

    def parcels(self, sendings: Sequence[Sending]) -> list[Parcel]:
        """Return what is told at once: everything."""
        return [sendings]


@dataclass(frozen=True)
class Webhook(_Together):
    """Posts text to a Slack-compatible webhook."""

    config: WebhookReceiver

    def send(self, parcel: Parcel, voice: Voice) -> None:
        """Tell it, in one attempt."""
        post(read_address(self.config.webhook), {"text": escape_for_slack(text(parcel, voice))})


@dataclass(frozen=True)
class PagerDuty:
    """Opens and closes incidents."""

    config: PagerDutyReceiver
    has_incidents = True

    def parcels(self, sendings: Sequence[Sending]) -> list[Parcel]:
        """Return what is told at once: one alert."""
        return [[each] for each in sendings]

    def send(self, parcel: Parcel, voice: Voice) -> None:
        """Tell it, in one attempt."""
        key = self.config.pagerduty.read().decode("utf-8", "replace").strip()
        for each in parcel:
            post(self.config.endpoint, pagerduty_event(each, voice, key))


@dataclass(frozen=True)
class Mail(_Together):
    """Sends mail."""

    config: MailReceiver

    def send(self, parcel: Parcel, voice: Voice) -> None:
        """Tell it, in one attempt. That some of its addresses are refused fails nothing: the others were told."""
        mail = EmailMessage()
        mail["From"], mail["To"] = self.config.sender, ", ".join(self.config.to)
        mail["Subject"] = headline(parcel)
        mail["Date"], mail["Message-ID"] = format_datetime(voice.clock()), make_msgid(domain="pgvault")
        mail.set_content(text(parcel, voice))
        try:
            with self._connect() as server:
                self._log_in(server)
                server.send_message(mail)
        except smtplib.SMTPResponseException as error:
            failure = StoreUnreachable(f"the mail server answered {error.smtp_code}")
            raise (Transient(failure) if error.smtp_code in TEMPORARY else failure) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            failure = StoreUnreachable(f"the mail server refused all recipients: {codes[0]}")
            raise (Transient(failure) if codes[0] in TEMPORARY else failure) from None
        except (smtplib.SMTPNotSupportedError, ssl.SSLCertVerificationError) as error:
            raise StoreUnreachable(f"the mail server is not fit: {type(error).__name__}") from None
        except (OSError, smtplib.SMTPException) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise Transient(StoreUnreachable(f"the mail server can not be reached: {said}")) from None

    def _connect(self) -> smtplib.SMTP:
        if self.config.port == SMTPS_PORT:
            return smtplib.SMTP_SSL(
                self.config.host, self.config.port, timeout=ANSWER_SECONDS, context=ssl.create_default_context()
            )
        return smtplib.SMTP(self.config.host, self.config.port, timeout=ANSWER_SECONDS)

    def _log_in(self, server: smtplib.SMTP) -> None:
        if self.config.starttls and self.config.port != SMTPS_PORT:
            server.starttls(context=ssl.create_default_context())
        if self.config.user is not None and self.config.password is not None:
            server.login(*(each.read().decode("utf-8", "replace") for each in (self.config.user, self.config.password)))


@dataclass(frozen=True)
class Command(_Together):
    """Runs a program that reads JSON from its stdin; whatever it prints is its own affair, and may be a secret."""

    config: CommandReceiver
    environment: Mapping[str, str] = field(repr=False)  # the whole of it: keys of ours are not for it

    def send(self, parcel: Parcel, voice: Voice) -> None:
        """Tell it, in one attempt."""
        said = json.dumps(document(parcel, voice)) + "\n"
        finished = attempt(self.config.command, timeout=COMMAND_SECONDS, env=self.environment, input=said)
        if finished.status != 0:
            raise Transient(StoreUnreachable(f"its program ended with status {finished.status}"))


def make_receiver(config: AnyReceiver, *, environment: Mapping[str, str]) -> Receiver:
    """Return the receiver that the configuration describes; `environment` is that of a program."""
    match config:
        case WebhookReceiver():
            return Webhook(config)
        case PagerDutyReceiver():
            return PagerDuty(config)
        case MailReceiver():
            return Mail(config)
        case CommandReceiver():
            return Command(config, environment)
