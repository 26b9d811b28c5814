# Builds with `docker build -t stylegan3 .`; README.md says how to run it.
# PyTorch's packages from PyPI bring the CUDA libraries: on GPUs the host needs a driver and
# nvidia-container-toolkit, on CPUs nothing.
FROM python:3.11-slim

# g++ compiles the CPU kernels when they are first used.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*

# Before the sources, so that a change of them does not install everything again.
COPY requirements.txt /tmp/
RUN pip install --no-cache-dir --disable-pip-version-check -r /tmp/requirements.txt \
 && rm /tmp/requirements.txt

ENV MPLCONFIGDIR=/tmp/matplotlib \
    USER=user \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app
# What is kept between containers: a cache holds code, so each user (`docker run --user`) has a
# private folder of its own there, below. Like /tmp, the volume itself takes folders of anyone.
RUN mkdir -p /cache /work \
 && chmod 1777 /cache /work
VOLUME ["/cache"]

COPY . /app
# Data and results are mounted here; the scripts lie beside, in /app.
WORKDIR /work
RUN useradd --create-home --uid 1000 user
USER user
# Nobody's home folder is needed: with `--user` there may be none.
ENTRYPOINT ["/bin/sh", "-c", "export DNNLIB_CACHE_DIR=\"${DNNLIB_CACHE_DIR:-/cache/$(id -u)}\"; exec \"$@\"", "stylegan3"]
CMD ["python", "/app/train.py", "--help"]
