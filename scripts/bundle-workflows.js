// Bundles the workflows at build time: a worker is ready in 0.3 s instead of 2.
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

/** With traces, another bundle is run: without them nothing is to be paid for them. */
const bundles = [
  ['../dist/workflow-bundle.js', []],
  ['../dist/workflow-bundle-traced.js', [path('../dist/workflows/trace-interceptors.js')]],
];
for (const [file, workflowInterceptorModules] of bundles) {
  const { code } = await bundleWorkflowCode({
    workflowsPath: path('../dist/workflows/index.js'),
    workflowInterceptorModules,
    logger: new DefaultLogger('WARN'),
  });
  await writeFile(path(file), code);
}
