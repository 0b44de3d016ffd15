# syntax=docker/dockerfile:1
# pgvault with PostgreSQL's own programs: backs up, streams, restores and drills; no compiler, no pip, no shell needed.
#
#   docker build --tag pgvault .                                      PostgreSQL 15 to 18, from apt.postgresql.org
#   docker build --tag pgvault --build-arg MAJORS="17 18" .           fewer majors: about 60 MB each
#   docker build --tag pgvault --build-arg MAJORS=15 --build-arg PGDG= .        Debian's own PostgreSQL, nothing else asked
#
#   docker run --rm --read-only --cap-drop=all --security-opt=no-new-privileges --tmpfs=/tmp \
#       --volume /etc/pgvault:/etc/pgvault:ro --volume DATA:DATA:ro pgvault backup
#
# What it needs to write: /tmp (a drill restores there, unless `drill: {scratch: DIR}` says another volume), and for
# `wal stream` its spool, a volume that survives the container. The configuration is /etc/pgvault/pgvault.yaml.
# It is uid 10001, and any other by --user or runAsUser: that of the data directory's owner, where that is backed up
# beside the server (999 in the official images of PostgreSQL), or one that OpenShift draws.
# SIGTERM ends every command in order. There is no HEALTHCHECK: a job's exit status and `pgvault status` say more.
#
# A drill runs the restored cluster here, with the locales and extensions that it has: name other LOCALES, and install
# what else it needs in an image of your own:
#
#   FROM pgvault
#   USER root
#   RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-18-postgis-3 && rm -rf /var/lib/apt/lists/*
#   USER 10001:10001
#
# The same libraries again, version by version, as in an image that was built before:
#
#   docker build --build-arg CONSTRAINTS="$(docker run --rm --entrypoint=cat OLD /opt/pgvault/constraints.txt)" .

# Any Debian, or one of its kind, with Python >= 3.11 and its venv module will do.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS libraries
ARG CONSTRAINTS=""
WORKDIR /src
RUN python3 -m venv /build \
 && python3 -m venv --without-pip /opt/pgvault \
 && printf '%s\n' "$CONSTRAINTS" >/build/constraints.txt
COPY pyproject.toml ./
# Byte code is made once, and believed without a look at the source's time: the file system is read-only.
# Of botocore's 400 services those are kept that are spoken with: S3, KMS, and what gives credentials.
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        >/build/requirements.txt \
 && /build/bin/pip wheel --quiet --no-cache-dir --only-binary=:all: --wheel-dir /build/wheels \
        --constraint /build/constraints.txt --requirement /build/requirements.txt \
 && /build/bin/pip --python /opt/pgvault/bin/python3 install --quiet --no-index --no-compile /build/wheels/*.whl \
 && /build/bin/pip --python /opt/pgvault/bin/python3 list --format=freeze >/opt/pgvault/constraints.txt \
 && cd /opt/pgvault/lib/python3*/site-packages \
 && find botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name kms ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} + \
 && find numpy boto3 -type d \( -name tests -o -name examples -o -name include -o -name f2py \) -exec rm -rf {} + \
 && rm -rf numpy/_core/lib zstandard/_cffi* zstandard/backend_rust* \
 && /opt/pgvault/bin/python3 -m compileall -q -j 0 --invalidation-mode=unchecked-hash .

