# `runtime` is notify; `catcher` is the mail catcher, for development.
# A build that must be repeatable names the base image by its digest, and the commit:
#   docker build --target runtime --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:... \
#     --build-arg REVISION="$(git rev-parse HEAD)" --tag notify .
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS python
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore


FROM python AS wheel
WORKDIR /src
# hatchling is locked as well, so that builds are repeatable.
COPY requirements-dev.lock ./
RUN pip install --require-hashes --no-deps -r requirements-dev.lock
COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY migrations migrations
COPY notify notify
COPY templates templates
RUN python -m hatchling build -t wheel -d /wheel


FROM python AS installed
RUN python -m venv /srv/notify
COPY requirements.lock ./
RUN /srv/notify/bin/pip install --require-hashes --no-deps -r requirements.lock
COPY --from=wheel /wheel /wheel
RUN /srv/notify/bin/pip install --no-index --no-deps /wheel/*.whl


FROM installed AS installed-embedded
COPY requirements-embedded.lock ./
RUN /srv/notify/bin/pip install --require-hashes --no-deps -r requirements-embedded.lock


FROM python AS base
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title=notify \
    org.opencontainers.image.description="A durable notification outbox for code review: one event in, one email per person out." \
    org.opencontainers.image.licenses=Apache-2.0 \
    org.opencontainers.image.url=https://github.com/notify-outbox/notify \
    org.opencontainers.image.source=https://github.com/notify-outbox/notify \
    org.opencontainers.image.documentation=https://github.com/notify-outbox/notify/tree/main/docs \
    org.opencontainers.image.version=$VERSION \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.base.name=$PYTHON_IMAGE
# For the history of queues.
RUN apt-get update && apt-get install --yes --no-install-recommends git openssh-client && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin notify \
    && install --directory --owner=notify --mode=0700 /var/lib/notify
# Only these are written to: with a read-only root, mount a tmpfs at /tmp, and a volume where there are queues.
ENV PATH=/srv/notify/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NOTIFY_DATA_DIR=/var/lib/notify
WORKDIR /srv
USER 10001:10001
CMD ["notify", "--help"]


FROM base AS catcher
COPY --from=installed-embedded /srv/notify /srv/notify


FROM base AS runtime
COPY --from=installed /srv/notify /srv/notify
