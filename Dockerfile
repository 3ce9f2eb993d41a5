# Two images of one static binary:
#
#   docker build -t dnscache:0.1.0 .                          # with nft and iptables: sets up nodes
#   docker build -t dnscache:0.1.0-bare --target bare .       # nothing else: overlays/cilium
#
# Only registries are asked: of images, and of crates. For another architecture add
# `--platform linux/arm64`; it is built there (or under emulation), nothing is cross-compiled.
ARG RUST_VERSION=1.95.0
# kube-proxy's base: nft, iptables (nft and legacy) and trusted roots, without a shell.
ARG NODE_BASE=registry.k8s.io/build-image/distroless-iptables:v0.8.8

FROM rust:${RUST_VERSION}-slim-bookworm AS build
ARG RUST_VERSION
# The toolchain of the image as it is: rust-toolchain.toml would have rustup fetch rustfmt and
# clippy.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
# glibc linked in, the same C library that tests and measurements were made with. What follows from
# it: names are looked up without NSS modules, and nothing here depends on them, as upstreams and the
# Kubernetes API are addresses; random numbers come from /dev/urandom, which every container has;
# and the build needs `--target`, so that the flag does not reach build scripts and procedural
# macros, which are shared objects.
ENV RUSTFLAGS="-C target-feature=+crt-static"
WORKDIR /source
COPY . .
RUN target="$(rustc --print host-tuple)" \
    && cargo build --release --locked --package dnscache --bin dnscache --target "$target" \
    && install -D --strip "target/$target/release/dnscache" /image/dnscache \
    # A binary that still asks for a loader would start on neither base.
    && readelf --program-headers --wide /image/dnscache > /image/headers \
    && ! grep INTERP /image/headers

# Without nft and iptables: where nothing of the node is set up.
FROM scratch AS bare
# Trusted roots, for DNS over TLS towards upstreams.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /image/dnscache /dnscache
ENTRYPOINT ["/dnscache"]

# With them. Root, as set in the manifest: NET_ADMIN and port 53 are capabilities, which a process
# of another user would get through its file alone, and never with allowPrivilegeEscalation off.
FROM ${NODE_BASE} AS node
COPY --from=build /image/dnscache /dnscache
ENTRYPOINT ["/dnscache"]
