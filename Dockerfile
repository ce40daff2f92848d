# A static binary alone in an empty image.
#   docker build -t weekvault .
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t weekvault:0.1.0 .
# It needs nothing writable but the store:
#   docker run --rm --read-only --user 0 -v /backup:/backup -v /srv/html:/data/html:ro weekvault backup --source html=/data/html
# See docs/deploy/README.md: building the same image again, pinning what it is built in, users and capabilities.
ARG BUILDER=rust:1.95.0-slim-bookworm

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
# The time that the binary gets as a file, in seconds since 1970: what else would differ from one build to the next.
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,id=weekvault-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=weekvault-target,target=/var/cache/weekvault,sharing=locked \
    set -eu; \
    binary="$(docs/deploy/static-build.sh /var/cache/weekvault --release)"; \
    install -D -m 0755 "$binary" /out/weekvault; \
    touch -d "@$SOURCE_DATE_EPOCH" /out/weekvault; \
    /out/weekvault --version

FROM scratch
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="weekvault" \
      org.opencontainers.image.description="Content-addressed, deduplicating weekly backups of volumes, in plain files" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.vendor="the weekvault authors" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/weekvault /weekvault
# glibc keeps what threads that have ended gave back, unless it is told where to stop: see docs/design.md, "Memory".
ENV MALLOC_TRIM_THRESHOLD_=131072
# Nobody in particular. A job that reads or restores what is others' must be root to get capabilities, and says so itself.
USER 65532:65532
ENTRYPOINT ["/weekvault"]
