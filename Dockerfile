# One image, several commands: `serve` unless told otherwise, `worker`, `check`, `sandbox`, …
#
#   docker build -t dora-bridge .
#   docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp dora-bridge --help
#
# Dependencies come from the locks with hashes that `make demo` and `make test` install, by the pip that the base
# brings: no other package manager has to be fetched, pinned and trusted. Wheels only, so nothing is compiled.

# A release names the digest as well, as anybody can: --build-arg PYTHON_IMAGE=…/python:3.13-slim-trixie@sha256:…,
# which `docker buildx imagetools inspect docker.io/library/python:3.13-slim-trixie` tells.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie


FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The environment without the project, traces included: changes when a dependency does.
# Bytecode is compiled here, since nobody can write it later; by hash, so that it fits whatever times the files get.
COPY requirements-otel.lock ./
RUN python -m venv --without-pip /opt/dora-bridge \
 && python -m pip --python /opt/dora-bridge/bin/python install --quiet --only-binary :all: --require-hashes \
      --requirement requirements-otel.lock \
 && python -m compileall -qq --invalidation-mode unchecked-hash /opt/dora-bridge/lib

COPY requirements-build.lock ./
RUN python -m venv --without-pip /opt/backend \
 && python -m pip --python /opt/backend/bin/python install --quiet --only-binary :all: --require-hashes \
      --requirement requirements-build.lock

# The project alone, in a folder that is laid over the environment below.
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
COPY workers workers
ARG REVISION=unknown
RUN echo "${REVISION}" > bridge/REVISION \
 && /opt/backend/bin/python -m hatchling build --target wheel --directory /dist \
 && python -m pip --python /opt/dora-bridge/bin/python install --quiet --no-deps --no-index \
      --prefix /opt/project /dist/*.whl \
 && python -m compileall -qq --invalidation-mode unchecked-hash -s /opt/project -p /opt/dora-bridge \
      /opt/project/lib


FROM ${PYTHON_IMAGE}

# Nothing in it installs anything. And the standard library gets its bytecode, which official images leave out:
# a read-only container would otherwise compile it anew at each start and each health check.
RUN python -m pip uninstall --quiet --yes --root-user-action ignore pip \
 && find "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" -maxdepth 1 -depth \
      '(' -name ensurepip -o -name idlelib -o -name lib2to3 -o -name turtledemo ')' -exec rm -r {} + \
 && python -m compileall -qq --invalidation-mode unchecked-hash -x site-packages \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && echo 'dora-bridge:x:10001:10001:dora-bridge:/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'dora-bridge:x:10001:' >> /etc/group

COPY --from=build /opt/dora-bridge /opt/dora-bridge
COPY --from=build /opt/project /opt/dora-bridge

# Inside a container, 127.0.0.1 is nobody; who may reach the internal listener is for the network to say.
ENV PATH="/opt/dora-bridge/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DORA_BRIDGE_LISTEN=0.0.0.0:8080 \
    DORA_BRIDGE_INTERNAL_LISTEN=0.0.0.0:9090 \
    DORA_BRIDGE_WORKER_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090
WORKDIR /tmp
USER 10001:10001

# Of `serve`; whoever runs another command in it switches this off or over. Kubernetes has its own probes.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["python", "-Ic", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['DORA_BRIDGE_LISTEN'].rpartition(':')[2] + '/livez', timeout=2)"]

ENTRYPOINT ["dora-bridge"]
CMD ["serve"]

# Last, since they change with every build. The version is that of bridge/__init__.py; when it was made, the image itself
# knows, and a release adds as a label with its other ones.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dora-bridge" \
      org.opencontainers.image.source="https://github.com/dora-bridge/dora-bridge" \
      org.opencontainers.image.description="Signed webhooks of GitHub, Argo CD, PagerDuty and Opsgenie in, DORA events for Datadog out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
