# The pgvault command alone, without PostgreSQL's programs. Any base with Python >= 3.11 and its venv module will do,
# as long as both stages use the same.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
COPY . /src
RUN python3 -m venv /opt/pgvault && /opt/pgvault/bin/pip install --quiet --no-cache-dir /src

FROM ${BASE}
# A user with a name: libpq refuses a user id that is not in /etc/passwd when the DSN names no role.
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/pgvault pgvault
COPY --from=build /opt/pgvault /opt/pgvault
ENV PATH=/opt/pgvault/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/pgvault
ENTRYPOINT ["pgvault"]
CMD ["--help"]
