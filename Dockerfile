# One node of the relay. Alone it runs its own Redis in /data; with OBSCURA_REDIS_URL it is one of many.
#   docker build -t obscura .
#   docker run -p 3000:3000 -v obscura-data:/data obscura
#   docker exec CONTAINER obscura inspect stats
# With traces: docker build --build-arg 'EXTRAS=[otel]' -t obscura .
# Settings are OBSCURA_* variables: see config/example.env. No secret belongs into an image.

FROM python:3.13-slim AS build
ARG EXTRAS=
RUN python -m venv /opt/obscura
COPY setup.cfg pyproject.toml README.md LICENSE /source/
COPY lua /source/lua
COPY obscura /source/obscura
RUN /opt/obscura/bin/pip install --no-cache-dir --disable-pip-version-check "/source${EXTRAS}" \
    && /opt/obscura/bin/pip uninstall --yes --quiet pip

FROM python:3.13-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin obscura \
    && install --directory --owner obscura --group obscura --mode 700 /data
COPY --from=build /opt/obscura /opt/obscura

ENV PATH=/opt/obscura/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OBSCURA_DATA_DIR=/data
USER obscura
WORKDIR /data
VOLUME /data

# 3000 is for clients, behind a proxy that does TLS; 9090 (health, metrics) is never for clients.
EXPOSE 3000 9090

# It goes by OBSCURA_HOST and OBSCURA_MGMT_PORT of the environment; set by a flag or a file they would have to be said here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-P", "-m", "obscura.healthcheck"]

# In exec form, so that SIGTERM reaches the node: it says goodbye to its sockets and ends in time.
STOPSIGNAL SIGTERM
ENTRYPOINT ["obscura"]
CMD ["serve"]
