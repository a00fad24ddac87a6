# docker build -t latefusion . && docker run --rm -p 7000:7000 latefusion
# The network is inside; nothing is fetched when it runs, and nothing is written.
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
RUN python -m venv /opt/latefusion \
    && /opt/latefusion/bin/pip install --no-cache-dir -c constraints.txt '.[serve,heic]'

FROM python:3.12-slim
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
