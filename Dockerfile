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

# Any user may write here (`docker run --user`): what is kept between containers.
ENV DNNLIB_CACHE_DIR=/cache/downloads \
    STYLEGAN3_KERNEL_CACHE_DIR=/cache/kernels \
    MPLCONFIGDIR=/tmp/matplotlib \
    USER=user \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app
RUN mkdir -p /cache/downloads /cache/kernels /work \
 && chmod -R 1777 /cache /work
VOLUME ["/cache"]

COPY . /app
# Data and results are mounted here; the scripts lie beside, in /app.
WORKDIR /work
RUN useradd --create-home --uid 1000 user
USER user
CMD ["python", "/app/train.py", "--help"]
