# The image: server, sidecar and every command, as node. It runs as user 1000 on a read-only root file system; all that
# is written goes to /data, nothing to /tmp. Both listen on loopback until told otherwise, with keys: see helm/README.md.
# Node.js 24 on glibc 2.41: the build of uWebSockets.js that runs here needs 2.38. There is none for musl.
ARG BASE=node:24.20.0-trixie-slim

FROM ${BASE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY src src
RUN npx tsc -p .
# CUDA: `--build-arg ONNXRUNTIME_NODE_INSTALL=cuda12 --build-arg BASE=…`, a base with Node.js 24, CUDA 12 and cuDNN. The
# script is onnxruntime-node's own and fetches the runtime's CUDA provider. Lanes of this release run on the CPU.
ARG ONNXRUNTIME_NODE_INSTALL=skip
# What only development needs goes, and what was built for other machines: four fifths of what npm lays down.
RUN npm prune --omit=dev && node node_modules/onnxruntime-node/script/install.js \
  && machine="linux/$(node -p process.arch)" && build="linux_$(node -p 'process.arch + "_" + process.versions.modules')" \
  && find node_modules/onnxruntime-node/bin -type f ! -path "*/${machine}/*" -delete \
  && find node_modules/uWebSockets.js node_modules/uws-unofficial -name 'uws_*.node' ! -name "uws_${build}.node" -delete \
  && mkdir bin && ln -s ../src/assay.js bin/assay

FROM ${BASE}
LABEL org.opencontainers.image.title="assay" org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
RUN install --directory --owner=1000 --group=1000 /data
COPY package.json LICENSE ./
COPY models models
COPY src/assay.js src/
COPY src/governance/console src/governance/console
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/bin bin
COPY --from=build /app/dist/src dist/src
ENV NODE_ENV=production ASSAY_DATA_DIR=/data PATH=/app/bin:$PATH
USER 1000:1000
VOLUME /data
EXPOSE 8080 8081 8090
# Unhealthy until it is ready, and while it drains or its log refuses. A replay of a large log can take minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD ["node", "-e", \
  "fetch(`http://127.0.0.1:${process.env.ASSAY_PROCESS__OPERATIONS__PORT ?? 8081}/readyz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Node is process 1, so that SIGTERM reaches it: it drains. `serve` and `govern` run one of the two. An image is no place
# for simulated history.
ENTRYPOINT ["node", "/app/dist/src/cli.js"]
CMD ["up", "--no-history"]
