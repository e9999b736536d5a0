# `runtime` is notify; `catcher` is the mail catcher, for development.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS python
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore


FROM python AS wheel
WORKDIR /src
# hatchling comes from a lock as well: a build must not depend on its day.
COPY requirements-dev.lock ./
RUN pip install --require-hashes --no-deps -r requirements-dev.lock
COPY pyproject.toml README.md celeryconfig.py ./
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
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin notify
# Nothing is written to the image: a read-only root needs a tmpfs at /tmp only.
ENV PATH=/srv/notify/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv
USER 10001:10001
CMD ["notify", "--help"]


FROM base AS catcher
COPY --from=installed-embedded /srv/notify /srv/notify


FROM base AS runtime
COPY --from=installed /srv/notify /srv/notify
