# Two stages: everything that compiles, then the one binary on a plain Debian.
# Migrations, policies and pages are embedded in the binary, so it's all that is copied.

ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST_VERSION}-${DEBIAN} AS build
WORKDIR /src
# Queries were checked against a real schema when .sqlx was committed: no database is needed here.
ENV SQLX_OFFLINE=true \
    CARGO_TERM_COLOR=never

# Dependencies first, against empty sources: this layer lasts until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs tests/it/main.rs \
 && cargo build --release --locked --bin insula \
 && rm -rf src

COPY .sqlx .sqlx
COPY migrations migrations
COPY policies policies
COPY src src
# COPY keeps the files' own dates, which are older than the empty build: cargo must see that they changed.
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --bin insula


FROM debian:${DEBIAN}-slim
# The roots for outgoing TLS (managed Postgres and Redis, webhooks), without an apt-get in this stage.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/insula /usr/local/bin/insula
# Where files are kept unless in a bucket, and what is asked for until it is counted. A named volume that is mounted there for the first time takes its owner.
RUN install --directory --owner=65532 --group=65532 --mode=700 /var/lib/insula

ENV INSULA_HTTP__LISTEN=0.0.0.0:8080 \
    INSULA_LOG__FORMAT=json \
    INSULA_STORAGE__FOLDER=/var/lib/insula/files \
    INSULA_USAGE__JOURNAL=/var/lib/insula/usage
# A number, so that Kubernetes can prove it is not root. Nothing else is written to: the root may be read-only.
USER 65532:65532
EXPOSE 8080
# Asked to stop, the server takes no new connection and finishes what is in flight (20 s at most).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/insula", "health"]
ENTRYPOINT ["/usr/local/bin/insula"]
CMD ["serve"]

# Last, so that a new revision changes no layer above.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Insula" \
      org.opencontainers.image.description="A multi-tenant SaaS API platform with per-tier rate limits" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
