# Unverified: no container engine was at hand when this was written. test/ops/docker.test.ts checks what can be checked without one.
# Debian, because Temporal's native bridge has no musl build.
FROM node:22-bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates g++ make python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json ./
COPY scripts ./scripts
COPY src ./src
RUN npm run build && npm prune --omit=dev

FROM node:22-bookworm-slim
# The bridge checks TLS against the system's certificates.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o node -g node -m 0700 /var/lib/holdfast /repository
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json ./
COPY bin ./bin
RUN ln -s /app/bin/holdfast.js /usr/local/bin/holdfast
ENV NODE_ENV=production HOLDFAST_CONFIG=/etc/holdfast/holdfast.yaml
USER node
VOLUME ["/var/lib/holdfast"]
# Holdfast handles SIGTERM itself and starts no daemons: it needs no init.
ENTRYPOINT ["node", "/app/bin/holdfast.js"]
CMD ["up"]
