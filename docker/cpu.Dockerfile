# syntax=docker/dockerfile:1
# hearth on the CPU. From the repository's root:
#   docker build -f docker/cpu.Dockerfile -t hearth .
#   docker run -p 127.0.0.1:7777:7777 -v hearth:/weights -e HEARTH_TOKEN=choose-one hearth
# Inside a container every address is public, so hearth does not start without HEARTH_TOKEN.
# Other containers ask by name: add -e HEARTH_ALLOW_HOST=<that name>.

FROM rust:1.95-slim-trixie AS build
WORKDIR /hearth
# LAME is built by its own makefile.
RUN apt-get update && apt-get install --yes --no-install-recommends make
COPY . .
RUN cargo build --release --locked

FROM debian:trixie-slim
# Python's pip fetches the starter weights.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home hearth \
 && install --directory --owner=hearth --group=hearth /weights
COPY --from=build /hearth/target/release/hearth /usr/local/bin/hearth
USER hearth
# What comes from the Hugging Face Hub is kept in the same volume.
ENV HEARTH_HOME=/weights HF_HOME=/weights/huggingface HEARTH_LISTEN=0.0.0.0:7777
VOLUME /weights
EXPOSE 7777
# It knows the address and the token by the same variables as the server.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["hearth", "ps"]
ENTRYPOINT ["hearth"]
CMD ["serve"]
