"""The configuration file, typed: sections of their own for the repository and for retention, the rest in `config`."""

from pgvault.config.config import (
    CLUSTER_NAME,
    CREDENTIALS,
    SEARCH_PATH,
    CheckConfig,
    ClassConfig,
    ClusterConfig,
    Config,
    DrillConfig,
    LogicalConfig,
    Objectives,
    Schedule,
    StreamConfig,
    find_config,
    load_config,
    parse_config,
)
from pgvault.config.repository import CopyConfig, ObjectLockConfig, RepositoryConfig
from pgvault.config.retention import GfsConfig, LogicalRetention, RetentionConfig
from pgvault.config.sections import PassphraseKey, Secret, Section, decode_key

__all__ = [
    "CLUSTER_NAME",
    "CREDENTIALS",
    "SEARCH_PATH",
    "CheckConfig",
    "ClassConfig",
    "ClusterConfig",
    "Config",
    "CopyConfig",
    "DrillConfig",
    "GfsConfig",
    "LogicalConfig",
    "LogicalRetention",
    "ObjectLockConfig",
    "Objectives",
    "PassphraseKey",
    "RepositoryConfig",
    "RetentionConfig",
    "Schedule",
    "Secret",
    "Section",
    "StreamConfig",
    "decode_key",
    "find_config",
    "load_config",
    "parse_config",
]
