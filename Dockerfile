# docker build -t latefusion . && docker run --rm --read-only --stop-timeout 100 -p 7000:7000 -e LATEFUSION_API_KEY latefusion
# The network is inside; nothing is fetched when it runs, and nothing is written.
# A tag moves; an image that was checked has a digest: --build-arg BASE=python:3.12-slim@sha256:...
# docs/server.md says how to read it.
ARG BASE=python:3.12-slim
FROM ${BASE} AS build
WORKDIR /source
COPY requirements requirements
RUN python -m venv /opt/latefusion \
    && /opt/latefusion/bin/pip install --no-cache-dir --only-binary :all: \
        --require-hashes -r requirements/serve.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --only-binary :all: \
        --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/latefusion/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM ${BASE}
RUN useradd --no-create-home --shell /usr/sbin/nologin --uid 10001 latefusion
COPY --from=build /opt/latefusion /opt/latefusion
ENV PATH=/opt/latefusion/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /
EXPOSE 7000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:7000/healthz', timeout=2)"]
ENTRYPOINT ["latefusion"]
CMD ["serve", "--host", "0.0.0.0"]
