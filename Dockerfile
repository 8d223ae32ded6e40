# docker build --build-arg VERSION=$(git describe --tags --always) -t inturn .
# docker run -p 8443:8443 -v inturn:/data -e INTURN_TOKEN=… inturn
# docker cp <container>:/data/tls/ca.pem .     for curl --cacert ca.pem

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X inturn/serve.version=${VERSION}" -o /out/inturn .
# A new volume takes owner and mode from the image's folder. /tmp is for sorts that
# SQLite can't keep in memory, and for `inturn demo`.
RUN mkdir -p -m 0755 /out/owned/data && mkdir -m 0700 /out/owned/tmp

FROM scratch
# For functions that call others over HTTPS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/inturn /inturn
COPY --from=build --chown=65532:65532 /out/owned/ /

USER 65532:65532
WORKDIR /
# The address is not loopback: serve wants a token (INTURN_TOKEN).
ENV INTURN_LISTEN=0.0.0.0:8443 INTURN_DB=/data/inturn.db
EXPOSE 8443
VOLUME ["/data"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/inturn", "health"]
ENTRYPOINT ["/inturn"]
CMD ["serve"]
