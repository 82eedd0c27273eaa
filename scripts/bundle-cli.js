// Bundles what commands need into dist/holdfast*.js at build time, so that they start in a third of the time: without it each
// loads several hundred small files. The worker, and packages with native code or of their own weight, stay as they are.
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const dist = path('../dist/');
const require = createRequire(import.meta.url);

const inlined = /^(@temporalio\/(client|common|proto|envconfig)|@grpc\/[^/]+|@protobufjs\/[^/]+|@js-sdsl\/[^/]+|protobufjs|commander|yaml|zod|long|ms|uuid|nexus-rpc|abort-controller|event-target-shim|lodash\.camelcase|smol-toml|picomatch)(\/|$)/;

/** Shared with the worker, which is not bundled: one set of secrets to redact, one class of errors. */
const shared = ['worker/worker.js', 'worker/private.js', 'config/redact.js', 'errors.js'];

const externals = {
  name: 'externals',
  resolveId(source, importer) {
    if (source.startsWith('.') && importer !== undefined) {
      const file = relative(dist, resolve(dirname(importer), source));
      return shared.includes(file) ? { id: `./${file}`, external: true } : null;
    }
    if (source.startsWith('/') || source.startsWith('\0')) return null;
    return inlined.test(source) ? null : { id: source, external: true };
  },
};

/** Temporal's message types: without those of its cloud's administration, and read as JSON, which is faster than as code. */
const trimmedProto = {
  name: 'trimmed-proto',
  load(id) {
    if (!id.endsWith('@temporalio/proto/protos/json-module.js')) return null;
    const { nested } = require('@temporalio/proto/protos/json-module').toJSON();
    delete nested.temporal.nested.api.nested.cloud;
    const text = JSON.stringify({ nested: withoutOptions(nested) });
    return `const { Root } = require('protobufjs/light');
module.exports = Root.fromJSON(JSON.parse(${JSON.stringify(text)}));`;
  },
};

/** Keeps the options that change the encoding. */
function withoutOptions(value) {
  if (Array.isArray(value) || typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).flatMap(([key, member]) => {
    if (key === 'comment' || key === 'comments') return [];
    if (key !== 'options' || 'type' in member || 'id' in member) return [[key, withoutOptions(member)]];
    const coding = Object.entries(member).filter(([name]) => ['packed', 'proto3_optional', 'features', 'edition', 'map_entry'].includes(name));
    return coding.length === 0 ? [] : [[key, Object.fromEntries(coding)]];
  });
  return Object.fromEntries(kept);
}

const bundle = await rolldown({
  input: { holdfast: `${dist}cli/main.js` },
  platform: 'node',
  plugins: [externals, trimmedProto],
  logLevel: 'warn',
});
await bundle.write({
  dir: dist,
  format: 'esm',
  minify: true,
  entryFileNames: '[name].js',
  chunkFileNames: 'holdfast-[name]-[hash].js',
});
await bundle.close();
const { length } = await readFile(`${dist}holdfast.js`);
await writeFile(`${dist}cli/main.js`, "import '../holdfast.js';\n");
console.log(`bundled: ${Math.round(length / 1024)} KiB`);
