# PixelVAE on the CPU. For example, with data and runs kept outside:
#     docker run --rm --user "$(id -u)" -v "$PWD/data:/pixelvae/data" -v "$PWD/runs:/pixelvae/runs" \
#         pixelvae python experiments/mnist_pixelvae.py
FROM debian:bookworm-20251229-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates g++ libopenblas0-pthread make python3.11-dev python3.11-venv \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home pixelvae && install --directory --owner pixelvae /pixelvae
USER pixelvae
WORKDIR /pixelvae

# The packages come before the sources, so that a changed source does not install them again.
COPY --chown=pixelvae Makefile requirements.txt requirements-dev.txt ./
COPY --chown=pixelvae scripts scripts
RUN make setup && rm -rf ~/.cache
ENV PATH=/pixelvae/.venv/bin:$PATH

COPY --chown=pixelvae . .
RUN mkdir -p data runs
CMD ["python", "experiments/mnist_pixelvae.py", "--help"]
