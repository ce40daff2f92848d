# A static binary alone in an empty image.
#   docker build -t weekvault .
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t weekvault:0.1.0 .
# It needs nothing writable but the store (and, for speed, a cache folder):
#   docker run --rm --read-only -v /backup:/backup -v /srv/html:/data/html:ro weekvault backup --source html=/data/html
ARG RUST_VERSION=1.95.0

FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /src
COPY . .
# An explicit --target keeps crt-static away from build scripts and procedural macros, which cannot be static.
RUN --mount=type=cache,id=weekvault-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=weekvault-target,target=/var/cache/weekvault,sharing=locked \
    set -eu; \
    triple="$(rustc -vV | sed -n 's/^host: //p')"; \
    RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --release --locked --bin weekvault --target "$triple" --target-dir /var/cache/weekvault; \
    install -D -m 0755 "/var/cache/weekvault/$triple/release/weekvault" /out/weekvault; \
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
ENTRYPOINT ["/weekvault"]