FROM libraries AS build
COPY . ./
RUN /build/bin/pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /build/pgvault . \
 && /build/bin/pip --python /opt/pgvault/bin/python3 install --quiet --no-index --no-deps --no-compile --root /out /build/pgvault/*.whl \
 && /opt/pgvault/bin/python3 -m compileall -q -j 0 --invalidation-mode=unchecked-hash -s /out -p / /out

FROM ${BASE}
ARG MAJORS="15 16 17 18"
ARG PGDG=https://apt.postgresql.org/pub/repos/apt
# Of which a restored cluster may have any: without its locale a database can not be connected to.
ARG LOCALES="en_US en_GB de_DE es_ES fr_FR it_IT ja_JP ko_KR nl_NL pl_PL pt_BR ru_RU sv_SE tr_TR zh_CN"
# The key of apt.postgresql.org comes with Debian's postgresql-common, so that no download has to be believed.
# LLVM (and z3) serves nothing but the JIT of long queries, perl nothing but Debian's wrappers, which are not used: both
# are cut out, 180 MB, and stay registered, so that apt goes on working in an image that begins with this one.
RUN set -eu; export DEBIAN_FRONTEND=noninteractive; . /etc/os-release; \
    install() { apt-get install -qq --yes --no-install-recommends "$@" >/dev/null; }; \
    mkdir -p /etc/postgresql-common; echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf; \
    apt-get update -qq; \
    install ca-certificates libnss-extrausers locales postgresql-common tini; \
    if [ -n "$PGDG" ]; then \
        echo "deb [signed-by=/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc] $PGDG $VERSION_CODENAME-pgdg main" \
            >/etc/apt/sources.list.d/pgdg.list; \
        apt-get update -qq; \
    fi; \
    for major in $MAJORS; do install "postgresql-$major"; done; \
    for locale in $LOCALES; do localedef --inputfile="$locale" --charmap=UTF-8 "$locale.UTF-8"; done; \
    find /usr/bin -lname '*pg_wrapper' -delete; \
    rm -rf /usr/lib/postgresql/*/lib/bitcode /usr/lib/postgresql/*/lib/llvmjit* /usr/lib/*-linux-gnu/libLLVM* /usr/lib/llvm-* \
        /usr/lib/*-linux-gnu/libz3.so* \
        /usr/lib/*-linux-gnu/libperl.so* /usr/lib/*-linux-gnu/perl/5* /usr/share/perl/5* /usr/bin/tini-static \
        /usr/share/locale/*/LC_MESSAGES /usr/share/i18n /usr/share/postgresql/*/man /usr/share/man/* \
        /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /etc/ssl/private/ssl-cert-snakeoil.key; \
    find /usr/share/doc -type f ! -name copyright -delete
# Python's own modules have no byte code in the official images, and can not get it at run time.
RUN python3 -m compileall -q -j 0 -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip|site-packages|dist-packages)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# PostgreSQL's programs want their user to have a name. 10001 has one; any other is given one by pgvault's start (with
# that group whatever it has, since libnss-extrausers passes over users of system groups: OpenShift's have group 0).
RUN useradd --uid 10001 --user-group --home-dir /var/lib/pgvault --shell /usr/sbin/nologin pgvault \
 && install --directory --owner=10001 --group=0 --mode=0770 /var/lib/pgvault \
 && sed -i 's/^passwd:.*/passwd: files extrausers/' /etc/nsswitch.conf \
 && mkdir -p /var/lib/extrausers && ln -s /tmp/.pgvault-user /var/lib/extrausers/passwd \
 && printf '%s\n' '#!/bin/sh' \
        'id -un >/dev/null 2>&1 || echo "pgvault:x:$(id -u):10001::$HOME:/usr/sbin/nologin" >>/tmp/.pgvault-user' \
        '# As process 1 nobody reaps what a killed server of a drill leaves, and signals without a handler are lost.' \
        '[ $$ != 1 ] || exec tini -- /opt/pgvault/bin/pgvault "$@"' \
        'exec /opt/pgvault/bin/pgvault "$@"' >/usr/local/bin/pgvault \
 && chmod 0755 /usr/local/bin/pgvault
COPY --from=libraries /opt/pgvault /opt/pgvault
COPY --from=build /out/ /
ENV HOME=/var/lib/pgvault USER=pgvault PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 LANG=C.UTF-8
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
RUN [ -z "$VERSION" ] || [ "$(pgvault --version)" = "pgvault $VERSION" ]
LABEL org.opencontainers.image.title="pgvault" \
      org.opencontainers.image.description="Backs up PostgreSQL, archives its WAL and proves by drills that any moment can be restored" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
USER 10001:10001
WORKDIR /var/lib/pgvault
ENTRYPOINT ["pgvault"]
CMD ["--help"]
