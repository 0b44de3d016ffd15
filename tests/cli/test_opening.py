from __future__ import annotations

from pathlib import Path

from pgvault.cli.opening import make_source

CONFIG = 'repository: {key: "env:KEY", copies: {primary: {url: "file:///srv/pgvault"}}}\ntimezone: '


def test_service_reads_what_a_link_points_to_now(tmp_path: Path) -> None:
    """Kubernetes changes a mounted file by pointing a link at a new directory and removing the old one."""
    for name, zone in (("old", "UTC"), ("new", "Europe/Berlin")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pgvault.yaml").write_text(CONFIG + zone)
    link, config = tmp_path / "..data", tmp_path / "pgvault.yaml"
    link.symlink_to("old")
    config.symlink_to("..data/pgvault.yaml")
    source = make_source(config)
    before = source.load().timezone

    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(link)
    (tmp_path / "old" / "pgvault.yaml").unlink()

    assert (before, source.load().timezone) == ("UTC", "Europe/Berlin")
