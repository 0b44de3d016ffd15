"""The configuration file, typed: sections of their own for the repository and for retention, the rest in `config`."""

from pgvault.config.alerts import (
    AlertsConfig,
    AnyReceiver,
    CommandReceiver,
    MailReceiver,
    PagerDutyReceiver,
    WebhookReceiver,
)
from pgvault.config.checks import CheckBase, CheckConfig
from pgvault.config.checktypes import (
    AggregateCheck,
    AnyCheck,
    AsOf,
    CompletenessCheck,
    CrossFieldCheck,
    FormatCheck,
    RangeCheck,
    ReferentialCheck,
    UniquenessCheck,
)
from pgvault.config.config import (
    CLUSTER_NAME,
    SEARCH_PATH,
    ClusterConfig,
    Config,
    DrillConfig,
    LogicalConfig,
    StreamConfig,
    find_config,
    load_config,
    parse_config,
)
from pgvault.config.crosssystem import CrossSystemCheck, Side, Tolerance
from pgvault.config.escrow import decode_key_lines, encode_key_lines, is_sheet
from pgvault.config.keys import (
    KeyReference,
    KmsKey,
    PassphraseKey,
    absolute_key_reference,
    decode_key,
    parse_key_reference,
)
from pgvault.config.promises import ClassConfig, Objectives
from pgvault.config.repository import CopyConfig, ObjectLockConfig, RepositoryConfig
from pgvault.config.retention import GfsConfig, LogicalRetention, RetentionConfig
from pgvault.config.schedule import Schedule
from pgvault.config.sections import CREDENTIALS, Secret, Section

__all__ = [
    "CLUSTER_NAME",
    "CREDENTIALS",
    "SEARCH_PATH",
    "AggregateCheck",
    "AlertsConfig",
    "AnyCheck",
    "AnyReceiver",
    "AsOf",
    "CheckBase",
    "CheckConfig",
    "ClassConfig",
    "ClusterConfig",
    "CommandReceiver",
    "CompletenessCheck",
    "Config",
    "CopyConfig",
    "CrossFieldCheck",
    "CrossSystemCheck",
    "DrillConfig",
    "FormatCheck",
    "GfsConfig",
    "KeyReference",
    "KmsKey",
    "LogicalConfig",
    "LogicalRetention",
    "MailReceiver",
    "ObjectLockConfig",
    "Objectives",
    "PagerDutyReceiver",
    "PassphraseKey",
    "RangeCheck",
    "ReferentialCheck",
    "RepositoryConfig",
    "RetentionConfig",
    "Schedule",
    "Secret",
    "Section",
    "Side",
    "StreamConfig",
    "Tolerance",
    "UniquenessCheck",
    "WebhookReceiver",
    "absolute_key_reference",
    "decode_key",
    "decode_key_lines",
    "encode_key_lines",
    "find_config",
    "is_sheet",
    "load_config",
    "parse_config",
    "parse_key_reference",
]
