from __future__ import annotations

import pytest

from pgvault.drill.empty import bootstrap_name, nearest_programs
from pgvault.errors import ProgramMissing
from tests.servers import MAJORS


@pytest.mark.parametrize(
    ("role_statements", "name"),
    [
        (b"", "postgres"),
        (b"CREATE ROLE app;\n", "postgres"),
        (b"GRANT a TO b WITH INHERIT TRUE GRANTED BY postgres;\n", "postgres"),
        (b"GRANT a TO b GRANTED BY rdsadmin;\nGRANT c TO d GRANTED BY rdsadmin;\n", "rdsadmin"),
        (b'GRANT a TO b GRANTED BY "Odd ""one""";\n', 'Odd "one"'),
        (b"GRANT a TO b GRANTED BY one;\nGRANT c TO d GRANTED BY two;\n", "postgres"),
        (b"GRANT a TO b GRANTED BY one;\nGRANT c TO d GRANTED BY postgres;\n", "postgres"),
    ],
)
def test_the_superuser_is_called_as_at_the_source(role_statements: bytes, name: str) -> None:
    """Where it shows who granted; else by the usual name."""
    assert bootstrap_name(role_statements) == name


def test_programs_of_the_major_or_newer() -> None:
    """The backup's major first, the nearest newer one else, and never an older one."""
    if not MAJORS:
        pytest.skip("no PostgreSQL is installed")

    assert nearest_programs(MAJORS[0]).major == MAJORS[0]
    assert nearest_programs(MAJORS[0] - 1).major == MAJORS[0]
    with pytest.raises(ProgramMissing, match="no programs of PostgreSQL 19 or newer"):
        nearest_programs(19)
