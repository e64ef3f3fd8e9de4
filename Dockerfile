# PixelVAE in a container, with or without an NVIDIA card (docs/docker.md):
#     docker build --tag pixelvae .                          CUDA 12; --build-arg CUDA=11 for CUDA 11.8
#     docker build --tag pixelvae:cpu --target cpu --build-arg DEBIAN=trixie-20251229-slim .
#                                                            without CUDA, a third of the size, CPython 3.13
#     docker run --rm --gpus all -v "$PWD/data:/data" -v "$PWD/runs:/pixelvae/runs" \
#         pixelvae python experiments/mnist_pixelvae.py
ARG CUDA=12
# Debian 12, with the Python 3.11 that a GPU needs and the recorded numbers are of; trixie is 13, with Python 3.13.
ARG DEBIAN=bookworm-20251229-slim

FROM debian:$DEBIAN AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libopenblas0-pthread python3-dev \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home pixelvae
WORKDIR /pixelvae

# What only the building of packages needs stays in this stage.
FROM base AS packages
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
COPY scripts/build-venv scripts/find-python scripts/get-python scripts/
COPY pixelvae/building pixelvae/building
COPY requirements.txt requirements-mpi.txt ./
RUN scripts/build-venv .venv requirements.txt requirements-mpi.txt

FROM base AS cpu
COPY --from=packages /pixelvae/.venv .venv
# Sources and run folders are the user's; any other user (docker run --user) can write data and runs. /data is where
# data sets of one's own are mounted.
RUN chown pixelvae . && mkdir /data && install --directory --owner pixelvae --mode 1777 data runs
COPY --chown=pixelvae . .
ENV PATH=/pixelvae/.venv/bin:$PATH PIXELVAE_DATA=/data
USER pixelvae
RUN docker/warm-cache
ENTRYPOINT ["/pixelvae/docker/entrypoint"]
CMD ["python", "experiments/mnist_pixelvae.py", "--help"]

FROM cpu AS gpu
ARG CUDA
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgpuarray-dev python3-pygpu \
    && rm -rf /var/lib/apt/lists/*
RUN python -m pip install --quiet --no-cache-dir --no-deps --requirement requirements-cuda$CUDA.txt
# The first two are read by NVIDIA's container runtime, which brings the driver's library.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility PIXELVAE_DEVICE=auto
USER pixelvae
# Only what is new changes: what the layer below holds would be copied.
RUN docker/entrypoint docker/warm-gpu-cache \
    && find /home/pixelvae/.theano ! -type l ! -perm -a+rw -exec chmod a+rwX {} +
