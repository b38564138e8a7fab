# One container, one folder: docker run --init -v ./data:/data cartwire
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/cartwire
COPY requirements.lock ./
RUN /opt/cartwire/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY connectors connectors
COPY config config
COPY state state
COPY mappings mappings
COPY sync sync
RUN /opt/cartwire/bin/pip install --no-deps --no-build-isolation . \
    && /opt/cartwire/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim
COPY --from=build /opt/cartwire /opt/cartwire
# Nothing outside /data and /tmp is written, so the root file system can be read-only.
ENV PATH=/opt/cartwire/bin:$PATH CARTWIRE_DIR=/data SQLITE_TMPDIR=/data PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN install --directory --owner 10001 --group 10001 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
STOPSIGNAL SIGTERM
# As long as `web.listen` keeps the port 8080. Not by urlopen, which would ask a proxy of the environment.
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection; c = HTTPConnection('127.0.0.1', 8080, timeout=15); c.request('GET', '/healthz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["cartwire"]
CMD ["run"]
