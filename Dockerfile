# featx with everything but weights and data. docker build -t featx .
FROM python:3.12-slim-bookworm

LABEL org.opencontainers.image.title="featx" \
      org.opencontainers.image.description="Features of frozen pretrained networks from brain MRI, and honest cross-validated heads" \
      org.opencontainers.image.licenses="BSD-3-Clause"

RUN useradd --create-home --uid 1000 featx
WORKDIR /opt/featx
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY featx featx
COPY cli cli
# xgboost needs libgomp1; torch is the package index's plain build, which runs with a GPU and without
# hadolint ignore=DL3013
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1=12.* \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir ".[torch,timm,monai,train,tables,skops,dask,remote,prepare,maps]"

USER 1000
# weights that are downloaded stay here: mount a volume
ENV FEATX_HOME=/home/featx/.cache/featx
WORKDIR /data
ENTRYPOINT ["featx"]
CMD ["--help"]
