# syntax=docker/dockerfile:1
# Parley in an image: the program and its configuration; nobody needs a shell in it.
#
#   docker build -t parley:0.1.0 .
#   docker run --rm -p 127.0.0.1:5150:5150 --stop-timeout 30 --env-file parley.env parley:0.1.0
#
# It is LOCO_ENV=production: it wants a login (BASIC_AUTH_USER, BASIC_AUTH_PW_HASH) and, to remember anything, a DATABASE_URL.
# deploy/compose.yaml has all of it.
#
# Both images are pinned by version, which whoever publishes them may still build anew. For a build that is the same for ever, pin them by
# digest, here and for PostgreSQL in deploy/compose.yaml: `docker buildx imagetools inspect rust:1.95.0-bookworm` says `Digest: sha256:…`, and
# that goes behind the version: `FROM rust:1.95.0-bookworm@sha256:…`. None is written here: a digest is worth what was checked with it.

FROM rust:1.95.0-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY migration/ migration/
# Members of the workspace: cargo reads their manifests, and compiles neither.
COPY benches/ benches/
COPY src/ src/
# Compiled in: what is known of models, and what the simulator says.
COPY config/ config/
COPY assets/ assets/
# Downloads and compiled dependencies stay with the builder from one build to the next; the program leaves that folder by the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --bin parley-cli \
    && install -D target/release/parley-cli /out/parley-cli \
    && strip /out/parley-cli

# The glibc of the image that compiles.
FROM debian:12.12-slim
# Whom providers' certificates are held against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/parley-cli /app/parley-cli
# Read when it starts; another one is mounted over it.
COPY config/production.yaml /app/config/production.yaml
WORKDIR /app
ENV LOCO_ENV=production
# A number, so that Kubernetes can see that it is not root. There is nothing that this user may write; a SQLite file needs a volume.
USER 65532:65532
EXPOSE 5150
# Its end takes drain_seconds (20) and at most ten more.
STOPSIGNAL SIGTERM
# Asks the process for its readiness, by the program itself: there is no curl.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["/app/parley-cli", "task", "healthcheck"]
ENTRYPOINT ["/app/parley-cli"]
CMD ["start", "--no-banner"]
