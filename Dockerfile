# The server in a container, with the demo model inside:
#   docker build -t facet .
#   docker run --rm -p 127.0.0.1:8080:8080 -e FACET_API_KEY=… facet
#   docker run --rm -p 127.0.0.1:8080:8080 -e FACET_API_KEY=… -v ./gemma-4-E2B-it:/model:ro facet serve -m /model
FROM debian:bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
      cmake g++ git libboost-dev libcli11-dev libedit-dev libfmt-dev ninja-build nlohmann-json3-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cmake --preset release -DFACET_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr/local \
    && cmake --build --preset release --target facet \
    && cmake --install build/release --strip && mkdir -p /usr/local/share/facet

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libedit2 libfmt9 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin facet
COPY --from=build /usr/local/bin/facet /usr/local/bin/facet
COPY --from=build /usr/local/share/facet /usr/local/share/facet
USER 10001
# A container's own loopback cannot be reached from outside it: listen on all of its addresses, with a key.
ENV FACET_HOST=0.0.0.0 FACET_PORT=8080
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["facet"]
CMD ["serve"]
